// A control plane counts as there when it answers a ping: one that takes connections and says nothing is passed over. Real sockets.
import { createServer as createHttp2Server, type Http2Session } from "node:http2";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { expect, test } from "vitest";
import { connectAny } from "../../../src/agent/upstreams.js";
import { onCleanup } from "../../support/cleanup.js";

async function listen(server: Server): Promise<{ host: string; port: number }> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { host: "127.0.0.1", port: (server.address() as AddressInfo).port }; // It listens on a port.
}

// Mutant: a connection counts, not the answer to a ping.
test("of two, the first of which takes connections and says nothing, the second is used", async () => {
  const sockets = new Set<Socket>();
  const blackHole = createServer((socket) => sockets.add(socket.on("error", () => undefined)));
  const sessions = new Set<Http2Session>();
  const sound = createHttp2Server().on("session", (session) => sessions.add(session));
  onCleanup("the servers", () => {
    for (const one of [...sockets, ...sessions]) one.destroy();
    blackHole.close();
    sound.close();
  });
  const [first, second] = [await listen(blackHole), await listen(sound)];
  const upstream = await connectAny([first, second], () => 0);
  expect(upstream?.name).toBe(`127.0.0.1:${second.port}`);
  expect(sockets.size).toBe(1);
  upstream?.session.destroy();
  expect(await connectAny([first], () => 0)).toBeUndefined();
});
