// The xDS port before gRPC: who may connect, how long one may take to say that it speaks HTTP/2, and how long a connection may be there
// without a stream. gRPC bounds none of these (3,000 half-sent prefaces stayed for ever and took 70 MB, measured).
// In: TCP connections. Out: sockets that have begun as HTTP/2 does, nothing of them lost. Called by server.ts, whatever serves gRPC there.
import { createServer, type Server, type Socket } from "node:net";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import type { LimitName, XdsLimits } from "./limits.js";

export interface DoorOptions {
  readonly limits: Pick<XdsLimits, "maxConnections" | "maxConnectionsPerAddress" | "prefaceTimeoutMs" | "idleConnectionMs">;
  /** Takes over a socket; what was read of it is put back. */
  readonly admit: (socket: Socket) => void;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly now: () => number;
}

/** A connection that was let in. */
interface Connection {
  readonly socket: Socket;
  streams: number;
  idleSince: number;
}

/** https://www.rfc-editor.org/rfc/rfc9113#section-3.4 */
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
/** Connections that the kernel keeps for us until we take them, as far as it lets us: a fleet comes back at once. */
const backlog = 4_096;
const idleLookMs = 250;
/**
 * Connections that are let in within one turn of the event loop; the others wait in line for the next. To begin HTTP/2 with one, read its first
 * request and answer that is up to a millisecond: 1,000 that come at once would be one turn of a second, in which nobody else is served.
 */
const maxPerTurn = 16;
/** A flood is told this often per limit; the metric each time. */
const tellEveryMs = 10_000;

export class Door {
  readonly #server: Server;
  /** `address:port` of the peer → its connection, once let in. */
  readonly #connections = new Map<string, Connection>();
  /** address → connections, also those that have not spoken yet. */
  readonly #perAddress = new Map<string, number>();
  readonly #toldAt = new Map<LimitName, number>();
  /** They have spoken, and wait to be let in; first come, first served. */
  #line: (() => void)[] = [];
  #admittedInTurn = 0;
  #count = 0;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(private readonly options: DoorOptions) {
    this.#server = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => this.#onConnection(socket));
  }

  /** Connections there are, let in or not yet. */
  get count(): number {
    return this.#count;
  }

  /** `port` 0: any that is free. @throws the socket's error, EADDRINUSE for one */
  async listen({ host, port }: { readonly host: string; readonly port: number }): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ host, port, backlog }, () => {
        this.#server.off("error", reject);
        resolve();
      });
    });
    this.#idleTimer = setInterval(() => this.#closeIdle(), idleLookMs).unref();
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : port;
  }

  /** Lets nobody in any more; connections that are there stay. */
  close(): void {
    clearInterval(this.#idleTimer);
    this.#server.close();
  }

  /** A stream was opened on the connection of this peer (`address:port`). The result is to be called once, when it has ended. */
  streamOpened(peer: string): () => void {
    const connection = this.#connections.get(peer);
    if (!connection) return () => {};
    connection.streams += 1;
    return () => {
      connection.streams -= 1;
      connection.idleSince = this.options.now();
    };
  }

  #onConnection(socket: Socket): void {
    const { maxConnections, maxConnectionsPerAddress } = this.options.limits;
    const { remoteAddress: address = "", remotePort } = socket;
    const fromThere = this.#perAddress.get(address) ?? 0;
    socket.on("error", () => {}); // Its peer has gone; `close` follows.
    if (this.#count >= maxConnections) return this.#refuse(socket, address, "xds_max_connections", maxConnections);
    if (maxConnectionsPerAddress > 0 && fromThere >= maxConnectionsPerAddress)
      return this.#refuse(socket, address, "xds_max_connections_per_address", maxConnectionsPerAddress);
    this.#count += 1;
    this.#perAddress.set(address, fromThere + 1);
    const peer = `${address}:${remotePort}`;
    socket.once("close", () => {
      this.#count -= 1;
      const left = (this.#perAddress.get(address) ?? 1) - 1;
      if (left > 0) this.#perAddress.set(address, left);
      else this.#perAddress.delete(address);
      this.#connections.delete(peer);
    });
    this.#awaitPreface(socket, peer);
  }

  #awaitPreface(socket: Socket, peer: string): void {
    const { admit, limits, now } = this.options;
    // What has come already is read first: where we were busy for long, it is not the peer that is late.
    const timer = setTimeout(() => {
      setImmediate(() => isWaiting && this.#refuse(socket, peer, "xds_preface_timeout_ms", limits.prefaceTimeoutMs));
    }, limits.prefaceTimeoutMs);
    let isWaiting = true;
    let begun: Buffer = Buffer.alloc(0);
    const onReadable = (): void => {
      const more: unknown = socket.read();
      if (!Buffer.isBuffer(more)) return;
      begun = begun.length === 0 ? more : Buffer.concat([begun, more]);
      const compared = Math.min(begun.length, preface.length);
      if (!begun.subarray(0, compared).equals(preface.subarray(0, compared))) return stop("no HTTP/2");
      if (compared === preface.length) stop("preface");
    };
    const stop = (why: "preface" | "no HTTP/2" | "closed"): void => {
      clearTimeout(timer);
      isWaiting = false;
      socket.off("readable", onReadable);
      socket.off("close", onClose);
      if (why === "no HTTP/2") socket.destroy();
      if (why === "preface") this.#letIn(() => enter());
    };
    const enter = (): void => {
      if (socket.destroyed) return;
      this.#connections.set(peer, { socket, streams: 0, idleSince: now() });
      socket.unshift(begun);
      admit(socket);
    };
    const onClose = (): void => stop("closed");
    socket.on("close", onClose);
    socket.on("readable", onReadable);
  }

  #letIn(enter: () => void): void {
    if (this.#admittedInTurn === 0) setImmediate(() => this.#nextTurn());
    this.#admittedInTurn += 1;
    if (this.#admittedInTurn <= maxPerTurn) enter();
    else this.#line.push(enter);
  }

  #nextTurn(): void {
    this.#admittedInTurn = 0;
    const waiting = this.#line;
    this.#line = [];
    for (const enter of waiting) this.#letIn(enter);
  }

  #closeIdle(): void {
    const { limits, now } = this.options;
    const before = now() - limits.idleConnectionMs;
    for (const [peer, { idleSince, socket, streams }] of this.#connections)
      if (streams === 0 && idleSince <= before) this.#refuse(socket, peer, "xds_idle_connection_ms", limits.idleConnectionMs);
  }

  #refuse(socket: Socket, peer: string, limit: LimitName, maximum: number): void {
    const { log, metrics, now } = this.options;
    socket.destroy();
    metrics.count("limit_hits_total", { limit });
    if (now() - (this.#toldAt.get(limit) ?? Number.NEGATIVE_INFINITY) < tellEveryMs) return;
    this.#toldAt.set(limit, now());
    log.warn({ limit, maximum, peer, connections: this.#count }, "a connection met a limit and was closed");
  }
}
