// Where refusals are told, and how: keys of the environment, apart from the table for its size. Called by config-table.ts.
import { httpUrl, integer, secret, toggle } from "./config-settings.js";

/** Read into `config.refusals`. */
export const refusalSettings = {
  webhookUrl: httpUrl("CHANCERY_REFUSAL_WEBHOOK", {
    about:
      "URL that gets a POST for each resource that Envoys newly refuse. Its address is checked when it is called; no redirects.",
  }),
  webhookSecret: secret("CHANCERY_REFUSAL_WEBHOOK_SECRET", {
    minLength: 16,
    maxLength: 512,
    about:
      "Signs each POST (X-Chancery-Signature, docs/operations.md). Give all replicas the same. Without it they are not signed.",
  }),
  webhookAllowLinkLocal: toggle("CHANCERY_REFUSAL_WEBHOOK_LINK_LOCAL", {
    default: false,
    about: "Let the webhook be a link-local address (169.254.0.0/16, fe80::/10), where clouds keep their metadata.",
  }),
  webhookQueue: integer("CHANCERY_REFUSAL_WEBHOOK_QUEUE", {
    unit: "refusals",
    default: 256,
    min: 1,
    max: 100_000,
    about: "Refusals that wait to be posted; beyond it the newest is dropped (it is in /v1/nodes all the same).",
  }),
} as const;
