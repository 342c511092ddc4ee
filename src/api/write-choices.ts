// How a write is to be done, as its query and headers say it: only planned, past a guard, once for one key, waited for by how many.
// In: the request. Out: what the store and the fleet take. Called by writes.ts.
import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { Type } from "typebox";
import { AppError } from "../errors.js";
import type { WriteChoices } from "../store/store.js";

/** Longest wait that a caller may ask for. */
export const maxWaitMs = 120_000;

/** Guards that a caller may let a write pass; `rollout`: a gateway's policy of staged rollouts. Recorded with the revision. */
export const overrides = ["emptied", "shrink", "size", "rollout", "drain", "last-endpoint", "last-node"] as const;
export type Override = (typeof overrides)[number];

/** `acked`, or `acked:90%`. */
export const waitField = Type.String({
  pattern: "^acked(:([1-9]\\d?|100)%)?$",
  description:
    "`acked`: answer when every Envoy has the change (200), one has refused it (409), or the time is over (202). `acked:90%`: the same for so many of each gateway's Envoys, 1–100 %.",
});
export const dryRunField = Type.Unsafe<"true" | "false">({
  type: "string",
  enum: ["true", "false"],
  default: "false",
  description: "`true`: change nothing, and answer with the plan of what would change. Default false.",
});
export const onRefusalField = Type.Unsafe<"keep" | "rollback">({
  type: "string",
  enum: ["keep", "rollback"],
  default: "keep",
  description:
    "With `wait`, when an Envoy refuses the change within it. `rollback`: what was there before is put back, as a new revision, unless somebody has changed it since; the answer is 409 and says which. The wait then goes on when the caller hangs up. Default keep.",
});
const oneOverride = `(${overrides.join("|")})`;
export const overrideField = Type.String({
  pattern: `^${oneOverride}(,${oneOverride}){0,${overrides.length - 1}}$`,
  description: `Guards that are to let this write pass: ${overrides.join(", ")}, with commas between them. Recorded with the revision.`,
});

/** How many of a gateway's Envoys a wait is for, in percent. */
export function quorumPercentOf(wait: string): number {
  const found = /:(\d+)%$/.exec(wait);
  return found ? Number(found[1]) : 100;
}

/** Those of the query and those of the body, each once. */
export function overridesOf(
  query: string | undefined,
  body: Partial<Record<Override, boolean>> | undefined,
): readonly Override[] {
  const asked = new Set(query?.split(","));
  return overrides.filter((one) => asked.has(one) || body?.[one] === true);
}

const keyForm = /^[\x21-\x7e]{1,128}$/;

/** What tells one request from another. */
export interface KeyedRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: unknown;
}

/**
 * The `Idempotency-Key` and a hash of what is asked under it: method, path, preconditions and body. How long the caller waits and why is
 * no part of it. @throws invalid_header
 */
export function idempotencyOf({ method, url, headers, body }: KeyedRequest): WriteChoices["idempotency"] {
  const key = headers["idempotency-key"];
  if (key === undefined) return undefined;
  if (typeof key !== "string" || !keyForm.test(key))
    throw new AppError("invalid_header", { header: "Idempotency-Key", detail: "must be 1–128 visible ASCII characters" });
  const asked = [method, url.split("?")[0], headers["if-match"] ?? null, headers["if-none-match"] ?? null, body ?? null];
  return { key, requestHash: createHash("sha256").update(JSON.stringify(asked)).digest("hex") };
}
