// What a real Envoy does with what is open when its listeners are withdrawn, by kind; the same however it asks for its configuration; and
// what is said of one that does not tell its connections, or that dies. Mutant tried and caught: connections within the Envoy counted.
import { Agent } from "node:http";
import { connect as connect2 } from "node:http2";
import { connect } from "node:net";
import { beforeAll, expect, test } from "vitest";
import { clusterBody, listenerBody, quickCheck, routeBody, streamRouteBody } from "../support/bodies.js";
import { openEndless, startEndlessBackend } from "../support/endless-streams.js";
import { type Envoy, type Mode, startEnvoy } from "../support/envoy.js";
import { startHttpBackend } from "../support/http-backend.js";
import { openTcp, openWebSockets } from "../support/long-connections.js";
import { scrape } from "../support/metrics.js";
import { freePort } from "../support/ports.js";
import { type Replica, startReplica } from "../support/replica.js";
import { send } from "../support/requests.js";
import { startTcpBackend } from "../support/stream-backends.js";
import { waitFor } from "../support/wait.js";
import { connected, setUp, startDatabase } from "../support/world.js";

interface NodeDrain {
  readonly state: string;
  readonly safeToStop: boolean;
  readonly silent: boolean;
  readonly connections?: number;
  readonly leftOpen?: number;
  readonly outcome?: string;
  readonly createdAt: string;
  readonly endedAt?: string;
}

let replica: Replica;
let [web, tcp] = [0, 0];
beforeAll(async () => {
  replica = await startReplica({ databaseUrl: await startDatabase() });
  [web, tcp] = [await freePort(), await freePort()];
  const closes = { drain: { atDeadline: "close" }, healthChecks: [quickCheck("tcp")] }; // With a hop: a second connection within the Envoy.
  await setUp(replica.api, [
    ["listener", listenerBody("web", web)],
    ["listener", { ...listenerBody("raw", tcp), protocol: "tcp" }],
    ["cluster", clusterBody("app", [await startHttpBackend("app")], closes)],
    ["cluster", clusterBody("endless", [await startEndlessBackend("endless", "http")])],
    ["cluster", clusterBody("grpc", [await startEndlessBackend("grpc", "grpc")], { protocol: "grpc" })],
    ["cluster", clusterBody("stream", [await startTcpBackend("stream")], { protocol: "tcp" })],
    ["route", streamRouteBody("tcp", "raw", "raw", "stream")],
    ["route", routeBody("endless", "web", "endless", { match: { path: { prefix: "/endless" } }, timeoutMs: 0 })],
    ["route", routeBody("grpc", "web", "grpc", { match: { path: { prefix: "/grpc" } }, timeoutMs: 0 })],
    ["route", routeBody("app", "web", "app", { upgrades: ["websocket"] })],
  ]);
});

async function start(node: string, more: { mode?: Mode; drainTimeSeconds?: number; reportsPort?: number } = {}): Promise<Envoy> {
  const envoy = await startEnvoy({ node, gateway: "edge", xdsPorts: [replica.xdsPort], ...more });
  await envoy.live();
  await connected(replica.api, node);
  await waitFor(`${node} listens`, () => opens(envoy));
  return envoy;
}
const opens = async (envoy: Envoy): Promise<boolean> => (await envoy.admin("/listeners")).includes("web::");
const drain = (node: string, timeoutMs: number) => replica.api.post("/v1/node-drains?override=last-node", { node, timeoutMs });
const show = (node: string) => replica.api.get<NodeDrain>(`/v1/node-drains/${node}`);
const until = (node: string, what: string, holds: (drain: NodeDrain) => boolean, timeoutMs = 20_000): Promise<NodeDrain> =>
  waitFor(
    what,
    async () => {
      const now = await show(node);
      return holds(now) ? now : undefined;
    },
    { timeoutMs },
  );
const refuses = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => resolve(true));
    socket.on("connect", () => {
      socket.destroy();
      resolve(false);
    });
  });

