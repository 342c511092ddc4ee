// Load reports and metrics: the streams that the bootstrap asks Envoys to open. They are accepted, answered and read, so that no Envoy
// logs a failure; what they say is not used yet (drains will).
import { type ServerDuplexStream, type ServerReadableStream, type sendUnaryData, status } from "@grpc/grpc-js";
import { encode } from "../proto/encode.js";

/** Asks for every cluster, each endpoint, once a second (envoy.md §4.1). */
const loadStatsResponse = encode("envoy.service.load_stats.v3.LoadStatsResponse", {
  send_all_clusters: true,
  load_reporting_interval: { seconds: 1 },
  report_endpoint_granularity: true,
});

export function serveLoadReports(call: ServerDuplexStream<Buffer, Buffer>): void {
  let isAnswered = false;
  call.on("data", () => {
    if (isAnswered) return;
    isAnswered = true;
    call.write(loadStatsResponse);
  });
  call.on("end", () => call.end());
  call.on("error", () => undefined); // The peer went: gRPC has ended the call already.
}

export function serveMetrics(call: ServerReadableStream<Buffer, Buffer>, callback: sendUnaryData<Buffer>): void {
  call.on("data", () => undefined);
  call.on("end", () => callback(null, Buffer.alloc(0)));
  call.on("error", () => callback({ code: status.CANCELLED }));
}
