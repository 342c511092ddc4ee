// Rebalances on a real database: two workers, one that dies, a clock that is wrong by a minute, and other writers; Envoys' reports are written
// as rows. Mutants tried and caught: a claim that waits; reports of any age; no pause; the drain guard minding the marks of
// steps, of endpoints or of changed clusters; an end that leaves the drain; a restored endpoint that is told as drained; the clock of the
// process; a step while the one before it is under way.
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { DrainJobs } from "../../src/drain/drain-jobs.js";
import { RebalanceJobs } from "../../src/drain/rebalance-jobs.js";
import { cancelRebalance, takeRebalanceStep } from "../../src/drain/take-rebalance-step.js";
import type { TcpRoute } from "../../src/model/route.js";
import type { RebalanceRecord, Store } from "../../src/store/store.js";
import { systemClock } from "../../src/telemetry/clock.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { createMetrics } from "../../src/telemetry/metrics.js";
import { edgeNode } from "../api/api-under-test.js";
import { freshDatabase, sql } from "../support/postgres.js";
import { staysTrue, waitFor } from "../support/wait.js";
import { author, cluster, endpoint, openStore } from "./samples.js";

let url: string;
let store: Store;
let other: Store;
const workers: { stop(): Promise<void> }[] = [];
const log = createLogger("silent");

beforeAll(async () => {
  ({ url } = await freshDatabase());
  [store, other] = await Promise.all([openStore(url), openStore(url)]);
});
beforeEach(async () => {
  await sql(url, "truncate replicas, nodes, drains, drain_nodes, rebalances, rebalance_loads cascade");
  await store.status.heartbeat({ id: "r1", startedAt: new Date().toISOString(), revision: 1, leaseMs: 600_000 });
  await store.status.saveNodes("r1", [edgeNode("edge-1")], []);
});
afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});

/** Both jobs of one replica, which has no Envoys of its own. */
function work(on: Store): void {
  const drains = new DrainJobs({ store: on, log, metrics: createMetrics() });
  const rebalances = new RebalanceJobs({
    replica: "r2",
    store: on,
    loads: { nodes: () => [], of: () => undefined },
    resourceOf: (route) => `tcp/${route}`,
    setPace: () => {},
    onDrain: () => drains.wake(),
    clock: systemClock,
    log,
    metrics: createMetrics(),
  });
  for (const jobs of [rebalances, drains]) {
    jobs.start();
    workers.push(jobs);
  }
}

const check = {
  kind: "tcp",
  intervalMs: 100,
  intervalJitterMs: 0,
  initialJitterMs: 0,
  timeoutMs: 100,
  unhealthyThreshold: 1,
  healthyThreshold: 1,
  unhealthyIntervalMs: undefined,
  reuseConnection: false,
} as never;
const guarantee = { kind: "kill-switch", closesWithinMs: 300, because: "" } as const;
let counter = 0;

interface World {
  readonly id: string;
  readonly route: TcpRoute;
  /** Address key of the endpoint of a or b, 1–3. */
  key(cluster: "a" | "b", at: number): string;
  name(cluster: "a" | "b", at: number): string;
}

