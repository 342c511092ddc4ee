// One Envoy's metrics stream: gauges of clusters, and counters of answers. Pure. Owned by: loads.ts.
import { type ClusterGauges, type Interval, LeftOver, noGauges, type Steady } from "./left-over.js";
import { ReportClock } from "./report-clock.js";

/** One message of a metrics stream: as much of it as is used. */
export interface MetricsSample {
  /** When the Envoy made it, ms by its own clock; undefined when it does not say. */
  readonly stampMs: number | undefined;
  /** cluster → gauges. Absent: never used, or gone. Undefined: the Envoy's settings leave the gauges out. */
  readonly clusters: ReadonlyMap<string, ClusterGauges> | undefined;
  /** How long ago the Envoy's process began; undefined when it does not say. */
  readonly uptimeMs?: number | undefined;
  /** It has all that was counted since the process began: none came before it, to whomever. */
  readonly isFirstOfProcess?: boolean;
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

/** Whether the control plane has done something of late by which hosts of the cluster may have come or gone at `at`. */
export type ExplainsChange = (cluster: string, at: number) => boolean;

/** An Envoy is this young at the first message of its process. */
const youngMs = 10_000;
/** Times of samples kept: for clusters without a gauge, which are quiet in every sample. */
const maxSampleTimes = 4;

export class MetricsStream {
  readonly #clock = new ReportClock();
  #stampMs: number | undefined;
  #receivedAt: number;
  #sampledAt: readonly number[] = [];
  /** cluster → what is left over there. */
  readonly #leftOvers = new Map<string, LeftOver>();
  #answers = 0;
  #errors = 0;
  #clientConnections: readonly ConnectionCount[] = [];

  /** Of several messages with one stamp: none is the whole. */
  #isInParts = false;
  /** When the process began, if this stream has all that it ever said: nothing was under way then. By its clock, and by ours. */
  #bornStampMs: number | undefined;
  #bornAt: number | undefined;
  /** cluster → changes of membership in messages before the first whose time is known. */
  #untimed: Map<string, number> | undefined = new Map();

  /** `isShared`: what another replica passes on, of some clusters only. */
  constructor(
    readonly openedAt: number,
    private readonly explains: ExplainsChange,
    private readonly isShared = false,
  ) {
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
    this.#isInParts ||= stampMs === this.#stampMs;
    const isNewborn = this.#stampMs === undefined && sample.isFirstOfProcess && (sample.uptimeMs ?? youngMs) < youngMs;
    if (isNewborn) this.#bornStampMs = stampMs - (sample.uptimeMs ?? 0);
    const madeAt = this.#clock.received(this.#stampMs === undefined ? 0 : stampMs - this.#stampMs, receivedAt);
    this.#stampMs = stampMs;
    this.#receivedAt = receivedAt;
    this.#answers += sample.answers;
    this.#errors += sample.errors;
    this.#count(sample.clientConnections, madeAt);
    if (!sample.clusters || this.#isInParts) return;
    if (madeAt === undefined) return this.#remember(sample.clusters);
    if (this.#bornStampMs !== undefined) this.#bornAt = madeAt - (stampMs - this.#bornStampMs);
    this.sampled(this.#withUntimed(sample.clusters), madeAt);
  }

  /** A part without the total says nothing: another one has it, and too much of it where the gauges by listener are in a third. */
  #count(connections: number | undefined, madeAt: number | undefined): void {
    if (connections === undefined) this.#clientConnections = this.#isInParts ? this.#clientConnections : [];
    else if (madeAt !== undefined) this.#clientConnections = [...this.#clientConnections.slice(-1), { at: madeAt, connections }];
  }

  #remember(clusters: ReadonlyMap<string, ClusterGauges>): void {
    for (const [cluster, { membershipChanges }] of clusters) {
      this.#untimed?.set(cluster, (this.#untimed.get(cluster) ?? 0) + membershipChanges);
    }
  }

  #withUntimed(clusters: ReadonlyMap<string, ClusterGauges>): ReadonlyMap<string, ClusterGauges> {
    const untimed = this.#untimed;
    if (!untimed) return clusters;
    this.#untimed = undefined;
    return new Map(
      [...clusters].map(([name, gauges]) => [
        name,
        { ...gauges, membershipChanges: gauges.membershipChanges + (untimed.get(name) ?? 0) },
      ]),
    );
  }

  /** The same for gauges whose time is known: those that another replica received. */
  sampled(clusters: ReadonlyMap<string, ClusterGauges>, at: number): void {
    // When a cluster that is new in this sample was not there; undefined: not known, as no stream was open before.
    const beganAt = this.isShared ? undefined : (this.#sampledAt.at(-1) ?? this.#bornAt);
    this.#sampledAt = [...this.#sampledAt, at].slice(-maxSampleTimes);
    // An Envoy keeps the gauges of a cluster while it, or any connection of it, is there.
    for (const cluster of this.#leftOvers.keys()) if (!clusters.has(cluster)) this.#leftOvers.delete(cluster);
    for (const [cluster, gauges] of clusters) {
      const leftOver = this.#leftOvers.get(cluster) ?? new LeftOver(beganAt);
      this.#leftOvers.set(cluster, leftOver);
      leftOver.sample(gauges, at, (changedAt) => this.explains(cluster, changedAt));
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
  /** When another replica was told of hosts that came or went without a known reason. */
  unexplained(cluster: string, at: number): void {
    this.#leftOvers.get(cluster)?.unexplained(at);
  }

  gaugesOf(cluster: string): ClusterGauges {
    return this.#leftOvers.get(cluster)?.gauges ?? noGauges;
  }
  clusters(): Iterable<string> {
    return this.#leftOvers.keys();
  }

  /** See `LeftOver.unexplainedAt`. */
  unexplainedAt(cluster: string): number {
    return this.#leftOvers.get(cluster)?.unexplainedAt ?? Number.NEGATIVE_INFINITY;
  }

  /** See `LeftOver.bound`; 0 for a cluster that has no gauge. */
  bound(cluster: string, steady: Steady | undefined): number | undefined {
    const leftOver = this.#leftOvers.get(cluster);
    if (leftOver) return leftOver.bound(steady);
    return this.#sampledAt.length === 0 || this.isShared ? undefined : 0;
  }

  /** See `LeftOver.quietSince`. */
  quietSince(cluster: string, from: number): number | undefined {
    const leftOver = this.#leftOvers.get(cluster);
    if (leftOver) return leftOver.quietSince(from);
    return this.isShared ? undefined : this.#sampledAt.find((at) => at >= from);
  }
}
