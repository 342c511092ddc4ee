// Which clusters this Envoy can send traffic to, and from when on a removed one may go: the two halves of make before break.
// In: what was sent and acked. Out: yes or no for decision.ts.
import { innerOf, outerOf, type Resource, type Seq } from "../snapshot/resource.js";
import { formOf, type Known, knownBefore } from "./sent.js";
import type { PushTimes } from "./stream-view.js";
import type { TypeStream } from "./type-stream.js";

/** Acks of one type that come within this part of the grace count as one, of the last of them: what they let go waits so much longer. */
const ackGrains = 32;

/** A type reached a Seq. */
interface Ack {
  /** When the first that counts in this one came, ms. */
  readonly since: number;
  seq: Seq;
  at: number;
}

export class ClusterReadiness {
  /** Cluster → when it is warm, by the ack of its endpoints, ms. Emptied when the clusters themselves are acked. */
  readonly #warmAt = new Map<string, number>();
  /** When routes and listeners reached a Seq, ascending; none is longer ago than the grace, so there are `ackGrains` of each at most. */
  readonly #acks: Readonly<Record<"listener" | "route", Ack[]>> = { listener: [], route: [] };
  #newestAckAt = Number.NEGATIVE_INFINITY;
  /**
   * New clusters that were acked while endpoints were under way. Envoy ends the warming of all clusters when it refuses endpoints of any, and acks
   * the clusters first: then these have none, and a route to them answers 503 until their endpoints come again.
   */
  #unfed: { readonly names: ReadonlySet<string>; readonly until: number }[] = [];

  constructor(
    private readonly clusters: TypeStream,
    private readonly endpoints: TypeStream,
    private readonly naming: readonly TypeStream[],
    private readonly times: Pick<PushTimes, "removalGraceMs" | "inFlightOverrideMs">,
  ) {}

  /**
   * Ready: its own response is acked; or its endpoints are, and with active checks the time of a first round has passed since
   * (risks §4: acks of clusters are withheld while any of them warms); and not refused. A new one whose ack came before that of its endpoints
   * waits for that.
   */
  isReady(name: string, now: number): boolean {
    // One with a hop is no more ready than its inner cluster, where its connections go on to.
    const inner = innerOf(name);
    return this.#isReadyItself(name, now) && (!this.clusters.table.get(inner) || this.#isReadyItself(inner, now));
  }

  #isReadyItself(name: string, now: number): boolean {
    const exception = this.clusters.exceptions.get(name);
    // One that is gone from the table is in the Envoy until it was told so.
    const has = exception ? exception.has : this.clusters.table.at(name, this.clusters.sent);
    if (has === undefined) return false;
    if (this.clusters.inFlight.isLeaving(name)) return false;
    if (!this.clusters.inFlight.isUnconfirmed(name)) return !this.#isUnfed(name, now);
    // Changed again before it was confirmed: an ack of endpoints may belong to the first form.
    if (this.clusters.inFlight.isAmbiguous(name)) return false;
    return (this.#warmAt.get(name) ?? Number.POSITIVE_INFINITY) <= now;
  }

  /** True when every cluster of the table is ready: the common case, told in O(1). */
  isAllReady(): boolean {
    return (
      this.clusters.exceptions.size === 0 &&
      this.clusters.sent === this.clusters.table.seq &&
      this.clusters.pending().length === 0
    );
  }

  endpointsAcked(names: Iterable<string>, delayMs: (cluster: string) => number, now: number): void {
    if (!this.clusters.inFlight.hasUnconfirmed) return;
    for (const name of names)
      if (!this.#warmAt.has(name) && !this.clusters.inFlight.isLeaving(name)) this.#warmAt.set(name, now + delayMs(name));
  }
  /** A removal goes out: what comes under these names again warms anew. */
  removed(names: readonly string[]): void {
    for (const name of names) this.#warmAt.delete(name);
  }
  clustersAcked(added: ReadonlySet<string>, now: number): void {
    if (added.size > 0 && !this.endpoints.isQuiet) this.#unfed.push({ names: added, until: now + this.times.inFlightOverrideMs });
    if (!this.clusters.inFlight.hasUnconfirmed) this.#warmAt.clear();
  }
  /** Until when new clusters wait for the answer about their endpoints at most, ms; undefined: none does. */
  feedingUntil(now: number): number | undefined {
    if (this.#unfed.length === 0) return undefined;
    this.#unfed = this.endpoints.isQuiet ? [] : this.#unfed.filter(({ until }) => until > now);
    return this.#unfed.at(-1)?.until;
  }
  #isUnfed(name: string, now: number): boolean {
    if (this.#unfed.length === 0 || !this.endpoints.isUnderWay(name)) return false;
    return this.#unfed.some(({ names, until }) => until > now && names.has(name));
  }
  /** When the next cluster becomes warm by its endpoints' ack, ms; Infinity: none waits. */
  nextWarmAt(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    if (this.#warmAt.size === 0) return next;
    for (const at of this.#warmAt.values()) if (at > now) next = Math.min(next, at);
    return next;
  }

  namingAcked(type: "listener" | "route", seq: Seq, now: number): void {
    const acks = this.#acks[type];
    const newest = acks.at(-1);
    this.#newestAckAt = now;
    if (newest && now - newest.since < this.times.removalGraceMs / ackGrains) {
      newest.seq = seq;
      newest.at = now;
      return;
    }
    acks.push({ since: now, seq, at: now });
    while ((acks[0]?.at ?? now) < now - this.times.removalGraceMs) acks.shift();
  }

  /** From when on a cluster that nothing names any more may go; Infinity while a route or listener that the Envoy has may name it. */
  removableAt(cluster: string, now: number): number {
    const unreferenced = this.clusters.table.unreferencedSeq(cluster);
    let at = now;
    for (const stream of this.naming) {
      if (!stream.subscription.isAsked) continue;
      if (stream.acked < Math.min(unreferenced, stream.table.seq)) return Number.POSITIVE_INFINITY;
      for (const { has } of stream.exceptions.values()) if (mayName(has, cluster)) return Number.POSITIVE_INFINITY;
      // What is on its way has not replaced what was there; and of several on their way, any may be the one in use.
      for (const { frame, before, from } of stream.pending()) {
        const mayUse = (resource: Resource) =>
          mayName(resource, cluster) || mayName(knownBefore(before, resource.name, stream.table, from), cluster);
        if (frame.resources.some(mayUse)) return Number.POSITIVE_INFINITY;
      }
      const acks = stream.type === "listener" || stream.type === "route" ? this.#acks[stream.type] : [];
      const ack = acks.find(({ seq }) => seq >= unreferenced);
      if (ack && unreferenced > 0) at = Math.max(at, ack.at + this.times.removalGraceMs);
    }
    return at;
  }

  /** Everything that names clusters is acked as it is, and that for a grace: any removed cluster may go. */
  isSettled(now: number): boolean {
    if (this.#newestAckAt + this.times.removalGraceMs > now) return false;
    return this.naming.every(
      (stream) =>
        !stream.subscription.isAsked ||
        (stream.exceptions.size === 0 && stream.pending().length === 0 && stream.sent === stream.table.seq),
    );
  }
}

/** What names a cluster names the inner one of its hop, too. */
function mayName(has: Known, cluster: string): boolean {
  return has === "unknown" || (formOf(has)?.clusters.includes(outerOf(cluster) ?? cluster) ?? false);
}
