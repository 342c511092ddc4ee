// Parts restart under load, one after the other: the control plane, Postgres, an Envoy. Running Envoys lose no request, and in the end
// everybody has what is wanted.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startEmbeddedPostgres } from "../../src/demo/embedded-postgres.js";
import { migrate } from "../../src/store/migrate.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { acked } from "../support/api-client.js";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { onCleanup } from "../support/cleanup.js";
import { type Envoy, startEnvoy } from "../support/envoy.js";
import { startHttpBackend } from "../support/http-backend.js";
import { type Load, sendMany, startLoad } from "../support/load.js";
import { openWebSockets } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { type Replica, startReplica } from "../support/replica.js";
import { send } from "../support/requests.js";
import { expectShares } from "../support/shares.js";
import { waitFor } from "../support/wait.js";
import { ackedBy, connected, setUp } from "../support/world.js";

/** Open requests get CHANCERY_SHUTDOWN_GRACE_MS, 10 s; there are none, and streams are ended at once. */
const stopsWithinMs = 5_000;

/** A server of this file's own, that the test may stop: others share the run's. */
class Database {
  #server: Awaited<ReturnType<typeof startEmbeddedPostgres>> | undefined;
  readonly #dataDir = mkdtempSync(join(tmpdir(), "chancery-postgres-"));
  #port = 0;

  async start(): Promise<string> {
    this.#port ||= await freePort();
    this.#server = await startEmbeddedPostgres({ dataDir: this.#dataDir, port: this.#port, log: () => {} });
    return this.#server.url;
  }
  async stop(): Promise<void> {
    await this.#server?.stop();
    this.#server = undefined;
  }
  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.#dataDir, { recursive: true, force: true });
  }
}

const database = new Database();
let replica: Replica;
let envoys: readonly Envoy[];
let web = 0;
let running: Load | undefined;

beforeAll(async () => {
  onCleanup("Postgres", () => database.remove());
  const databaseUrl = await database.start();
  await migrate(databaseUrl, createLogger("fatal"));
  replica = await startReplica({ databaseUrl });
  web = await freePort();
  const [one, two] = await Promise.all([startHttpBackend("one"), startHttpBackend("two")]);
  await setUp(replica.api, [
    ["listener", listenerBody("web", web)],
    ["listener", listenerBody("late", await freePort(), { gateways: ["late"] })],
    ["cluster", clusterBody("one", [one])],
    ["cluster", clusterBody("two", [two])],
    ["route", routeBody("app", "web", { one: 1, two: 0 }, { upgrades: ["websocket"], listeners: ["web", "late"] })],
  ]);
  const nodes = ["edge-1", "edge-2"];
  envoys = await Promise.all(nodes.map((node) => startEnvoy({ node, gateway: "edge", xdsPorts: [replica.xdsPort] })));
  for (const envoy of envoys) await envoy.live();
  for (const node of nodes) await connected(replica.api, node);
});

function startRequests(): Load {
  running = startLoad({ next: () => ({ port: web }), keepAlive: 4, newConnections: 4, requestsPerSecond: 300 });
  return running;
}
beforeEach(async () => {
  for (const { node } of envoys) await connected(replica.api, node);
});
afterEach(async () => {
  await running?.stop();
});

/** One of another gateway, on a port of its own: stopping it must not cut what the load has open. */
const startLateEnvoy = (): Promise<Envoy> => startEnvoy({ node: "late-1", gateway: "late", xdsPorts: [replica.xdsPort] });

/** An operator's stop ends by itself, and soon, although Envoys are connected. */
async function stopInTime(): Promise<void> {
  const started = performance.now();
  await replica.stop();
  expect(performance.now() - started).toBeLessThan(stopsWithinMs);
}

/** A change made once both Envoys are back reaches both. */
async function everybodyConverges(weights: Readonly<Record<string, number>>): Promise<void> {
  for (const { node } of envoys) await connected(replica.api, node);
  const { sync, revision } = await replica.api.put(`/v1/routes/app/weights${acked}`, { weights });
  expect(sync).toMatchObject({ state: "acked", gateways: { edge: { total: 2, acked: 2 } } });
  for (const { node } of envoys) await ackedBy(replica.api, node, revision);
  expectShares((await sendMany(200, { port: web })).byBackend, weights);
}