/** A route from 100/0 to 50/50, with three endpoints each, and its rebalance. */
async function begin(afterMs = 0, ratePerSecond = 100_000): Promise<World> {
  const count = ++counter;
  const id = count.toString(16).padStart(16, "0");
  const [a, b, listener, name] = [`a-${count}`, `b-${count}`, `l-${count}`, `mq-${count}`];
  const drain = { atDeadline: "close", timeoutMs: 30_000, sticky: "leave-at-once" } as const;
  const settings = { protocol: "tcp", drain, healthChecks: [check], connectTimeoutMs: 10 } as const;
  const route: TcpRoute = {
    protocol: "tcp",
    name,
    listener,
    sni: [],
    backends: [
      { cluster: a, weight: 50 },
      { cluster: b, weight: 50 },
    ],
    hashOnSourceIp: false,
    idleTimeoutMs: 0,
    split: "endpoints",
  };
  await store.write(author, async (tx) => {
    await tx.insert("listener", {
      protocol: "tcp",
      name: listener,
      address: "0.0.0.0",
      port: 9_000 + count,
      gateways: ["edge"],
    } as never);
    for (const [at, one] of [a, b].entries()) {
      await tx.insert("cluster", cluster(one, settings));
      await tx.putAll(
        "endpoint",
        [1, 2, 3].map((host) => endpoint(one, 100 * at + host)),
      );
    }
    await tx.insert("route", route);
    const losing = [{ cluster: a, guarantee }];
    await tx.rebalances.start({ id, by: author, route: name, weights: { [a]: 50, [b]: 50 }, losing, afterMs, ratePerSecond });
  });
  const key = (one: "a" | "b", at: number): string => `10.0.0.7:${(one === "b" ? 100 : 0) + at}`;
  return { id, route, key, name: (one, at) => `${one}-${count}/${key(one, at)}` };
}

async function report({ id }: World, counts: Readonly<Record<string, number>>): Promise<void> {
  await store.rebalances.saveLoads("r1", [{ rebalance: id, node: "edge-1", counts, agoMs: 0 }]);
}
const get = async ({ id }: World): Promise<RebalanceRecord> => {
  const found = await store.rebalances.get(id);
  if (!found) throw new Error("it is there");
  return found;
};
/** The Envoy has closed what the drain of the step under way is about. */
async function closed(world: World): Promise<void> {
  const drain = (await get(world)).drain?.id ?? "";
  const row = { drain, node: "edge-1", gateway: "edge" };
  await store.drains.saveAcks("r1", [row]);
  await store.drains.saveLoads("r1", [{ ...row, verdict: "zero", inFlight: 0, unattributed: 0 }]);
}
/** Endpoints of the world that a drain has. */
async function marked({ route: { backends } }: World): Promise<readonly string[]> {
  const query = "select name from endpoints where cluster = any($1) and jsonb_exists(spec, 'drain') order by name";
  return (await sql<{ name: string }>(url, query, [backends.map((backend) => backend.cluster)])).map(({ name }) => name);
}
const pause = <T>(ms: number, value: T): Promise<T> => new Promise((done) => setTimeout(done, ms, value));
const begun = (world: World, step: number) =>
  waitFor(`step ${step}`, async () => (await get(world)).steps.length >= step, { timeoutMs: 10_000 });
const ended = (world: World) =>
  waitFor("its end", async () => ((await get(world)).endedAt === undefined ? undefined : get(world)), { timeoutMs: 10_000 });
const noPause = () => sql(url, "update rebalances set pause_ms = 0");

