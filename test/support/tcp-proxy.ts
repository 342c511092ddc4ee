// A TCP proxy that can fail: in front of the database, or between an Envoy and its control plane.
// In: where to connect. Out: a port, and ways to break what goes through it. Closed when the test file ends.
import { connect, createServer, type Socket } from "node:net";
import { onCleanup } from "./cleanup.js";

export interface TcpProxy {
  readonly port: number;
  /** pass: as if it were not there. silent: nothing comes back any more, connections stay. closed: connections are cut and refused. */
  become(state: "pass" | "silent" | "closed"): void;
  /** Calls back once, before `text` goes to the server: to fail at one statement. */
  whenSent(text: string, callback: () => void): void;
}

export async function startTcpProxy(name: string, target: { readonly host: string; readonly port: number }): Promise<TcpProxy> {
  let state: "pass" | "silent" | "closed" = "pass";
  let watched: { text: string; callback: () => void } | undefined;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    if (state === "closed") return void client.destroy();
    const upstream = connect(target.port, target.host);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (bytes) => {
      if (watched && bytes.includes(watched.text)) {
        const { callback } = watched;
        watched = undefined;
        callback();
      }
      upstream.write(bytes);
    });
    upstream.on("data", (bytes) => {
      if (state === "pass") client.write(bytes);
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  if (!address || typeof address === "string") throw new Error("the proxy has no port");
  const become = (next: typeof state): void => {
    state = next;
    if (next === "closed") for (const socket of sockets) socket.destroy();
  };
  onCleanup(name, async () => {
    become("closed");
    await new Promise<void>((closed) => server.close(() => closed()));
  });
  return { port: address.port, become, whenSent: (text, callback) => void (watched = { text, callback }) };
}
