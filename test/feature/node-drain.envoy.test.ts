// Draining one of two real Envoys, to replace it: its health check fails, its port closes, what is in flight is waited for, and no request
// that was sent on a kept connection fails. The other one notices nothing. A drain that is taken back brings the listeners back.
// Mutants tried and caught: listeners that stay; a lame duck whose health check passes.
import { Agent } from "node:http";
import { connect as connect2 } from "node:http2";
import { expect, test } from "vitest";
import type { Mutation } from "../support/api-client.js";
import { clusterBody, listenerBody, routeBody, streamRouteBody } from "../support/bodies.js";
import { type Envoy, startEnvoy } from "../support/envoy.js";
import { startHttpBackend } from "../support/http-backend.js";
import { startLoad } from "../support/load.js";
import { openTcp, openWebSockets } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { startReplica } from "../support/replica.js";
import { send } from "../support/requests.js";
import { startTcpBackend } from "../support/stream-backends.js";
import { waitFor } from "../support/wait.js";
import { connected, setUp, startDatabase } from "../support/world.js";

interface NodeDrain {
  readonly state: string;
  readonly safeToStop: boolean;
  readonly connections?: number;
  readonly leftOpen?: number;
  readonly outcome?: string;
}

/** Two replicas, and edge-1 with all the connections: edge-2 comes later, as both open the same port of this machine. */
async function startPair(drainTimeSeconds: number) {
  const databaseUrl = await startDatabase();
  const [a, b] = [await startReplica({ databaseUrl }), await startReplica({ databaseUrl, id: "replica-b" })];
  const start = (node: string): Promise<Envoy> =>
    startEnvoy({ node, gateway: "edge", xdsPorts: [a.xdsPort, b.xdsPort], drainTimeSeconds });
  const first = await start("edge-1");
  const [web, tcp] = [await freePort(), await freePort()];
  const [backend, dawdler] = [await startHttpBackend("app"), await startHttpBackend("dawdler")];
  dawdler.delayMs = 3_000;
  await first.live();
  await setUp(b.api, [
    ["listener", listenerBody("web", web, { healthPath: "/healthz" })],
    ["listener", { ...listenerBody("raw", tcp), protocol: "tcp" }],
    ["cluster", clusterBody("app", [backend])],
    ["cluster", clusterBody("dawdler", [dawdler])],
    ["route", routeBody("dawdler", "web", "dawdler", { match: { path: { exact: "/slow" } } })],
    ["cluster", clusterBody("stream", [await startTcpBackend("stream")], { protocol: "tcp" })],
    ["route", streamRouteBody("tcp", "raw", "raw", "stream")],
    ["route", routeBody("app", "web", "app", { upgrades: ["websocket"], timeoutMs: 0 })],
  ]);
  const join = async (): Promise<Envoy> => {
    const second = await start("edge-2");
    await second.live();
    await connected(b.api, "edge-2");
    return second;
  };
  const show = () => b.api.get<NodeDrain>("/v1/node-drains/edge-1");
  const until = (what: string, holds: (drain: NodeDrain) => boolean, timeoutMs = 20_000): Promise<NodeDrain> =>
    waitFor(
      what,
      async () => {
        const drain = await show();
        return holds(drain) ? drain : undefined;
      },
      { timeoutMs },
    );
  return { a, b, first, join, web, tcp, dawdler, show, until };
}

const opens = async (envoy: Envoy, listener: string): Promise<boolean> =>
  (await envoy.admin("/listeners")).includes(`${listener}::`);

test("a drained Envoy is left by its load balancer and by its connections, and no request on them fails", async () => {
  const { a, b, first, join, web, tcp, dawdler, show, until } = await startPair(8);
  const load = startLoad({ next: () => ({ port: web }), keepAlive: 8, requestsPerSecond: 200 });
  await waitFor("every worker has its connection", () => load.counts().total > 50);
  const kept = new Agent({ keepAlive: true, maxSockets: 1 });
  const healthOf = async () => (await send({ port: web, path: "/healthz", agent: kept })).status;
  expect(await healthOf()).toBe(200);
  const sockets = await openWebSockets(web, 2);
  const raw = await openTcp(tcp, 2);
  const h2 = connect2(`http://127.0.0.1:${web}`);
  await new Promise((resolve) => h2.once("connect", resolve));
  const second = await join();

  const begun = await b.api.call("POST", "/v1/node-drains", {
    node: "edge-1",
    lameDuckMs: 3_000,
    timeoutMs: 30_000,
    reason: "new image",
  });
  expect([begun.status, (begun.body as Mutation).object], begun.text).toMatchObject([
    201,
    { state: "lame-duck", safeToStop: false, reason: "new image" },
  ]);
  await waitFor("its health check fails", async () => (await healthOf()) === 503, { timeoutMs: 3_000, everyMs: 50 });
  expect([await opens(first, "web"), (await show()).state]).toEqual([true, "lame-duck"]);
  const slow = send({ port: web, path: "/slow", agent: kept });
  await waitFor("it is with the backend", () => dawdler.requests === 1);

  await until("its listeners are gone", ({ state }) => state === "draining");
  expect([await opens(first, "web"), await opens(first, "raw"), await opens(second, "web")]).toEqual([false, false, true]);
  // Whoever does it: the replica that was asked is gone.
  await a.kill();
  expect((await slow).status).toBe(200);
  await until("connections are counted", ({ connections = 0 }) => connections >= 4);
  expect([sockets.alive(), raw.alive(), (await show()).safeToStop]).toEqual([2, 2, false]);
  expect((await b.api.call("GET", "/v1/nodes/edge-1")).body).toMatchObject({ connected: true, draining: true });
  sockets.close();
  raw.close();
  h2.destroy();
  kept.destroy();
  const safe = await until("it is safe to stop", ({ safeToStop }) => safeToStop);
  expect(safe).toMatchObject({ state: "drained", outcome: "no connection is left", leftOpen: 0 });
  const { failures, byStatus } = await load.stop();
  expect([failures, byStatus.get(200)]).toEqual([[], expect.any(Number)]);
  expect(await second.statSum("listener_manager.total_listeners_draining")).toBe(0);

  // It stays drained over a restart, until it is told otherwise; waits do not miss it.
  await first.stop();
  await first.start();
  await connected(b.api, "edge-1");
  const write = await b.api.call("PUT", "/v1/listeners/web?wait=acked", listenerBody("web", web, { idleTimeoutMs: 1_000 }));
  expect([write.status, (write.body as Mutation).sync], write.text).toMatchObject([
    200,
    { gateways: { edge: { total: 1, acked: 1 } } },
  ]);
  for (const [path, body] of [
    ["/v1/routes/app/weights", { weights: { app: 7 } }],
    ["/v1/clusters/app", { connectTimeoutMs: 900 }],
  ] as const) {
    const changed = await b.api.call("PUT", `${path}?wait=acked`, body);
    expect([changed.status, (changed.body as Mutation).sync?.state], changed.text).toEqual([200, "acked"]);
  }
  expect(await opens(first, "web")).toBe(false);
  const lifted = await b.api.call("DELETE", "/v1/node-drains/edge-1");
  expect([lifted.status, (lifted.body as Mutation).object], lifted.text).toMatchObject([200, { state: "cancelled" }]);
  await waitFor("its listeners are back", () => opens(first, "web"));
}, 120_000);