describe("its steps", () => {
  test("come one after the other, each once with two workers, and the endpoint is back before the next", async () => {
    const world = await begin();
    const { key } = world;
    work(store);
    work(other);
    await report(world, { [key("a", 1)]: 20, [key("a", 2)]: 22, [key("a", 3)]: 18 });
    await begun(world, 1);
    expect(await get(world)).toMatchObject({ state: "open", steps: [{ endpoint: key("a", 2), connections: 22 }] });
    expect((await store.read.get("endpoint", world.name("a", 2)))?.object.drain).toMatchObject({ route: world.route.name });
    await waitFor(
      "it closes",
      async () => (await store.read.get("endpoint", world.name("a", 2)))?.object.drain?.phase === "closing",
    );
    await staysTrue("one at a time", async () => (await marked(world)).join() === world.name("a", 2), 700);
    await closed(world);
    await waitFor("it is back", async () => (await marked(world)).length === 0);
    const drain = (await get(world)).drain?.id ?? "";
    expect(await store.drains.get(drain)).toMatchObject({
      state: "restored",
      safeToStop: false,
      by: { author: `rebalance ${world.id}` },
    });
    // Reports from before its pause is over say nothing.
    await report(world, { [key("a", 1)]: 26, [key("a", 3)]: 23, [key("b", 1)]: 11 });
    await staysTrue("it pauses", async () => (await get(world)).steps.length === 1, 1_000);
    await noPause();
    await report(world, { [key("a", 1)]: 26, [key("a", 3)]: 23, [key("b", 1)]: 11 });
    await begun(world, 2);
    await closed(world);
    await waitFor("it is back", async () => (await marked(world)).length === 0);
    await noPause();
    await report(world, { [key("a", 2)]: 7, [key("a", 3)]: 23, [key("b", 1)]: 30 });
    expect(await ended(world)).toMatchObject({
      state: "done",
      steps: [{ endpoint: key("a", 2) }, { endpoint: key("a", 1), connections: 26 }],
      connections: { [world.route.backends[0]?.cluster ?? ""]: 30, [world.route.backends[1]?.cluster ?? ""]: 30 },
    });
    const { items } = await store.drains.list({ limit: 10 });
    expect(items.map((one) => [one.state, one.endpoints[0]?.endpoint])).toEqual([
      ["restored", key("a", 1)],
      ["restored", key("a", 2)],
    ]);
  });

  test.each([60_000, -60_000])("a clock that is %d ms wrong begins none early and none late", async (wrongMs) => {
    const world = await begin(1_500);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + wrongMs });
    work(store);
    await report(world, { [world.key("a", 1)]: 20 });
    await staysTrue("not due", async () => (await get(world)).steps.length === 0, 1_000);
    await waitFor("due", async () => (await get(world)).dueInMs < 0, { timeoutMs: 5_000 });
    await report(world, { [world.key("a", 1)]: 20, [world.key("a", 2)]: 20 });
    await begun(world, 1);
    expect((await get(world)).ageMs).toBeLessThan(5_000);
  });

  test("reports from before it is due say nothing; an Envoy that is silent is waited for", async () => {
    const world = await begin(400);
    await store.status.saveNodes("r1", [edgeNode("edge-2")], []);
    await report(world, { [world.key("a", 1)]: 20, [world.key("a", 2)]: 20 });
    work(store);
    await staysTrue("waits", async () => (await get(world)).steps.length === 0, 1_000);
    await report(world, { [world.key("a", 1)]: 20, [world.key("a", 2)]: 20 });
    await staysTrue("waits for edge-2", async () => (await get(world)).steps.length === 0, 800);
    await store.rebalances.saveLoads("r2", [{ rebalance: world.id, node: "edge-2", counts: {}, agoMs: 4_000 }]);
    await staysTrue("an old report says nothing", async () => (await get(world)).steps.length === 0, 800);
    await store.rebalances.saveLoads("r2", [{ rebalance: world.id, node: "edge-2", counts: {}, agoMs: 0 }]);
    await begun(world, 1);
  });
});

describe("a worker that dies", () => {
  test("within a step has done nothing of it, and another takes it, once", async () => {
    const world = await begin();
    await report(world, { [world.key("a", 1)]: 20, [world.key("a", 2)]: 20 });
    const before = await store.head();
    let meanwhile: unknown = "not asked";
    const dying = other.rebalances.write(world.id, "dies", async (tx) => {
      await tx.rebalances.claim(world.id);
      await tx.markDrained([world.name("a", 1)], { id: "x", phase: "draining", route: world.route.name });
      await tx.rebalances.step(world.id, { cluster: "a", endpoint: "x", connections: 1, drain: "x" }, 0);
      meanwhile = await Promise.race([takeRebalanceStep(store, world.id), pause(1_000, "it waits")]);
      await sql(
        url,
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'chancery-jobs' and pid <> pg_backend_pid()",
      );
      await tx.rebalances.read(world.id);
    });
    await dying.catch(() => {});
    expect(meanwhile).toBeUndefined(); // Nobody else took it, and nobody waited for it.
    expect([await store.head(), (await get(world)).steps, await marked(world)]).toEqual([before, [], []]);
    await report(world, { [world.key("a", 1)]: 20, [world.key("a", 2)]: 20 });
    work(store);
    await begun(world, 1);
  });

  test("between two steps leaves them to another, wherever it was", async () => {
    const world = await begin();
    await report(world, { [world.key("a", 1)]: 20, [world.key("a", 2)]: 20 });
    work(store);
    await begun(world, 1);
    await Promise.all(workers.splice(0).map((worker) => worker.stop()));
    work(other);
    await closed(world);
    await waitFor("it is back", async () => (await marked(world)).length === 0);
    await Promise.all(workers.splice(0).map((worker) => worker.stop()));
    await noPause();
    await report(world, { [world.key("a", 1)]: 10, [world.key("b", 1)]: 10 });
    work(store);
    expect(await ended(world)).toMatchObject({ state: "done" });
  });
});

