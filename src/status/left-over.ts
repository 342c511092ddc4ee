// What one Envoy does for one cluster that its load reports don't account for: requests and connections of hosts that were replaced
// (after a CDS change, an edited zone, a removal), and requests that wait for their connection.
// In: gauges of the metrics stream, load reports. Out: upper bounds. Pure. Owned by: metrics-stream.ts.
// Gauges and load reports are made at different moments, so their difference in a busy cluster is noise. But what was left over since
// a moment t is in every gauge since t: the least of them bounds it from above, and one quiet moment proves that there is none. So does
// one at which the Envoy did not have the cluster (docs/adr/0033).

/** Gauges of one cluster at one moment, as an Envoy reports them. */
export interface ClusterGauges {
  /** `upstream_cx_active`: idle ones too. */
  readonly connections: number;
  /** `upstream_rq_active`: requests, streams and TCP connections under way; also on hosts that were replaced. */
  readonly requests: number;
  /** `upstream_rq_pending_active`: waiting for a connection. */
  readonly pending: number;
  /** How often hosts came or went since the last sample (`membership_change`): some may have been replaced. */
  readonly membershipChanges: number;
  /** Hosts, and those that are healthy, without draining ones (`membership_total`, `membership_healthy`). Undefined: not told. */
  readonly hosts?: number;
  readonly healthyHosts?: number;
}

/** What the control plane knows of a host. ms, this replica's clock. */
export interface Steady {
  /** All that was done to it is known since then; of what was before, nothing is. */
  readonly since: number;
  /** When it was last replaced, as far as that is known: an Envoy takes it over some time later. Undefined: never since. */
  readonly replacedAt: number | undefined;
}

/** Whether the control plane has done something of late by which hosts may have come or gone in an Envoy at `at`. */
export type Explains = (at: number) => boolean;

/** One interval of an Envoy's load reports, and what was under way in a cluster during the whole of it, at least. */
export interface Interval {
  readonly beganAt: number;
  readonly madeAt: number;
  readonly steady: number;
}

/** Moments kept in which nothing waited for a connection. Samples come each second, and are looked at as often. */
const maxQuietMoments = 4;
/** Minima and samples kept; beyond it the oldest are forgotten, which can only make a bound larger. */
const maxMinima = 32;
const maxUnpaired = 16;
/** Changes of membership kept. */
const maxChanges = 16;
/** What an Envoy tells this much later than it was done is not taken for the same: then it is nobody's, and may be anything. */
export const takenOverWithinMs = 10_000;
/** By then a change that an Envoy told is known here, too, if a revision made it: replicas look for them each second. */
const knownWithinMs = 3_000;
/** Workers take a new host over some moments after the main thread has counted it. */
const settleMs = 1_500;
/** The times of samples and intervals are estimates. */
const slackMs = 250;

interface Bound {
  readonly at: number;
  readonly value: number;
}

export const noGauges: ClusterGauges = { connections: 0, requests: 0, pending: 0, membershipChanges: 0 };

const never = Number.NEGATIVE_INFINITY;

export class LeftOver {
  /** In the order of time, each smaller than all that follow: the least since a time is the first that is not older. */
  #minima: readonly Bound[] = [];
  /** Samples whose interval of the load reports has not come yet. */
  #unpaired: readonly Bound[] = [];
  #previous: Interval | undefined;
  #quiet: readonly number[] = [];
  /** Changes of membership, as told: the newest ones. */
  #changes: readonly number[] = [];
  #hasForgotten = false;
  /** Those of which it is not yet known whether a revision explains them. */
  #unexplained: readonly number[] = [];
  #unexplainedAt = never;
  #newest: ClusterGauges | undefined;

  /** `beganAt`: a moment at which the Envoy did not have the cluster; all that came since is told. Undefined: it may be old. */
  constructor(private readonly beganAt: number | undefined) {
    if (beganAt !== undefined) this.lower(beganAt, 0);
  }

  /** The newest sample. */
  get gauges(): ClusterGauges {
    return this.#newest ?? noGauges;
  }

