// How many endpoints of a cluster may go because their leases are over (DESIGN §7). Pure. Called by drain/lease-jobs.ts.
import { addressKey, drainIn, type Endpoint, takesNew } from "./endpoint.js";

/** Fewer than so many are never too many, but for the last one. */
const minGone = 5;
const maxGonePercent = 30;

/** What goes, and what stays and why. Names are `<cluster>/<address key>`. */
export interface LeaseChoice {
  readonly go: readonly string[];
  readonly stay: readonly string[];
  /** For people; undefined when nothing stays. */
  readonly because: string | undefined;
}

/**
 * `over`: endpoints whose lease is over, those that shall go first first. `ended`: those that went, or are going, because of that, and
 * that nothing has replaced: they count as taken, so that a cluster does not melt away by a third at a time.
 */
export function chooseEnding(endpoints: readonly Endpoint[], over: readonly string[], ended: readonly string[]): LeaseChoice {
  const named = new Map(endpoints.map((one) => [`${one.cluster}/${addressKey(one)}`, one]));
  const removed = ended.filter((name) => !named.has(name)).length;
  const before = endpoints.filter(({ enabled }) => enabled).length + removed;
  const bound = Math.max(minGone - 1, Math.floor((before * maxGonePercent) / 100));
  let room = bound - ended.length;
  let left = endpoints.filter((endpoint) => takesNew(endpoint)).length;
  const go: string[] = [];
  const stay: string[] = [];
  let isLast = false;
  for (const name of over) {
    const endpoint = named.get(name);
    if (!endpoint || drainIn(endpoint)) continue;
    if (!endpoint.enabled) go.push(name);
    else if (room > 0 && left > 1) {
      go.push(name);
      room--;
      left--;
    } else {
      isLast ||= left <= 1;
      stay.push(name);
    }
  }
  if (stay.length === 0) return { go, stay, because: undefined };
  const because = isLast
    ? "it is the last endpoint of its cluster that takes requests"
    : `${ended.length + go.length} of ${before} endpoints of the cluster are gone or going already, and not more than ${bound} may be`;
  return { go, stay, because };
}