describe("other writers", () => {
  async function underWay(): Promise<World> {
    const world = await begin();
    await report(world, { [world.key("a", 1)]: 20, [world.key("a", 2)]: 20 });
    work(store);
    await begun(world, 1);
    return world;
  }

  test("who shift the weights once more supersede it, and the endpoint is back at once", async () => {
    const world = await underWay();
    const drain = (await get(world)).drain?.id ?? "";
    const backends = world.route.backends.map((backend, at) => ({ ...backend, weight: at + 7 }));
    await store.write(author, (tx) => tx.put("route", { ...world.route, backends }));
    expect(await ended(world)).toMatchObject({ state: "superseded" });
    expect([await marked(world), await store.drains.get(drain)]).toMatchObject([[], { state: "cancelled" }]);
  });

  test("who cancel it have the endpoint back at once, and nothing else is closed", async () => {
    const world = await underWay();
    await store.write(author, async (tx) => {
      const record = await tx.rebalances.hold(world.id);
      expect(record && (await cancelRebalance(tx, record, "cancelled", "cancelled by ada"))).toBe(true);
    });
    expect([await marked(world), (await get(world)).state]).toEqual([[], "cancelled"]);
    await noPause();
    await report(world, { [world.key("a", 2)]: 40 });
    await staysTrue(
      "nothing more",
      async () => (await get(world)).steps.length === 1 && (await marked(world)).length === 0,
      1_200,
    );
  });

  test("who drain, change or remove the endpoint are not kept from it", async () => {
    const world = await underWay();
    const [first] = (await get(world)).steps;
    const name = `${first?.cluster}/${first?.endpoint}`;
    await store.write(author, (tx) =>
      tx.put("cluster", cluster(first?.cluster ?? "", { protocol: "tcp", connectTimeoutMs: 77 })),
    );
    await store.write(author, async (tx) => void (await tx.markDrained([name], { id: "mine", phase: "draining" })));
    await closed(world);
    const drain = (await get(world)).drain?.id ?? "";
    await waitFor("the step is over", async () => (await store.drains.get(drain))?.endedAt !== undefined, { timeoutMs: 10_000 });
    expect((await store.read.get("endpoint", name))?.object.drain).toEqual({ id: "mine", phase: "draining" });
    expect(await store.drains.get(drain)).toMatchObject({ state: "restored", outcome: expect.stringContaining("another write") });
    await store.write(author, (tx) => tx.delete("endpoint", name), { overrides: ["drain"] });
  });

  test("who remove the endpoint of a step need override nothing", async () => {
    const world = await underWay();
    const [first] = (await get(world)).steps;
    await store.write(author, (tx) => tx.delete("endpoint", `${first?.cluster}/${first?.endpoint}`));
    await closed(world);
    const drain = (await get(world)).drain?.id ?? "";
    await waitFor("the step is over", async () => (await store.drains.get(drain))?.endedAt !== undefined, { timeoutMs: 10_000 });
  });
});