describe("the control plane restarts", () => {
  test.each([
    ["as an operator stops it", stopInTime],
    ["killed with kill -9", () => replica.kill()],
  ])("%s: no request fails, no WebSocket is cut, and changes arrive again", async (_how, end) => {
    const load = startRequests();
    const sockets = await openWebSockets(web, 4);
    await end();
    await expect(replica.api.call("GET", "/healthz")).rejects.toThrow();
    expect((await sendMany(200, { port: web })).failed).toBe(0);
    await replica.start();
    for (const { node } of envoys) await connected(replica.api, node);
    await everybodyConverges({ one: 0, two: 1 });
    await everybodyConverges({ one: 1, two: 0 });
    await sockets.answer();
    expect([sockets.alive(), sockets.deaths()]).toEqual([4, []]);
    sockets.close();
    expect((await load.stop()).failures).toEqual([]);
  });

  test("an Envoy that starts while no control plane is there waits, and never goes live empty", async () => {
    const load = startRequests();
    const late = await startLateEnvoy();
    await replica.stop();
    await late.kill();
    await late.start();
    await expect(late.live({ timeoutMs: 2_000 })).rejects.toThrow();
    await replica.start();
    await late.live();
    expect(await late.names("route")).toEqual(["late"]);
    await late.stop();
    expect((await load.stop()).failures).toEqual([]);
  });
});

describe("Postgres restarts", () => {
  test("no request fails, the API answers 503 with Retry-After meanwhile, nothing acknowledged is lost, and changes arrive again", async () => {
    const load = startRequests();
    const before = await replica.api.put(`/v1/routes/app/weights${acked}`, { weights: { one: 3, two: 1 } });
    await database.stop();
    const away = await replica.api.call("PUT", "/v1/routes/app/weights", { weights: { one: 0, two: 1 } });
    expect([away.status, Number(away.headers.get("retry-after")) > 0]).toEqual([503, true]);
    expect(away.body).toMatchObject({ code: "database_unavailable" });
    expect((await replica.api.call("GET", "/v1/routes/app")).status).toBe(503);
    expect((await replica.api.call("GET", "/healthz")).status).toBe(200);
    expect((await sendMany(200, { port: web })).failed).toBe(0);

    await database.start();
    await waitFor("the API answers again", async () => (await replica.api.call("GET", "/v1/routes/app")).status === 200);
    const kept = await replica.api.get<{ backends: { weight: number }[] }>("/v1/routes/app");
    expect(kept.backends.map((backend) => backend.weight)).toEqual([3, 1]);
    await ackedBy(replica.api, "edge-1", before.revision);
    await everybodyConverges({ one: 0, two: 1 });
    expect((await load.stop()).failures).toEqual([]);
  });

  test("a new Envoy gets its configuration while the database is away", async () => {
    const load = startRequests();
    await database.stop();
    const late = await startLateEnvoy();
    await late.live();
    expect(await late.names("route")).toEqual(["late"]);
    await late.stop();
    await database.start();
    await waitFor("the API answers again", async () => (await replica.api.call("GET", "/v1/routes/app")).status === 200);
    expect((await load.stop()).failures).toEqual([]);
  });
});

describe("an Envoy restarts", () => {
  test("once it is gone, no new connection fails through the other one, and it comes back with everything", async () => {
    const [first] = envoys;
    if (!first) throw new Error("no Envoy");
    await first.kill();
    // Both share the port: from here on every new connection is the other one's, also while the first one starts.
    const load = startRequests();
    await waitFor("the fleet shows it as gone", async () => (await replica.api.node("edge-1"))?.connected !== true);
    await waitFor("traffic goes on", () => load.counts().total > 100);
    await first.start();
    await first.live();
    await connected(replica.api, "edge-1");
    await everybodyConverges({ one: 1, two: 0 });
    expect((await load.stop()).failures).toEqual([]);
    expect((await send({ port: web })).backend).toBe("one");
  });
});