test("what is open goes on to the end of Envoy's drain time, and what is asked meanwhile is answered and told to leave", async () => {
  const envoy = await start("kinds", { drainTimeSeconds: 6 });
  const kept = new Agent({ keepAlive: true, maxSockets: 1 });
  await send({ port: web, agent: kept });
  const idle = connect(tcp, "127.0.0.1");
  const h2 = connect2(`http://127.0.0.1:${web}`);
  let goaway = false;
  h2.on("goaway", () => {
    goaway = true;
  });
  const ask2 = (): Promise<number> =>
    new Promise((resolve, reject) => {
      const stream = h2.request({ ":path": "/" });
      stream.on("response", (headers) => resolve(Number(headers[":status"])));
      stream.on("error", reject);
      stream.resume();
    });
  expect(await ask2()).toBe(200);
  const sockets = await openWebSockets(web, 2);
  const raw = await openTcp(tcp, 2);
  const streams = [await openEndless(web, 1, "http", "/endless"), await openEndless(web, 1, "grpc", "/grpc")].flat();

  await drain("kinds", 30_000);
  await until("kinds", "its listeners are gone", ({ state }) => state === "draining");
  await waitFor("its ports refuse", async () => (await refuses(web)) && (await refuses(tcp)));
  // 1 HTTP/1, 1 HTTP/2, 2 WebSockets, 2 streams, 3 TCP, and none of those that lead through a hop.
  await until("kinds", "connections are counted", ({ connections }) => connections === 9);
  expect(goaway).toBe(false);
  const answer = await send({ port: web, agent: kept });
  expect([answer.status, answer.headers.connection, await ask2()]).toEqual([200, "close", 200]);
  await waitFor("its HTTP/2 connection is told to leave", () => goaway);
  await sockets.answer();
  await raw.answer();
  expect([sockets.alive(), raw.alive(), idle.closed, streams.filter(({ ended }) => ended).length]).toEqual([2, 2, false, 0]);
  const safe = await until("kinds", "it is safe to stop", ({ endedAt }) => endedAt !== undefined);
  expect(safe).toMatchObject({ safeToStop: true, outcome: "no connection is left" });
  const metrics = await scrape(replica.api);
  expect(metrics.get('chancery_node_drains_ended_total{safe="true"}')).toBe(1);
  expect(metrics.get('chancery_node_drain_seconds_count{safe="true"}')).toBe(1);
  expect(Date.parse(safe.endedAt ?? "") - Date.parse(safe.createdAt)).toBeGreaterThan(5_000);
  expect([sockets.alive(), raw.alive(), streams.filter(({ ended }) => ended).length]).toEqual([0, 0, 2]);
  await envoy.stop();
}, 90_000);

test.each<Mode>(["sotw", "separate-delta", "separate-sotw"])(
  "an Envoy that asks by %s is drained, and gets its listeners back",
  async (mode) => {
    const envoy = await start(mode, { mode });
    await drain(mode, 30_000);
    await waitFor("its listener is gone", async () => !(await opens(envoy)));
    await until(mode, "it is safe to stop", ({ safeToStop }) => safeToStop);
    expect(await envoy.names("cluster")).toEqual(expect.arrayContaining(["app", "grpc"]));
    await replica.api.delete(`/v1/node-drains/${mode}`);
    await waitFor("its listener is back", () => opens(envoy));
    expect(await waitFor("it serves", async () => (await send({ port: web })).status)).toBe(200);
    await envoy.stop();
  },
  60_000,
);

test("an Envoy whose metrics do not come is waited for to the deadline, and never safe by silence", async () => {
  const envoy = await start("silent", { reportsPort: await freePort() });
  await drain("silent", 8_000);
  await until("silent", "it is silent", ({ silent }) => silent);
  const end = await until("silent", "it ends", ({ endedAt }) => endedAt !== undefined);
  expect(end).toMatchObject({ safeToStop: false, leftOpen: 0, outcome: expect.stringContaining("do not tell") });
  expect(await opens(envoy)).toBe(false);
  await envoy.stop();
}, 60_000);

test("an Envoy that dies while it is drained is gone, and safe", async () => {
  const envoy = await start("dying", { drainTimeSeconds: 100 });
  const raw = await openTcp(tcp, 1);
  await drain("dying", 600_000);
  await until("dying", "its connection is counted", ({ connections }) => connections === 1);
  await envoy.kill();
  const end = await until("dying", "it is gone", ({ endedAt }) => endedAt !== undefined, 40_000);
  expect(end).toMatchObject({ safeToStop: true, outcome: expect.stringContaining("gone") });
  raw.close();
}, 90_000);
