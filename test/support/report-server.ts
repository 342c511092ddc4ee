// The report services of a replica, in the process of the test: what Envoys report is read there, while their configuration comes from
// another replica. In: limits. Out: the port, Loads. Called by the tests of load reports and drains.
import { Server, ServerCredentials, type ServerDuplexStream, type ServerReadableStream, type sendUnaryData } from "@grpc/grpc-js";
import { Loads } from "../../src/status/loads.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { createMetrics, type Metrics } from "../../src/telemetry/metrics.js";
import type { ReportLimits } from "../../src/xds/limits.js";
import { ReportStreams } from "../../src/xds/report-services.js";
import { loadReportService, metricsService } from "../../src/xds/services.js";
import { onCleanup } from "./cleanup.js";

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
  const server = new Server();
  server.addService(loadReportService, {
    streamLoadStats: (call: ServerDuplexStream<Buffer, Buffer>) => streams.serveLoadReports(call),
  });
  server.addService(metricsService, {
    streamMetrics: (call: ServerReadableStream<Buffer, Buffer>, callback: sendUnaryData<Buffer>) =>
      streams.serveMetrics(call, callback),
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  onCleanup("report server", () => server.forceShutdown());
  return { port, loads, streams, metrics };
}
