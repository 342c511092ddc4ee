// What one Envoy does for one cluster that its load reports don't account for: requests and connections of hosts that were replaced
// (after a CDS change, an edited zone, a removal), and requests that wait for their connection.
// In: gauges of the metrics stream, load reports. Out: upper bounds. Pure. Owned by: metrics-stream.ts.
// Gauges and load reports are made at different moments, so their difference in a busy cluster is noise. But what was left over since
// a moment t is in every gauge since t: the least of them bounds it from above, and one quiet moment proves that there is none.

/** Gauges of one cluster at one moment, as an Envoy reports them. */
export interface ClusterGauges {
  /** `upstream_cx_active`: idle ones too. */
  readonly connections: number;
  /** `upstream_rq_active`: requests, streams and TCP connections under way; also on hosts that were replaced. */
  readonly requests: number;
  /** `upstream_rq_pending_active`: waiting for a connection. */
  readonly pending: number;
  /** Hosts came or went since the last sample (`membership_change`): some may have been replaced. */
  readonly membershipChanged: boolean;
}

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
/** Changes of membership kept; and how far apart those are that may be one. */
const maxChanges = 16;
const changeSpreadMs = 3_000;
/** Workers take a new host over some moments after the main thread has counted it. */
const settleMs = 1_500;
/** The times of samples and intervals are estimates. */
const slackMs = 250;

interface Bound {
  readonly at: number;
  readonly value: number;
}

export class LeftOver {
  /** In the order of time, each smaller than all that follow: the least since a time is the first that is not older. */
  #minima: readonly Bound[] = [];
  /** Samples whose interval of the load reports has not come yet. */
  #unpaired: readonly Bound[] = [];
  #previous: Interval | undefined;
  #quiet: readonly number[] = [];
  #changes: readonly number[] = [];
  #newest: ClusterGauges = { connections: 0, requests: 0, pending: 0, membershipChanged: false };

  /** The newest sample. */
  get gauges(): ClusterGauges {
    return this.#newest;
  }

  sample(gauges: ClusterGauges, at: number): void {
    this.#newest = gauges;
    if (gauges.membershipChanged) this.#changes = [...this.#changes, at].slice(-maxChanges);
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
    this.#minima = [...before, bound, ...after].slice(-maxMinima);
  }

  /**
   * The most that can be left over on hosts that were replaced. `steadySince`: since when the control plane has not replaced the host
   * in question; undefined: not known, so any change that this Envoy told may have. Undefined when there was no sample since.
   */
  bound(steadySince: number | undefined): number | undefined {
    const since = this.#replacedAt(steadySince);
    return this.#minima.find((minimum) => minimum.at >= since)?.value;
  }

  /** The Envoy takes a change over some time after it was made: the first one that it told since then, and what came close to it. */
  #replacedAt(steadySince: number | undefined): number {
    const first = steadySince === undefined ? this.#changes.at(-1) : this.#changes.find((at) => at >= steadySince);
    if (first === undefined) return steadySince ?? Number.NEGATIVE_INFINITY;
    const last = this.#changes.filter((at) => at <= first + changeSpreadMs).at(-1) ?? first;
    return last + settleMs;
  }

  /** The first moment kept, from `from` on, at which nothing waited for a connection; undefined: none is known. */
  quietSince(from: number): number | undefined {
    return this.#quiet.find((at) => at >= from);
  }
}
