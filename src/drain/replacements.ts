// What this replica knows of replaced hosts: connections on a replaced host are in no load report, so what the gauges leave unaccounted
// for counts from then on (status/left-over.ts). And what may have made hosts come or go in an Envoy of late: what it tells without a
// reason may be anything (bytes of another release, a replica that was far behind, another history).
// In: every revision, before it is published; how drains ended. Out: times by this replica's clock. When in doubt, a later time: it only
// makes a drain slower. Built by create-watch.ts.
import type { Endpoint } from "../model/endpoint.js";
import { type Change, type CommittedRevision, inverseOf } from "../model/revision.js";
import { clustersOf, listenersOf, type Route, withBackends } from "../model/route.js";
import { sameContent } from "../model/same.js";
import { type Steady, takenOverWithinMs } from "../status/left-over.js";

/** What is asked of the other rooms. */
export interface ReplacementsOptions {
  readonly now: () => number;
  /** Routes of a listener, before the revision. */
  readonly routesOfListener: (listener: string) => Iterable<Route>;
  /** Routes that name a cluster, before the revision. */
  readonly routesOfCluster: (cluster: string) => Iterable<Route>;
  /** What a staged rollout changes, before the revision. */
  readonly changesOfOverlay: (name: string) => readonly Change[];
}

/** Entries kept; beyond it all are taken for replaced now. */
const maxEntries = 100_000;
/** Times kept for a cluster; and an Envoy's word may be older than what this replica has read by this much. */
const maxTouches = 64;
const readWithinMs = 2_000;

/** A host that a drain took away: replaced, if it is not found that nothing was left behind. */
interface Leaving {
  readonly drain: string;
  readonly at: number;
}

export class Replacements {
  #from: number;
  /** cluster, or cluster and address key, → when it was last replaced. */
  readonly #at = new Map<string, number>();
  /** The same for those of which it is not decided yet. */
  readonly #leaving = new Map<string, Leaving>();
  /** Clusters and endpoints that were not there when everything was read. */
  readonly #made = new Set<string>();
  /** cluster → when something was done by which hosts may come or go; as long as an Envoy may take to tell. */
  readonly #touched = new Map<string, readonly number[]>();

  constructor(private readonly options: ReplacementsOptions) {
    this.#from = options.now();
  }

  /** Everything was read again, and may be other than before. */
  loaded(): void {
    this.#from = this.options.now();
    for (const known of [this.#at, this.#leaving, this.#made, this.#touched]) known.clear();
  }

  /** A revision that is about to be published. */
  revision({ changes, overlays = [] }: Pick<CommittedRevision, "changes" | "overlays">): void {
    for (const change of changes) this.#take(change);
    for (const { name, after } of overlays) {
      // Some Envoys have it at each stage, and none at its end: there, and back.
      for (const change of after?.changes ?? this.options.changesOfOverlay(name)) {
        this.#take(change);
        this.#take(inverseOf(change));
      }
    }
    if (this.#at.size + this.#leaving.size + this.#made.size + this.#touched.size > maxEntries) this.loaded();
  }

  /** Drains that took hosts away and of which it is not known yet what they left behind. */
  undecided(): readonly string[] {
    return [...new Set([...this.#leaving.values()].map(({ drain }) => drain))];
  }

  /** `isSettled`: it ended with nothing in flight on any Envoy, so what it took away replaces nothing. */
  decide(drain: string, isSettled: boolean): void {
    for (const [name, leaving] of this.#leaving) {
      if (leaving.drain !== drain) continue;
      this.#leaving.delete(name);
      if (!isSettled) this.#replaced(name, leaving.at);
    }
  }

  steady(cluster: string, endpoint: string): Steady {
    const name = `${cluster}/${endpoint}`;
    const times = [this.#at.get(cluster), this.#at.get(name), this.#leaving.get(name)?.at].flatMap((at) => at ?? []);
    const wasThere = !this.#made.has(cluster) && !this.#made.has(name);
    if (wasThere) times.push(this.#from); // Envoys may have been on their way from what was before.
    return { since: this.#from, replacedAt: times.length === 0 ? undefined : Math.max(...times) };
  }

  /** Whether something was done to the cluster which an Envoy may have told at `at` as hosts that came or went. */
  explains(cluster: string, at: number): boolean {
    return (this.#touched.get(cluster) ?? []).some((done) => done >= at - takenOverWithinMs && done <= at + readWithinMs);
  }

  /** When something was last done by which hosts of the cluster may come or go, or be other than before. -Infinity: not of late. */
  touchedAt(cluster: string): number {
    return this.#touched.get(cluster)?.at(-1) ?? Number.NEGATIVE_INFINITY;
  }

  #take(change: Change): void {
    const now = this.options.now();
    if (!change.before && (change.kind === "cluster" || change.kind === "endpoint")) this.#made.add(change.name);
    for (const cluster of this.#touchedBy(change)) {
      const kept = (this.#touched.get(cluster) ?? []).filter((at) => at > now - 3 * takenOverWithinMs);
      this.#touched.set(cluster, [...kept, now].slice(-maxTouches));
    }
    const drain = change.kind === "endpoint" && change.before && !change.after ? change.before.drain?.id : undefined;
    for (const name of this.#replacedBy(change)) {
      if (drain === undefined) this.#replaced(name, now);
      else this.#leave(name, { drain, at: now });
    }
  }

  #leave(name: string, leaving: Leaving): void {
    const earlier = this.#leaving.get(name);
    if (earlier) this.#replaced(name, earlier.at);
    this.#leaving.set(name, leaving);
  }

  #replaced(name: string, at: number): void {
    this.#at.set(name, Math.max(at, this.#at.get(name) ?? at));
  }

  /** A TCP or UDP route has one cluster in Envoy for all of its backends: with one of them changes that of the others. */
  #besides(cluster: string): readonly string[] {
    return [...this.options.routesOfCluster(cluster)].flatMap((route) => (route.protocol === "http" ? [] : clustersOf(route)));
  }

  #touchedBy(change: Change): readonly string[] {
    switch (change.kind) {
      case "cluster":
        return [change.name, ...this.#besides(change.name)];
      case "endpoint":
        return [change.name.slice(0, change.name.indexOf("/"))];
      case "listener":
        return [...this.options.routesOfListener(change.name)].flatMap(clustersOf);
      case "route":
        return [change.before, change.after].flatMap((route) => (route ? clustersOf(route) : []));
    }
  }

  #replacedBy(change: Change): readonly string[] {
    switch (change.kind) {
      case "cluster":
        return change.before ? [change.name, ...this.#besides(change.name)] : [];
      case "endpoint":
        return isReplaced(change.before, change.after) ? [change.name] : [];
      case "listener": // Its gateways, or all of it: what its routes reach may leave Envoys, and come again.
        return change.before ? [...this.options.routesOfListener(change.name)].flatMap(clustersOf) : [];
      case "route":
        return clustersReplacedBy(change.before, change.after);
    }
  }
}

function isReplaced(before: Endpoint | undefined, after: Endpoint | undefined): boolean {
  if (!before) return false;
  return !after || before.region !== after.region || before.zone !== after.zone || before.priority !== after.priority;
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
