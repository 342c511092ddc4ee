// gRPC over HTTP/2, as much of it as xDS needs: streams of messages on cleartext connections, whose peers may be slow, silent or wrong.
// In: connections, as door.ts lets them in. Out: a GrpcCall for each stream with a known path, given to its service. Owned by: server.ts.
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. Not done: TLS, compression, and deadlines (`grpc-timeout`), which the
// peer keeps by itself: its reset ends the call.
import {
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import type { Logger } from "../telemetry/logger.js";
import { type CallLimits, type CallReader, GrpcCall } from "./grpc-call.js";
import { status } from "./grpc-status.js";

/** Takes a call on, and says who reads it; undefined: it has ended the call. */
export type Service = (call: GrpcCall) => CallReader | undefined;

export interface GrpcServerOptions extends CallLimits {
  /** Path → its service. */
  readonly services: ReadonlyMap<string, Service>;
  /** HTTP/2 streams on one connection. */
  readonly streamsPerConnection: number;
  /** A connection is asked for a sign of life this often, ms, and cut without one after `keepaliveTimeoutMs`. */
  readonly keepaliveMs: number;
  readonly keepaliveTimeoutMs: number;
  /** Told of each stream's connection (`address:port`); the result is called when the stream is gone. */
  readonly onStream?: (peer: string) => () => void;
  readonly log: Logger;
}

/** Headers of one request, bytes. Envoy's are some 300. */
const maxHeaderListBytes = 16_384;
/** How often connections are looked at, ms: the grain of keepalive. */
const maxTickMs = 1_000;

/** When a connection last gave a sign of life, and since when it is asked for one. */
interface Pulse {
  at: number;
  askedAt: number | undefined;
}

export class GrpcServer {
  readonly #server: Http2Server;
  readonly #sessions = new Map<ServerHttp2Session, Pulse>();
  readonly #ticker: NodeJS.Timeout;
  #isClosing = false;
  /** Called when the last connection has gone. */
  #onLast: (() => void) | undefined;

  constructor(private readonly options: GrpcServerOptions) {
    this.#server = createServer({
      settings: { maxConcurrentStreams: options.streamsPerConnection, maxHeaderListSize: maxHeaderListBytes },
      // Node's limit on a session's memory refuses streams when frames are large. Ours are per stream: what is unsent (stream-call.ts), and
      // one message that is being read.
      maxSessionMemory: Number.MAX_SAFE_INTEGER,
    });
    this.#server.on("session", (session) => this.#onSession(session));
    this.#server.on("sessionError", (error) => options.log.debug({ err: error }, "a connection failed"));
    this.#server.on("stream", (stream, headers) => this.#onStream(stream, headers));
    const tickMs = Math.min(maxTickMs, options.keepaliveMs, options.keepaliveTimeoutMs);
    this.#ticker = setInterval(() => this.#tick(performance.now()), tickMs).unref();
  }

  /** Takes over a connection. */
  admit(socket: Socket): void {
    this.#server.emit("connection", socket);
  }

  /** Tells connections that nothing more is accepted; they go when their streams have ended, at the latest after `graceMs`. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    for (const session of this.#sessions.keys()) session.close();
    const timer = setTimeout(() => this.#destroyAll(), graceMs);
    if (this.#sessions.size > 0) await new Promise<void>((resolve) => (this.#onLast = resolve));
    clearTimeout(timer);
    clearInterval(this.#ticker);
  }

  #destroyAll(): void {
    for (const session of this.#sessions.keys()) session.destroy();
  }

  #onSession(session: ServerHttp2Session): void {
    this.#sessions.set(session, { at: performance.now(), askedAt: undefined });
    session.once("close", () => {
      this.#sessions.delete(session);
      if (this.#sessions.size === 0) this.#onLast?.();
    });
    if (this.#isClosing) session.close();
  }

  #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const call = new GrpcCall(stream, this.options);
    stream.once("close", this.options.onStream?.(call.peer) ?? (() => {}));
    const fault = httpFault(headers);
    if (fault) return call.reject(fault);
    const service = this.options.services.get(headers[":path"] ?? "");
    if (!service) return call.end(status.UNIMPLEMENTED, "no such method");
    const reader = service(call);
    if (reader) call.start(reader);
  }

  #tick(now: number): void {
    const { keepaliveMs, keepaliveTimeoutMs } = this.options;
    for (const [session, pulse] of this.#sessions) {
      if (pulse.askedAt !== undefined) {
        if (now - pulse.askedAt > keepaliveTimeoutMs) session.destroy();
      } else if (now - pulse.at >= keepaliveMs) this.#ask(session, pulse, now);
    }
  }

  #ask(session: ServerHttp2Session, pulse: Pulse, now: number): void {
    pulse.askedAt = now;
    if (session.destroyed) return;
    session.ping((error) => {
      if (error) return; // It is on its way out, or will be cut.
      pulse.at = performance.now();
      pulse.askedAt = undefined;
    });
  }
}

/** The HTTP status for what is no gRPC call at all. */
function httpFault(headers: IncomingHttpHeaders): number | undefined {
  if (headers[":method"] !== "POST") return 405;
  return /^application\/grpc(?:[+;]|$)/.test(headers["content-type"] ?? "") ? undefined : 415;
}
