// `chancery endpoint`: one endpoint's weight, priority and whether it is enabled, without touching the rest of it. In: its name and what
// to change. Out: one write. Called by commands.ts.
import type { ApiAccess } from "./api-client.js";
import { readLabels } from "./drain.js";
import { toDurationMs } from "./duration.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { objectPath } from "./kinds.js";
import { callAndWait, report, type Wait } from "./outcome.js";

/** As the API has it. */
const longestTtlMs = 86_400_000;

/** As the flags come. */
export interface EndpointFlags {
  readonly enable: boolean;
  readonly disable: boolean;
  readonly weight?: string;
  readonly priority?: string;
  /** How long it stays without being renewed, as `30s`. */
  readonly ttl?: string;
  /** Its labels from now on, each `<key>=<value>`. */
  readonly label?: string[];
  /** Register it, or renew it: it need not be there. */
  readonly renew?: boolean;
}

function toNumber(given: string | undefined, what: string): number | undefined {
  if (given === undefined) return undefined;
  if (/^\d{1,9}$/.test(given)) return Number(given);
  throw new CommandError(exitCodes.usage, `A ${what} is a whole number; got ${JSON.stringify(given)}.`);
}

/** @throws CommandError (usage) for nothing to change, or for both ways */
export function toEndpointPatch({
  enable,
  disable,
  weight,
  priority,
  ttl,
  label,
}: EndpointFlags): Readonly<Record<string, unknown>> {
  if (enable && disable) throw new CommandError(exitCodes.usage, "--enable and --disable contradict each other.");
  const patch = {
    ...(enable || disable ? { enabled: enable } : {}),
    ...(weight === undefined ? {} : { weight: toNumber(weight, "weight") }),
    ...(priority === undefined ? {} : { priority: toNumber(priority, "priority") }),
    ...(ttl === undefined ? {} : { ttlMs: toDurationMs(ttl, { most: longestTtlMs }) }),
    ...(label === undefined ? {} : { labels: readLabels(label) }),
  };
  if (Object.keys(patch).length > 0) return patch;
  throw new CommandError(exitCodes.usage, "Say what to change: --enable, --disable, --weight, --priority, --ttl or --label.");
}

/** @throws CommandError when refused, or not confirmed in time */
export async function changeEndpoint(
  access: ApiAccess,
  name: string,
  flags: EndpointFlags,
  wait: Wait,
  print: (line: string) => void,
): Promise<void> {
  const body = toEndpointPatch(flags);
  if (flags.renew && flags.ttl === undefined) throw new CommandError(exitCodes.usage, "--renew needs --ttl: how long it stays.");
  const answer = await callAndWait(
    access,
    { method: flags.renew ? "PUT" : "PATCH", path: objectPath("endpoint", name), body },
    wait,
  );
  const changes = Object.entries(body).map(
    ([field, value]) => `${field}=${typeof value === "object" ? JSON.stringify(value) : value}`,
  );
  report(print, `endpoint ${name}: ${changes.join(" ")}`, answer);
}
