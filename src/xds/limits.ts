// Bounds on what a peer may ask of us; gRPC sets none (DESIGN §8). Each has a name, which is told to the peer, to the log and to the
// metric `limit_hits_total`: that of its setting, without CHANCERY_.
import type { Request, RequestNode } from "./request.js";
import type { PushTimes } from "./stream-view.js";

/** Names of the limits, as metrics and peers are told. All but the one on early requests are settings. */
export const limitNames = [
  "xds_max_connections",
  "xds_max_connections_per_address",
  "xds_preface_timeout_ms",
  "xds_idle_connection_ms",
  "xds_max_first_pushes",
  "xds_requests_per_second",
  "xds_early_requests",
  "xds_max_message_bytes",
  "xds_max_names",
  "xds_max_node_id_length",
  "xds_max_node_metadata_bytes",
  "xds_new_streams_per_second",
  "xds_max_report_nodes",
  "xds_write_stall_ms",
] as const;
export type LimitName = (typeof limitNames)[number];

export interface XdsLimits {
  /** Connections, in all and from one address (0: no bound of its own); beyond it they are closed at once. */
  readonly maxConnections: number;
  readonly maxConnectionsPerAddress: number;
  /** A connection that has not begun as HTTP/2 by then is closed, and one that has had no stream for so long. */
  readonly prefaceTimeoutMs: number;
  readonly idleConnectionMs: number;
  /** Streams that are on their first configuration at once; beyond it UNAVAILABLE. */
  readonly maxFirstPushes: number;
  /** Most streams per second that are ended because this replica has more than its share; 0: none. */
  readonly balancePerSecond: number;
  /** HTTP/2 streams on one connection. */
  readonly streamsPerConnection: number;
  /** Requests per second on one stream, and how many may come at once; beyond it the stream is read more slowly. */
  readonly requestsPerSecond: number;
  readonly requestBurst: number;
  /** Largest request, bytes. */
  readonly maxRequestBytes: number;
  /** Names in one subscription. */
  readonly maxNames: number;
  /** Longest node id or cluster. */
  readonly maxNodeIdLength: number;
  /** Largest `metadata` of a node, bytes. */
  readonly maxNodeMetadataBytes: number;
  /** New streams per second on this replica, and how many at once; beyond it RESOURCE_EXHAUSTED. */
  readonly newStreamsPerSecond: number;
  readonly newStreamBurst: number;
  /** A stream whose writes have not left for this long is cut. */
  readonly writeStallMs: number;
  /** Envoys whose load reports or metrics are followed; a stream of one more ends with RESOURCE_EXHAUSTED. */
  readonly maxReportNodes: number;
  readonly keepaliveMs: number;
  readonly keepaliveTimeoutMs: number;
  /** An idle ADS stream is ended at about this age, to spread a fleet over replicas; 0: never. */
  readonly streamMaxAgeMs: number;
  readonly times: PushTimes;
}

/** Those that hold for streams of reports. */
export type ReportLimits = Pick<
  XdsLimits,
  | "maxRequestBytes"
  | "maxNames"
  | "maxNodeIdLength"
  | "maxNodeMetadataBytes"
  | "requestsPerSecond"
  | "requestBurst"
  | "maxReportNodes"
>;

/** A limit that was met, by how much. */
export interface LimitMet {
  readonly limit: LimitName;
  readonly maximum: number;
  readonly found: number;
}

/** The first limit that one request breaks by itself. */
export function limitMetBy(request: Request, limits: XdsLimits): LimitMet | undefined {
  const { names, unsubscribe, node } = request;
  const found = Math.max(names.count, unsubscribe.count);
  if (found > limits.maxNames) return { limit: "xds_max_names", maximum: limits.maxNames, found };
  return limitMetByNode(node, limits);
}

/** The first limit that a node breaks. */
export function limitMetByNode(
  node: RequestNode | undefined,
  limits: Pick<XdsLimits, "maxNodeIdLength" | "maxNodeMetadataBytes">,
): LimitMet | undefined {
  const measures: readonly LimitMet[] = [
    {
      limit: "xds_max_node_id_length",
      maximum: limits.maxNodeIdLength,
      found: Math.max(node?.id.length ?? 0, node?.gateway.length ?? 0),
    },
    { limit: "xds_max_node_metadata_bytes", maximum: limits.maxNodeMetadataBytes, found: node?.metadataBytes ?? 0 },
  ];
  return measures.find(({ maximum, found }) => found > maximum);
}

/** Allows `perSecond` on average and `burst` at once. Time is given, in ms. */
export class TokenBucket {
  #tokens: number;
  #at = 0;

  constructor(
    private readonly perSecond: number,
    private readonly burst: number,
  ) {
    this.#tokens = burst;
  }

  /** False when there is none to take. */
  take(now: number): boolean {
    this.#refill(now);
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** Takes one in any case, for what has come already. Returns for how long no further one should come, ms; 0 while the burst lasts. */
  spend(now: number): number {
    this.#refill(now);
    this.#tokens -= 1;
    return this.#tokens >= 0 ? 0 : Math.ceil((-this.#tokens * 1_000) / this.perSecond);
  }

  #refill(now: number): void {
    this.#tokens = Math.min(this.burst, this.#tokens + ((now - this.#at) * this.perSecond) / 1_000);
    this.#at = now;
  }
}
