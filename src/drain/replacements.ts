// Since when an endpoint's host can't have been replaced in any Envoy, by what this replica saw change: connections on a replaced host
// are in no load report, so what the gauges leave unaccounted for counts from then on (status/left-over.ts).
// In: every revision, before it is published. Out: a time by this replica's clock. What happened before this process began does not
// matter: what has been left over since then was in every sample. When in doubt, a later time: it only makes a drain slower.

import type { Endpoint } from "../model/endpoint.js";
import type { Change } from "../model/revision.js";
import { clustersOf, listenersOf, type Route, withBackends } from "../model/route.js";
import { sameContent } from "../model/same.js";

/** What is asked of the other rooms. */
export interface ReplacementsOptions {
  readonly now: () => number;
  /** Routes of a listener, before the revision. */
  readonly routesOfListener: (listener: string) => Iterable<Route>;
  /** Whether the endpoint was in a drain that left nothing behind on the Envoys of this replica: then its removal replaces nothing. */
  readonly wasSettled: (endpoint: Endpoint) => boolean;
}

/** Entries kept; beyond it all are taken for replaced now. */
const maxEntries = 100_000;

export class Replacements {
  #from: number;
  /** cluster, or cluster and address key, → when it was last replaced. */
  readonly #at = new Map<string, number>();

  constructor(private readonly options: ReplacementsOptions) {
    this.#from = options.now();
  }

  /** Everything was read again, and may be other than before. */
  loaded(): void {
    this.#from = this.options.now();
    this.#at.clear();
  }

  /** A revision that is about to be published. */
  revision(changes: readonly Change[]): void {
    for (const change of changes) for (const key of this.#replacedBy(change)) this.#at.set(key, this.options.now());
    if (this.#at.size > maxEntries) this.loaded();
  }

  /** ms. */
  steadySince(cluster: string, endpoint: string): number {
    return Math.max(this.#from, this.#at.get(cluster) ?? 0, this.#at.get(`${cluster}/${endpoint}`) ?? 0);
  }

  #replacedBy(change: Change): readonly string[] {
    switch (change.kind) {
      case "cluster":
        return change.before ? [change.name] : [];
      case "endpoint":
        return this.#isReplaced(change.before, change.after) ? [change.name] : [];
      case "listener": // Its gateways, or all of it: what its routes reach may leave Envoys, and come again.
        return change.before ? [...this.options.routesOfListener(change.name)].flatMap(clustersOf) : [];
      case "route":
        return clustersReplacedBy(change.before, change.after);
    }
  }

  #isReplaced(before: Endpoint | undefined, after: Endpoint | undefined): boolean {
    if (!before) return false;
    if (!after) return !this.options.wasSettled(before);
    return before.region !== after.region || before.zone !== after.zone || before.priority !== after.priority;
  }
}

/** Weights are EDS and RDS alone, and replace nothing. */
function clustersReplacedBy(before: Route | undefined, after: Route | undefined): readonly string[] {
  if (!before) return [];
  const was = clustersOf(before);
  const is = after ? clustersOf(after) : [];
  if (!after) return was;
  const isReachTheSame = sameContent(listenersOf(before), listenersOf(after));
  if (isReachTheSame && before.protocol === "http") return was.filter((cluster) => !is.includes(cluster));
  return isReachTheSame && sameContent(was, is) && sameContent(withBackends(before, []), withBackends(after, []))
    ? []
    : [...was, ...is];
}
