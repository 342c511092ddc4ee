// One Envoy's metrics stream: gauges of clusters, and counters of answers. Pure. Owned by: loads.ts.
import { type ClusterGauges, type Interval, LeftOver } from "./left-over.js";
import { ReportClock } from "./report-clock.js";

/** One message of a metrics stream: as much of it as is used. */
export interface MetricsSample {
  /** When the Envoy made it, ms by its own clock; undefined when it does not say. */
  readonly stampMs: number | undefined;
  /** cluster → gauges. Absent: never used, or gone. Undefined: the Envoy's settings leave the gauges out. */
  readonly clusters: ReadonlyMap<string, ClusterGauges> | undefined;
  /** Answers to clients since the last message, and those among them that are 5xx. */
  readonly answers: number;
  readonly errors: number;
  /** Connections of clients over all listeners, those on their way out too; undefined: its settings leave that out. */
  readonly clientConnections?: number | undefined;
}

/** Connections of clients at one moment, ms. */
export interface ConnectionCount {
  readonly at: number;
  readonly connections: number;
}

const noGauges: ClusterGauges = { connections: 0, requests: 0, pending: 0, membershipChanged: false };
/** Times of samples kept: for clusters without a gauge, which are quiet in every sample. */
const maxSampleTimes = 4;

export class MetricsStream {
  readonly #clock = new ReportClock();
  #stampMs: number | undefined;
  #receivedAt: number;
  #firstAt: number | undefined;
  #sampledAt: readonly number[] = [];
  /** cluster → what is left over there. */
  readonly #leftOvers = new Map<string, LeftOver>();
  #answers = 0;
  #errors = 0;
  #clientConnections: readonly ConnectionCount[] = [];

  constructor(readonly openedAt: number) {
    this.#receivedAt = openedAt;
  }

  get receivedAt(): number {
    return this.#receivedAt;
  }
  /** Answers to clients since the stream opened, and 5xx among them. */
  get answers(): number {
    return this.#answers;
  }
  get errors(): number {
    return this.#errors;
  }
  /** Of the newest two messages, the older first; empty: the newest does not tell. */
  get clientConnections(): readonly ConnectionCount[] {
    return this.#clientConnections;
  }
  /** When the newest sample was made; undefined before that is known. */
  get sampledAt(): number | undefined {
    return this.#sampledAt.at(-1);
  }

  received(sample: MetricsSample, receivedAt: number): void {
    const stampMs = sample.stampMs ?? receivedAt;
    const madeAt = this.#clock.received(this.#stampMs === undefined ? 0 : stampMs - this.#stampMs, receivedAt);
    this.#stampMs = stampMs;
    this.#receivedAt = receivedAt;
    this.#answers += sample.answers;
    this.#errors += sample.errors;
    if (sample.clientConnections === undefined) this.#clientConnections = [];
    else if (madeAt !== undefined)
      this.#clientConnections = [...this.#clientConnections.slice(-1), { at: madeAt, connections: sample.clientConnections }];
    if (madeAt !== undefined && sample.clusters) this.sampled(sample.clusters, madeAt);
  }

  /** The same for gauges whose time is known: those that another replica received. */
  sampled(clusters: ReadonlyMap<string, ClusterGauges>, at: number): void {
    const isFirst = this.#firstAt === undefined;
    this.#firstAt ??= at;
    this.#sampledAt = [...this.#sampledAt, at].slice(-maxSampleTimes);
    // An Envoy keeps the gauges of a cluster while it, or any connection of it, is there.
    for (const cluster of this.#leftOvers.keys()) if (!clusters.has(cluster)) this.#leftOvers.delete(cluster);
    for (const [cluster, gauges] of clusters) {
      const leftOver = this.#leftOvers.get(cluster) ?? new LeftOver();
      this.#leftOvers.set(cluster, leftOver);
      // What changed while no stream was open is not known.
      leftOver.sample(isFirst ? { ...gauges, membershipChanged: true } : gauges, at);
    }
  }

  /** cluster → steady: load reports of one interval, of the same Envoy. */
  interval(interval: Omit<Interval, "steady">, steadyOf: (cluster: string) => number): void {
    for (const [cluster, leftOver] of this.#leftOvers) leftOver.interval({ ...interval, steady: steadyOf(cluster) });
  }

  /** What another replica has found, at `at`. */
  lower(cluster: string, at: number, value: number): void {
    this.#leftOvers.get(cluster)?.lower(at, value);
  }

  gaugesOf(cluster: string): ClusterGauges {
    return this.#leftOvers.get(cluster)?.gauges ?? noGauges;
  }
  clusters(): Iterable<string> {
    return this.#leftOvers.keys();
  }

  /** See `LeftOver.bound`; 0 for a cluster that has no gauge. */
  bound(cluster: string, steadySince: number | undefined): number | undefined {
    const leftOver = this.#leftOvers.get(cluster);
    if (leftOver) return leftOver.bound(steadySince);
    return this.#sampledAt.length === 0 ? undefined : 0;
  }

  /** See `LeftOver.quietSince`. */
  quietSince(cluster: string, from: number): number | undefined {
    const leftOver = this.#leftOvers.get(cluster);
    return leftOver ? leftOver.quietSince(from) : this.#sampledAt.find((at) => at >= from);
  }
}