  /** When hosts last came or went without a known reason: any of them may have been replaced then. -Infinity: never. */
  get unexplainedAt(): number {
    return Math.max(this.#unexplainedAt, this.#unexplained.at(-1) ?? never);
  }

  sample(gauges: ClusterGauges, at: number, explains: Explains): void {
    const isFirst = this.#newest === undefined;
    this.#newest = gauges;
    if (isFirst || gauges.membershipChanges > 0) this.#change(at);
    // An Envoy that does not tell that the cluster came may have settings that leave such changes out.
    if (isFirst && (this.beganAt === undefined || gauges.membershipChanges === 0)) this.unexplained(at);
    // The first change was that the cluster came. If that was all, no host has been replaced so far.
    if (gauges.membershipChanges > (isFirst ? 1 : 0)) this.#unexplained = [...this.#unexplained, at];
    else if (isFirst && this.beganAt !== undefined) this.lower(at, 0);
    this.#explain(at, explains);
    if (gauges.pending === 0) this.#quiet = [...this.#quiet, at].slice(-maxQuietMoments);
    // What waits on a host that was replaced will be under way there later, unseen.
    const value = gauges.requests + gauges.pending;
    this.lower(at, value);
    if (value > 0) this.#unpaired = [...this.#unpaired, { at, value }].slice(-maxUnpaired);
  }

  /** The load reports of this interval have come: what was steady in it was in the samples taken in it, and is accounted for. */
  interval(interval: Interval): void {
    const previous = this.#previous;
    this.#previous = interval;
    if (this.#unpaired.length === 0) return;
    const waiting: Bound[] = [];
    for (const sample of this.#unpaired) {
      if (sample.at > interval.madeAt - slackMs) waiting.push(sample);
      else if (sample.at >= interval.beganAt + slackMs) this.lower(sample.at, sample.value - interval.steady);
      else if (previous && sample.at >= previous.beganAt + slackMs && interval.beganAt - previous.madeAt < slackMs) {
        this.lower(sample.at, sample.value - Math.min(interval.steady, previous.steady)); // Near the border of the two.
      }
    }
    this.#unpaired = waiting;
  }

  /** At `at`, no more than `value` was left over. */
  lower(at: number, value: number): void {
    const bound = { at, value: Math.max(0, value) };
    if (this.#minima.some((other) => other.at >= at && other.value <= bound.value)) return;
    const before = this.#minima.filter((other) => other.at < at && other.value < bound.value);
    const after = this.#minima.filter((other) => other.at > at);
    const [least, ...more] = [...before, bound, ...after];
    // The least of all stays: a slow rise would push it out.
    this.#minima = least ? [least, ...more.slice(1 - maxMinima)] : [];
  }

  /** Hosts came or went at `at`, and nobody knows why. */
  unexplained(at: number): void {
    this.#unexplainedAt = Math.max(this.#unexplainedAt, at);
  }

  /**
   * The most that can be left over on hosts that were replaced. `steady`: what the control plane knows of the host in question; undefined:
   * nothing, so any change that this Envoy told may have replaced it. Undefined when there was no sample since.
   */
  bound(steady: Steady | undefined): number | undefined {
    const since = this.#steadySince(steady);
    return this.#minima.find((minimum) => minimum.at >= since)?.value;
  }

  /** The first moment kept, from `from` on, at which nothing waited for a connection; undefined: none is known. */
  quietSince(from: number): number | undefined {
    return this.#quiet.find((at) => at >= from);
  }

  #change(at: number): void {
    this.#hasForgotten ||= this.#changes.length === maxChanges;
    this.#changes = [...this.#changes, at].slice(-maxChanges);
  }

  #explain(now: number, explains: Explains): void {
    const open = this.#unexplained.filter((at) => !explains(at));
    this.#unexplained = open.filter((at) => now - at <= knownWithinMs).slice(-maxChanges);
    for (const at of open) if (!this.#unexplained.includes(at)) this.unexplained(at);
  }

  #steadySince(steady: Steady | undefined): number {
    if (!steady) return (this.#changes.at(-1) ?? never) + settleMs;
    return Math.max(steady.since, this.unexplainedAt + settleMs, this.#takenOverAt(steady.replacedAt));
  }

  /** An Envoy that has told nothing since has not taken it over: when it does, it tells. */
  #takenOverAt(replacedAt: number | undefined): number {
    if (replacedAt === undefined) return never;
    const latest = replacedAt + takenOverWithinMs;
    if (this.#hasForgotten && (this.#changes[0] ?? never) > replacedAt) return latest + settleMs;
    return (this.#changes.findLast((at) => at >= replacedAt && at <= latest) ?? replacedAt) + settleMs;
  }
}
