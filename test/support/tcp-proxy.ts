// A TCP proxy that can fail: in front of the database, or between an Envoy and its control plane.
// In: where to connect. Out: a port, and ways to break what goes through it. Closed when the test file ends.
import { connect, createServer, type Socket } from "node:net";
import { onCleanup } from "./cleanup.js";

/**
 * pass: as if it were not there. silent: what comes back is dropped, connections stay. stalled: nothing goes either way, and all of it goes
 * on later, as packets do that are lost and sent again. closed: connections are cut and refused.
 */
export type ProxyState = "pass" | "silent" | "stalled" | "closed";

export interface TcpProxy {
  readonly port: number;
  become(state: ProxyState): void;
  /** Cuts what is open; whoever comes again is let through. */
  cut(): void;
  /** Everything is so late from now on, ms, both ways; 0: as fast as it goes. */
  slowBy(ms: number): void;
  /** Connections from now on lead there; those that are open stay where they are. */
  leadTo(port: number): void;
  /** Calls back once, before `text` goes to the server: to fail at one statement. */
  whenSent(text: string, callback: () => void): void;
  /** Until it is called again: the server gets every message with `text`, and the connection is cut as its reply comes. Counts them. */
  loseRepliesTo(text: string | undefined): void;
  readonly lostReplies: number;
}

class BreakableProxy implements TcpProxy {
  port = 0;
  lostReplies = 0;
  #state: ProxyState = "pass";
  #delayMs = 0;
  #watched: { readonly text: string; readonly callback: () => void } | undefined;
  #loses: string | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((client) => this.#accept(client));

  constructor(private readonly target: { readonly host: string; port: number }) {}

  async listen(): Promise<void> {
    await new Promise<void>((listening) => this.#server.listen(0, "127.0.0.1", listening));
    const address = this.#server.address();
    if (!address || typeof address === "string") throw new Error("the proxy has no port");
    this.port = address.port;
  }
  async close(): Promise<void> {
    this.become("closed");
    await new Promise<void>((closed) => this.#server.close(() => closed()));
  }

  become(state: ProxyState): void {
    this.#state = state;
    if (state === "closed") this.cut();
    for (const socket of this.#sockets) {
      if (state === "stalled") socket.pause();
      else socket.resume();
    }
  }
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
  slowBy(ms: number): void {
    this.#delayMs = ms;
  }
  leadTo(port: number): void {
    this.target.port = port;
  }
  whenSent(text: string, callback: () => void): void {
    this.#watched = { text, callback };
  }
  loseRepliesTo(text: string | undefined): void {
    this.#loses = text;
  }

  #accept(client: Socket): void {
    if (this.#state === "closed") return void client.destroy();
    const upstream = connect(this.target.port, this.target.host);
    let isReplyLost = false;
    for (const socket of [client, upstream]) {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    this.#forward(client, upstream, (bytes) => {
      if (this.#watched && bytes.includes(this.#watched.text)) {
        const { callback } = this.#watched;
        this.#watched = undefined;
        callback();
      }
      isReplyLost ||= this.#loses !== undefined && bytes.includes(this.#loses);
      return true;
    });
    this.#forward(upstream, client, () => {
      if (isReplyLost) {
        this.lostReplies += 1;
        client.destroy();
      }
      return !isReplyLost && this.#state !== "silent";
    });
    if (this.#state === "stalled") for (const socket of [client, upstream]) socket.pause();
  }

  /** Late bytes wait in a chain of their own, so that they stay in order whatever the delay becomes. */
  #forward(from: Socket, to: Socket, lets: (bytes: Buffer) => boolean): void {
    let late = 0;
    let tail = Promise.resolve();
    const write = (bytes: Buffer): void => {
      if (to.write(bytes)) return;
      from.pause();
      to.once("drain", () => this.#state !== "stalled" && from.resume());
    };
    from.on("data", (bytes) => {
      if (!lets(bytes)) return;
      if (this.#delayMs === 0 && late === 0) return write(bytes);
      late += 1;
      const dueAt = performance.now() + this.#delayMs;
      tail = tail.then(async () => {
        const waitMs = dueAt - performance.now();
        if (waitMs > 0) await new Promise((due) => setTimeout(due, waitMs));
        late -= 1;
        write(bytes);
      });
    });
  }
}

export async function startTcpProxy(name: string, target: { readonly host: string; readonly port: number }): Promise<TcpProxy> {
  const proxy = new BreakableProxy({ ...target });
  await proxy.listen();
  onCleanup(name, () => proxy.close());
  return proxy;
}
