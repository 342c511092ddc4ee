// Load reports and metrics: the streams that Envoy's bootstrap asks it to open, to any replica, each by itself. They are read at the door
// and told to status/loads.ts. A message that is damaged, or beyond a limit, ends its own stream and nothing else.
// In: calls of server.ts. Out: Loads; to Envoys, how often to report.
import { encode } from "../proto/encode.js";
import type { Loads, Reporting } from "../status/loads.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import type { CallReader, GrpcCall } from "./grpc-call.js";
import { type Status, status, toFramed } from "./grpc-status.js";
import { type LimitMet, limitMetByNode, type ReportLimits, TokenBucket } from "./limits.js";
import { readLoadStatsRequest } from "./load-report.js";
import { readMetricsMessage } from "./metrics-message.js";
import type { RequestNode } from "./request.js";

/** What report streams need of the server. */
export interface ReportContext {
  readonly loads: Loads;
  readonly limits: ReportLimits;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly now: () => number;
}

type Service = "load" | "metrics";
type EndReason = "client" | "limit" | "shutdown" | "error";
/** How often Envoys report their load: `drain` while somebody waits for it. An Envoy's report repeats its node, 61 KB each time. */
export type Pace = "idle" | "drain";

/** Seconds between load reports. */
export const paceSeconds = { idle: 10, drain: 1 } as const satisfies Record<Pace, number>;

/** Asks for every cluster and each endpoint; taken up at once, also in the middle of an interval. */
const askFor = (pace: Pace): Buffer =>
  toFramed([
    encode("envoy.service.load_stats.v3.LoadStatsResponse", {
      send_all_clusters: true,
      load_reporting_interval: { seconds: paceSeconds[pace] },
      report_endpoint_granularity: true,
    }),
  ]);
const asks: Readonly<Record<Pace, Buffer>> = { idle: askFor("idle"), drain: askFor("drain") };

const emptyMessage = toFramed([]);

/** One open stream, whatever it reports. */
interface Open {
  readonly pace?: (pace: Pace) => void;
  readonly end: (reason: EndReason, code: Status, details: string) => void;
}

/** Reads messages of one stream within its limits. */
class ReportCall<M extends { readonly node: RequestNode | undefined }, T> implements CallReader {
  #reporting: Reporting<T> | undefined;
  #ended = false;
  readonly #bucket: TokenBucket;

  constructor(
    private readonly call: GrpcCall,
    private readonly service: Service,
    private readonly context: ReportContext,
    private readonly read: (bytes: Buffer, isNodeKnown: boolean) => M,
    private readonly reportIn: (message: M) => { readonly report: T; readonly names: number },
    private readonly open: (node: RequestNode) => Reporting<T> | undefined,
    private readonly forget: () => void,
  ) {
    this.#bucket = new TokenBucket(context.limits.requestsPerSecond, context.limits.requestBurst);
  }

  onTooLong(bytes: number): void {
    this.#refuse({ limit: "xds_max_message_bytes", maximum: this.context.limits.maxRequestBytes, found: bytes });
  }
  onHalfClose(): void {
    this.end("client", status.OK, "");
  }
  onClosed(): void {
    this.end("client", status.CANCELLED, "the peer went");
  }

