// One gRPC call on an HTTP/2 stream: messages in, framed messages out, one status at the end, and never an error thrown.
// In: a stream of grpc-server.ts. Out: calls of a CallReader. Used by stream-call.ts and report-services.ts.
import { constants, type ServerHttp2Stream } from "node:http2";
import { type Status, status, toTrailers } from "./grpc-status.js";
import { MessageReader } from "./message-reader.js";

/** What a service makes of a call. */
export interface CallReader {
  onMessage(bytes: Buffer): void;
  /** A message is longer than the server reads; nothing of it was kept. The call is to be ended. */
  onTooLong(bytes: number): void;
  /** The peer sends nothing more. */
  onHalfClose(): void;
  /** The stream is gone, by our status or because the peer went. Once, and last of all. */
  onClosed(): void;
}

export interface CallLimits {
  /** Longest message that is read, bytes. */
  readonly maxMessageBytes: number;
  /** Once we have ended a call, the peer has so long to read that and to end it too, ms; then it is cut. */
  readonly lingerMs: number;
}

const responseHeaders = { ":status": 200, "content-type": "application/grpc", "grpc-accept-encoding": "identity" } as const;

export class GrpcCall {
  readonly #reader: MessageReader;
  #to: CallReader | undefined;
  #isPaused = false;
  #isEnded = false;
  #isHalfClosed = false;
  #linger: NodeJS.Timeout | undefined;

  constructor(
    private readonly stream: ServerHttp2Stream,
    private readonly limits: CallLimits,
  ) {
    this.#reader = new MessageReader(limits.maxMessageBytes);
    stream.on("error", () => undefined); // `close` follows.
    stream.on("close", () => this.#onClose());
  }

  /** Begins to read. To be called once. */
  start(to: CallReader): void {
    this.#to = to;
    this.stream.on("data", (chunk: Buffer) => this.#onData(chunk));
    this.stream.on("end", () => this.#onEnd());
  }

  /** Address and port. */
  get peer(): string {
    const { remoteAddress = "unknown", remotePort = 0 } = this.stream.session?.socket ?? {};
    return `${remoteAddress}:${remotePort}`;
  }

  /** `framed`: with its prefix (`toFramed`), sent as it is and not copied. `onTaken` is called when the transport holds it no more. */
  write(framed: Buffer, onTaken?: (error?: Error | null) => void): void {
    if (this.#isEnded || this.stream.destroyed || this.stream.closed) return;
    if (!this.stream.headersSent) this.stream.respond(responseHeaders, { waitForTrailers: true });
    this.stream.write(framed, onTaken);
  }

  /** What was written before goes out first, as far as the peer reads it. `retryMs`: advice to the peer. */
  end(code: Status, details: string, retryMs?: number): void {
    if (!this.#leave()) return;
    const trailers = toTrailers(code, details, retryMs);
    if (!this.stream.headersSent) return this.stream.respond({ ...responseHeaders, ...trailers }, { endStream: true });
    this.stream.once("wantTrailers", () => this.#sendTrailers(trailers));
    this.stream.end();
  }

  /** It is no gRPC call: ends it with an HTTP status, and words for whoever tried it with a browser or curl. */
  reject(httpStatus: number): void {
    if (!this.#leave()) return;
    this.stream.respond({ ":status": httpStatus, "content-type": "text/plain; charset=utf-8" });
    this.stream.end(
      "This port speaks gRPC: POST with content-type application/grpc. Envoys come here; the admin API is another port.\n",
    );
  }

  /** False when the stream has ended already. */
  #leave(): boolean {
    if (this.#isEnded || this.stream.destroyed || this.stream.closed) return false;
    this.#isEnded = true;
    this.#linger = setTimeout(() => this.reset(), this.limits.lingerMs).unref();
    this.stream.resume(); // What still comes is thrown away, so that the stream ends.
    return true;
  }

  /** Reads no more for a while: HTTP/2 lets no more through than its window. */
  pause(): void {
    this.#isPaused = true;
    this.stream.pause();
  }
  resume(): void {
    this.#isPaused = false;
    this.#deliver();
    if (this.#isPaused) return;
    this.stream.resume();
    if (this.#isHalfClosed) this.#to?.onHalfClose();
  }

  /**
   * Cuts a stream whose peer does not read. gRPC knows no way: a status is written behind the data, and waits with it for a peer that takes
   * neither; the stream and what it buffers would stay as long as the connection. The peer sees RESOURCE_EXHAUSTED.
   */
  reset(): void {
    this.#isEnded = true;
    if (!this.stream.destroyed) this.stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  #sendTrailers(trailers: ReturnType<typeof toTrailers>): void {
    if (!this.stream.destroyed && !this.stream.closed) this.stream.sendTrailers(trailers);
  }

  #onData(chunk: Buffer): void {
    if (this.#isEnded) return;
    this.#reader.feed(chunk);
    this.#deliver();
  }

  #deliver(): void {
    while (!this.#isEnded && !this.#isPaused) {
      const message = this.#reader.next();
      if (!message) break;
      this.#to?.onMessage(message);
    }
    const { fault } = this.#reader;
    if (!fault || this.#isEnded) return;
    if (fault.kind === "too-long") this.#to?.onTooLong(fault.bytes);
    this.end(status.UNIMPLEMENTED, "compressed messages are not read");
  }

  #onEnd(): void {
    this.#isHalfClosed = true;
    if (!this.#isPaused) this.#to?.onHalfClose();
  }

  #onClose(): void {
    clearTimeout(this.#linger);
    this.#isEnded = true;
    this.#to?.onClosed();
  }
}
