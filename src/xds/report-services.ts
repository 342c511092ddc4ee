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

export class ReportStreams {
  /** How to end each open one. */
  readonly #ends = new Set<() => void>();

  serveLoadReports(call: ServerDuplexStream<Buffer, Buffer>): void {
    let isAnswered = false;
    const forget = this.#remember(() => call.end());
    call.on("data", () => {
      if (isAnswered) return;
      isAnswered = true;
      call.write(loadStatsResponse);
    });
    call.on("end", () => {
      forget();
      call.end();
    });
    call.on("cancelled", forget);
    call.on("error", forget); // The peer went: gRPC has ended the call already.
  }

  serveMetrics(call: ServerReadableStream<Buffer, Buffer>, callback: sendUnaryData<Buffer>): void {
    const forget = this.#remember(() => callback(null, Buffer.alloc(0)));
    const answer = (error: { code: number } | null) => {
      if (forget()) callback(error, Buffer.alloc(0));
    };
    call.on("data", () => undefined);
    call.on("end", () => answer(null));
    call.on("cancelled", () => answer({ code: status.CANCELLED }));
    call.on("error", () => answer({ code: status.CANCELLED }));
  }

  /** Ends all, so that the server can stop without waiting for its bound. Envoys open them again elsewhere. */
  close(): void {
    for (const end of [...this.#ends]) {
      this.#ends.delete(end);
      end();
    }
  }

  /** Returns how to forget it: true the first time. */
  #remember(end: () => void): () => boolean {
    this.#ends.add(end);
    return () => this.#ends.delete(end);
  }
}
