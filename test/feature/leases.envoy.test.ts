// Leases on a real Envoy with two control planes: a backend that stops renewing and dies is gone from Envoy. Measured with retries of
// refused connections and without health checks: until its lease is over it is still asked, and the retry answers.
import { beforeAll, expect, test } from "vitest";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { onCleanup } from "../support/cleanup.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { startLoad } from "../support/load.js";
import { freePort } from "../support/ports.js";
import { type Replica, startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { setUp, startWorld, type World } from "../support/world.js";

const ttlMs = 2_000;
let world: World;
let other: Replica;
let web = 0;
let backends: HttpBackend[];
const alive = new Set<string>();

beforeAll(async () => {
  world = await startWorld();
  other = await startReplica({ databaseUrl: world.databaseUrl, id: "replica-b" });
  web = await freePort();
  backends = await Promise.all(["a", "b", "c"].map((name) => startHttpBackend(name)));
  await setUp(world.api, [
    ["listener", listenerBody("web", web)],
    ["cluster", clusterBody("app", backends, { loadBalancing: { policy: "round-robin" }, circuitBreakers: { maxRetries: 100 } })],
    ["route", routeBody("app", "web", "app", { retry: { on: ["connect-failure"], attempts: 3 } })],
  ]);
  for (const { address } of backends) {
    alive.add(address);
    await world.api.call("PUT", `/v1/clusters/app/endpoints/${address}?wait=acked`, { ttlMs });
  }
  const timer = setInterval(() => {
    for (const address of alive)
      void other.api.call("POST", `/v1/clusters/app/endpoints/${address}/renew`).catch(() => undefined);
  }, 500);
  onCleanup("renewals", async () => clearInterval(timer));
});

test("a dead backend goes without anyone asking, no request fails, and nobody else goes", async () => {
  const [dead] = backends;
  if (!dead) throw new Error("there are backends");
  const before = (await world.api.get<{ items: readonly { revision: number }[] }>("/v1/revisions?limit=1")).items[0]?.revision;
  const load = startLoad({ next: () => ({ port: web }), requestsPerSecond: 200, keepAlive: 4, newConnections: 2 });
  alive.delete(dead.address);
  await dead.close();
  const names = async () =>
    (await world.api.get<{ endpoints: readonly { port: number }[] }>("/v1/clusters/app/endpoints")).endpoints.map(
      ({ port }) => port,
    );
  await waitFor("it is gone", async () => !(await names()).includes(dead.port), { timeoutMs: 30_000 });
  const { failures, total } = await load.stop();
  expect(failures).toEqual([]);
  expect(total).toBeGreaterThan(300);
  expect((await names()).length).toBe(2);
  const { items } = await world.api.get<{ items: readonly { revision: number; author: string }[] }>("/v1/revisions?limit=10");
  expect(items.filter(({ revision }) => revision > (before ?? 0)).map(({ author }) => author.split(" ")[0])).toEqual([
    "drain",
    "lease",
  ]);
});

test("nobody is drained because both control planes were away for longer than a lease", async () => {
  await Promise.all([world.replica.kill(), other.kill()]);
  await new Promise((done) => setTimeout(done, ttlMs + 3_000));
  await Promise.all([world.replica.start(), other.start()]);
  await new Promise((done) => setTimeout(done, ttlMs + 3_000));
  const { items } = await world.api.get<{ items: readonly { createdAt: string }[] }>("/v1/drains");
  expect(items.length).toBe(1); // That of the test before.
});