  onMessage(bytes: Buffer): void {
    if (this.#ended) return;
    const { limits, metrics, now } = this.context;
    this.#slowDown();
    let message: M;
    try {
      message = this.read(bytes, this.#reporting !== undefined);
    } catch (error) {
      this.context.log.warn({ service: this.service, err: error }, "a report can't be read; its stream ends");
      return this.end("error", status.INVALID_ARGUMENT, "the message can't be read");
    }
    const isFirst = this.#reporting === undefined;
    const reporting = this.#reporting ?? this.#begin(message.node);
    if (!reporting) return;
    metrics.count("reports_received_total", { service: this.service });
    const { report, names } = this.reportIn(message);
    if (names > limits.maxNames) return this.#refuse({ limit: "xds_max_names", maximum: limits.maxNames, found: names });
    // The first message of a load report stream only says who it is.
    if (isFirst && this.service === "load") return;
    reporting.received(report, now());
  }

  end(reason: EndReason, code: Status, details: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#reporting?.close();
    this.context.metrics.count("report_streams_ended_total", { service: this.service, reason });
    this.forget();
    // Metrics are answered once, when their stream ends well.
    if (this.service === "metrics" && code === status.OK) this.call.write(emptyMessage);
    this.call.end(code, details);
  }

  #begin(node: RequestNode | undefined): Reporting<T> | undefined {
    const { limits, loads } = this.context;
    if (!node || node.id === "") {
      this.end("error", status.INVALID_ARGUMENT, "the first message must carry a node with an id");
      return undefined;
    }
    const met = limitMetByNode(node, limits);
    this.#reporting = met ? undefined : this.open(node);
    if (!this.#reporting)
      this.#refuse(met ?? { limit: "xds_max_report_nodes", maximum: limits.maxReportNodes, found: loads.size + 1 });
    return this.#reporting;
  }

  /** Stops reading for a while: HTTP/2 then lets no more through. */
  #slowDown(): void {
    const waitMs = this.#bucket.spend(this.context.now());
    if (waitMs === 0) return;
    this.context.metrics.count("limit_hits_total", { limit: "xds_requests_per_second" });
    this.call.pause();
    setTimeout(() => this.call.resume(), waitMs).unref();
  }

  #refuse(met: LimitMet): void {
    this.context.metrics.count("limit_hits_total", { limit: met.limit });
    this.context.log.warn({ service: this.service, ...met }, "a report stream met a limit and ends");
    this.end("limit", status.RESOURCE_EXHAUSTED, `limit met: ${met.limit} is ${met.maximum}, found ${met.found}`);
  }
}

export class ReportStreams {
  readonly #open = new Map<Service, Set<Open>>([
    ["load", new Set()],
    ["metrics", new Set()],
  ]);
  #pace: Pace = "idle";

  constructor(private readonly context: ReportContext) {
    for (const service of this.#open.keys()) this.#count(service, 0);
  }

  /** How often all Envoys report their load from now on; those that come later, too. */
  setPace(pace: Pace): void {
    if (pace === this.#pace) return;
    this.#pace = pace;
    for (const { pace: ask } of this.#open.get("load") ?? []) ask?.(pace);
  }

  serveLoadReports(call: GrpcCall): CallReader {
    const { loads, now } = this.context;
    let isAsked = false;
    const pace = (wanted: Pace): void => {
      if (isAsked) call.write(asks[wanted]);
    };
    const open: Open = { pace, end: (reason, code, details) => report.end(reason, code, details) };
    const report = new ReportCall(
      call,
      "load",
      this.context,
      readLoadStatsRequest,
      (message) => ({ report: message.report, names: message.endpoints }),
      (node) => {
        isAsked = true;
        pace(this.#pace);
        return loads.openLoadStream(node, now());
      },
      () => this.#forget("load", open),
    );
    this.#remember("load", open);
    return report;
  }

  serveMetrics(call: GrpcCall): CallReader {
    const { loads, now } = this.context;
    const open: Open = { end: (reason, code, details) => report.end(reason, code, details) };
    const report = new ReportCall(
      call,
      "metrics",
      this.context,
      readMetricsMessage,
      (message) => ({ report: message.sample, names: message.sample.clusters?.size ?? 0 }),
      (node) => loads.openMetricsStream(node, now()),
      () => this.#forget("metrics", open),
    );
    this.#remember("metrics", open);
    return report;
  }

  /** Ends all, so that the server can stop without waiting for its bound. Envoys open them again elsewhere. */
  close(): void {
    for (const open of this.#open.values()) for (const { end } of [...open]) end("shutdown", status.OK, "");
  }

  #remember(service: Service, open: Open): void {
    this.#open.get(service)?.add(open);
    this.#count(service, this.#open.get(service)?.size ?? 0);
  }

  #forget(service: Service, open: Open): void {
    this.#open.get(service)?.delete(open);
    this.#count(service, this.#open.get(service)?.size ?? 0);
  }

  #count(service: Service, open: number): void {
    this.context.metrics.set("report_streams_open", { service }, open);
  }
}
