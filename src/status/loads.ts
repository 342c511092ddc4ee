// What the Envoys whose report streams are on this replica do: requests in flight by endpoint (load reports), gauges by cluster and
// answers (metrics). In memory only; an Envoy's streams may be spread over replicas, and a node may have several of each at once (a
// hot restart). In: reports, from xds/report-services.ts. Out: NodeLoad. Pure, no clock. Read by drain/ and whoever wants error rates.
import type { NodeIdentity } from "../model/node.js";
import type { Steady } from "./left-over.js";
import { type LoadReport, LoadStream, steadyIn, type TimedReport } from "./load-stream.js";
import { type ConnectionCount, type ExplainsChange, type MetricsSample, MetricsStream } from "./metrics-stream.js";

/** A stream that has said nothing for this long says nothing any more. Reports come each second. */
export const silentAfterMs = 5_000;

/** One stream of load reports, as others see it. */
export interface LoadStreamView {
  readonly openedAt: number;
  readonly receivedAt: number;
  /** The newest two whose time is known, the older first. */
  readonly reports: readonly TimedReport[];
}

/** Gauges of one cluster, over the streams of a node. */
export interface GaugeSums {
  readonly connections: number;
  readonly requests: number;
  readonly pending: number;
}

/** One Envoy's load, over its streams on this replica. A live view: read it in one turn. Times are ms, this replica's clock. */
export interface NodeLoad {
  readonly node: string;
  readonly gateway: string;
  /** Open streams of load reports; of several, one that is silent while a newer one speaks is left out. */
  readonly loadStreams: readonly LoadStreamView[];
  /** When the newest gauges were made, over the same kind of choice of metrics streams the oldest of them; undefined: there are none. */
  readonly gaugesAt: number | undefined;
  /** Whether a metrics stream of it is here; otherwise its gauges, if any, come from another replica. */
  readonly hasOwnGauges: boolean;
  gaugesOf(cluster: string): GaugeSums;
  clustersWithGauges(): readonly string[];
  /** At most so much in the cluster is not accounted for by load reports (`LeftOver.bound`). Undefined: nothing is known. */
  leftOver(cluster: string, steady: Steady | undefined): number | undefined;
  /** When hosts of the cluster last came or went without a known reason (`LeftOver.unexplainedAt`). -Infinity: never. */
  unexplainedAt(cluster: string): number;
  /** Hosts of the cluster, and how many are healthy, as each of its streams tells; none from another replica. */
  membershipOf(cluster: string): readonly { readonly hosts: number; readonly healthy: number }[];
  /** A moment from `from` on at which nothing in the cluster waited for a connection. Undefined: none is known. */
  quietSince(cluster: string, from: number): number | undefined;
  /** Connections of clients: one list for each metrics stream here that counts; empty of one that does not tell. See `MetricsStream.clientConnections`. */
  readonly clientConnections: readonly (readonly ConnectionCount[])[];
  /** Answers to clients since the streams opened, and 5xx among them (`http.*.downstream_rq_xx`). Both only go up while they last. */
  readonly answers: number;
  readonly errors: number;
}

/** Gauges that another replica received. */
export interface RemoteGauges {
  readonly at: number;
  /** `unexplainedAt`: see NodeLoad. */
  readonly clusters: ReadonlyMap<string, GaugeSums & { readonly least: number; readonly unexplainedAt: number }>;
}

interface Node {
  readonly id: string;
  readonly gateway: string;
  readonly loadStreams: Set<LoadStream>;
  readonly metricsStreams: Set<MetricsStream>;
  /** Fed from another replica while no metrics stream is here. */
  remote: MetricsStream | undefined;
}

/** Bounds. */
export interface LoadsOptions {
  /** Nodes with a report stream; one more is turned away. */
  readonly maxNodes: number;
  /** Load reports are asked for this often, ms. */
  readonly intervalMs: number;
  /** Default: nothing is known of the control plane, and no change has a reason. */
  readonly explains?: ExplainsChange;
}

/** How one stream tells. */
export interface Reporting<T> {
  received(report: T, now: number): void;
  close(): void;
}

export class Loads {
  readonly #nodes = new Map<string, Node>();
  readonly #followers = new Set<(node: string) => void>();
  readonly #explains: ExplainsChange;

  constructor(private readonly options: LoadsOptions) {
    this.#explains = options.explains ?? (() => false);
  }

  get size(): number {
    return this.#nodes.size;
  }
  nodes(): Iterable<string> {
    return this.#nodes.keys();
  }

