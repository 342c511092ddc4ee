// The report services of a replica, in the process of the test: what Envoys report is read there, while their configuration comes from
// another replica. In: limits. Out: the port, Loads. Called by the tests of load reports and drains.
import { Loads } from "../../src/status/loads.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { createMetrics, type Metrics } from "../../src/telemetry/metrics.js";
import { GrpcServer } from "../../src/xds/grpc-server.js";
import type { ReportLimits } from "../../src/xds/limits.js";
import { ReportStreams } from "../../src/xds/report-services.js";
import { loadReportPath, metricsPath } from "../../src/xds/services.js";
import { onCleanup } from "./cleanup.js";
import { listenFor } from "./grpc-listener.js";

const standard: ReportLimits = {
  maxRequestBytes: 4 << 20,
  maxNames: 20_000,
  maxNodeIdLength: 255,
  maxNodeMetadataBytes: 64 << 10,
  requestsPerSecond: 200,
  requestBurst: 1_000,
  maxReportNodes: 100,
};

export interface ReportServer {
  readonly port: number;
  readonly loads: Loads;
  readonly streams: ReportStreams;
  readonly metrics: Metrics;
}

export async function startReportServer(changed: Partial<ReportLimits> = {}): Promise<ReportServer> {
  const limits = { ...standard, ...changed };
  const metrics = createMetrics();
  const loads = new Loads({ maxNodes: limits.maxReportNodes, intervalMs: 1_000 });
  const streams = new ReportStreams({
    loads,
    limits,
    log: createLogger("silent"),
    metrics,
    now: Date.now,
  });
  const server = new GrpcServer({
    services: new Map([
      [loadReportPath, (call) => streams.serveLoadReports(call)],
      [metricsPath, (call) => streams.serveMetrics(call)],
    ]),
    streamsPerConnection: 100,
    maxMessageBytes: limits.maxRequestBytes,
    keepaliveMs: 30_000,
    keepaliveTimeoutMs: 10_000,
    lingerMs: 1_000,
    log: createLogger("silent"),
  });
  const port = await listenFor(server);
  onCleanup("report server", () => server.close(0));
  return { port, loads, streams, metrics };
}