  /** Called after each load report and each metrics message, with the node. Returns how to stop it. Must not throw. */
  onReport(follower: (node: string) => void): () => void {
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  /** Undefined: there are `maxNodes` already. */
  openLoadStream(identity: NodeIdentity, now: number): Reporting<LoadReport> | undefined {
    const node = this.#node(identity);
    if (!node) return undefined;
    const stream = new LoadStream(now, this.options.intervalMs);
    node.loadStreams.add(stream);
    return {
      received: (report, at) => {
        const timed = stream.received(report, at);
        if (timed) this.#pair(node, timed);
        this.#tell(node);
      },
      close: () => {
        node.loadStreams.delete(stream);
        this.#forgetIfEmpty(node);
      },
    };
  }

  /** Undefined: there are `maxNodes` already. */
  openMetricsStream(identity: NodeIdentity, now: number): Reporting<MetricsSample> | undefined {
    const node = this.#node(identity);
    if (!node) return undefined;
    const stream = new MetricsStream(now, this.#explains);
    node.metricsStreams.add(stream);
    node.remote = undefined;
    return {
      received: (sample, at) => {
        stream.received(sample, at);
        this.#tell(node);
      },
      close: () => {
        node.metricsStreams.delete(stream);
        this.#forgetIfEmpty(node);
      },
    };
  }

  /** The node's metrics stream is on another replica, which said this. Nothing for a node that has one here, or no load reports. */
  remoteGauges(id: string, gauges: RemoteGauges): void {
    const node = this.#nodes.get(id);
    if (!node || node.loadStreams.size === 0 || node.metricsStreams.size > 0) return;
    node.remote ??= new MetricsStream(gauges.at, this.#explains, true);
    if (gauges.at <= (node.remote.sampledAt ?? Number.NEGATIVE_INFINITY)) return;
    node.remote.sampled(
      new Map([...gauges.clusters].map(([name, sums]) => [name, { ...sums, membershipChanges: 0 }])),
      gauges.at,
    );
    for (const [name, { least, unexplainedAt }] of gauges.clusters) {
      node.remote.unexplained(name, unexplainedAt);
      node.remote.lower(name, gauges.at, least);
    }
  }

  /** Undefined when no report stream of the node is here. */
  of(id: string, now: number): NodeLoad | undefined {
    const node = this.#nodes.get(id);
    return node && view(node, now);
  }

  /** Nodes all of whose report streams here have said nothing for `silentAfterMs`. */
  silent(now: number): number {
    let silent = 0;
    for (const { loadStreams, metricsStreams } of this.#nodes.values()) {
      if ([...loadStreams, ...metricsStreams].every(({ receivedAt }) => now - receivedAt > silentAfterMs)) silent += 1;
    }
    return silent;
  }

  #node({ id, gateway }: NodeIdentity): Node | undefined {
    const known = this.#nodes.get(id);
    if (known) return known;
    if (this.#nodes.size >= this.options.maxNodes) return undefined;
    const node: Node = { id, gateway, loadStreams: new Set(), metricsStreams: new Set(), remote: undefined };
    this.#nodes.set(id, node);
    return node;
  }

  #forgetIfEmpty(node: Node): void {
    if (node.loadStreams.size === 0) node.remote = undefined;
    if (node.loadStreams.size + node.metricsStreams.size === 0 && this.#nodes.get(node.id) === node) this.#nodes.delete(node.id);
  }

  /** With two processes of one name it is not known whose gauges a report accounts for: then nothing is accounted for. */
  #pair(node: Node, report: TimedReport): void {
    if (node.loadStreams.size !== 1 || node.metricsStreams.size > 1) return;
    for (const stream of [...node.metricsStreams, ...(node.remote ? [node.remote] : [])]) {
      stream.interval(report, (cluster) => steadyIn(report.clusters.get(cluster)));
    }
  }

  #tell(node: Node): void {
    for (const follower of this.#followers) follower(node.id);
  }
}

/** All that speak; if there are several, without those that fell silent while a newer one speaks: their peer is gone, unnoticed. */
function speaking<S extends { readonly openedAt: number; readonly receivedAt: number }>(
  streams: Iterable<S>,
  now: number,
): readonly S[] {
  const all = [...streams];
  const newestVoice = Math.max(
    ...all.filter(({ receivedAt }) => now - receivedAt <= silentAfterMs).map(({ openedAt }) => openedAt),
  );
  return all.filter(
    ({ openedAt, receivedAt }) =>
      now - receivedAt <= 2 * silentAfterMs || openedAt > newestVoice || newestVoice === Number.NEGATIVE_INFINITY,
  );
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** The sum, or undefined when one of them is. */
function sumIfKnown(values: readonly (number | undefined)[]): number | undefined {
  let total = 0;
  for (const value of values) {
    if (value === undefined) return undefined;
    total += value;
  }
  return values.length === 0 ? undefined : total;
}

function view(node: Node, now: number): NodeLoad {
  const metrics = speaking(node.metricsStreams.size > 0 ? node.metricsStreams : node.remote ? [node.remote] : [], now);
  const times = metrics.map(({ sampledAt }) => sampledAt);
  return {
    node: node.id,
    gateway: node.gateway,
    loadStreams: speaking(node.loadStreams, now),
    gaugesAt: times.includes(undefined) || times.length === 0 ? undefined : Math.min(...times.map((at) => at ?? 0)),
    hasOwnGauges: node.metricsStreams.size > 0,
    gaugesOf: (cluster) => ({
      connections: sum(metrics.map((stream) => stream.gaugesOf(cluster).connections)),
      requests: sum(metrics.map((stream) => stream.gaugesOf(cluster).requests)),
      pending: sum(metrics.map((stream) => stream.gaugesOf(cluster).pending)),
    }),
    membershipOf: (cluster) =>
      metrics.flatMap((stream) => {
        const { hosts, healthyHosts } = stream.gaugesOf(cluster);
        return hosts === undefined || healthyHosts === undefined ? [] : { hosts, healthy: healthyHosts };
      }),
    clustersWithGauges: () => [...new Set(metrics.flatMap((stream) => [...stream.clusters()]))],
    leftOver: (cluster, steady) => sumIfKnown(metrics.map((stream) => stream.bound(cluster, steady))),
    unexplainedAt: (cluster) => Math.max(...metrics.map((stream) => stream.unexplainedAt(cluster))),
    quietSince: (cluster, from) => {
      const moments = metrics.map((stream) => stream.quietSince(cluster, from));
      return moments.includes(undefined) || moments.length === 0 ? undefined : Math.max(...moments.map((at) => at ?? 0));
    },
    clientConnections: node.metricsStreams.size > 0 ? metrics.map((stream) => stream.clientConnections) : [],
    answers: sum([...node.metricsStreams].map((stream) => stream.answers)),
    errors: sum([...node.metricsStreams].map((stream) => stream.errors)),
  };
}
