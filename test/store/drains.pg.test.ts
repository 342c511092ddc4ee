// Drains on a real database: two workers, and neither a hanging one, nor one that dies between two steps, nor a clock that is wrong by a
// minute makes a drain end early, twice or never.
// Mutants tried and caught: `skip locked` and the condition on ended_at left out of claim (double ends); now() of the process in place of
// the database's; jobs on the pool "api" (a hanging worker holds the drain for its 8 s); the drain guard left out of write.ts;
// putAll without keepDrain; acked_at overwritten by a later ack; a zero of another replica overwriting what is in flight; an end that is
// safe taken for one that left nothing; rows written after the end.
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { DrainJobs } from "../../src/drain/drain-jobs.js";
import { takeStep } from "../../src/drain/take-step.js";
import type { DrainGuarantee } from "../../src/model/drain-guarantee.js";
import type { LoadVerdict, NodeRow, Store } from "../../src/store/store.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { createMetrics } from "../../src/telemetry/metrics.js";
import { freshDatabase, sql } from "../support/postgres.js";
import { waitFor } from "../support/wait.js";
import { author, cluster, endpoint, openStore } from "./samples.js";

let url: string;
let store: Store;
let other: Store;
const workers: DrainJobs[] = [];

beforeAll(async () => {
  ({ url } = await freshDatabase());
  [store, other] = await Promise.all([openStore(url), openStore(url)]);
});
beforeEach(async () => {
  await sql(url, "truncate replicas, nodes, drains, drain_nodes cascade");
  await store.status.heartbeat({ id: "r1", startedAt: new Date().toISOString(), revision: 1, leaseMs: 600_000 });
});
afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});

function work(on: Store): DrainJobs {
  const jobs = new DrainJobs({ store: on, log: createLogger("silent"), metrics: createMetrics() });
  workers.push(jobs);
  jobs.start();
  return jobs;
}

const leftOpen: DrainGuarantee = { kind: "left-open", closesWithinMs: undefined, because: "" };
let counter = 0;

/** Two endpoints of a cluster of its own, of which the first is drained. */
async function begin(more: { timeoutMs?: number; guarantee?: DrainGuarantee; afterwards?: "remove" | "disable" } = {}) {
  const id = (++counter).toString(16).padStart(16, "0");
  const name = `app-${counter}`;
  const { timeoutMs = 30_000, guarantee = leftOpen, afterwards = "remove" } = more;
  await store.write(author, async (tx) => {
    await tx.insert("cluster", cluster(name));
    await tx.putAll("endpoint", [endpoint(name, 1), endpoint(name, 2)]);
  });
  const { committed } = await store.write(author, async (tx) => {
    const endpoints = [{ cluster: name, endpoint: "10.0.0.7:1", connectTimeoutMs: 100, guarantee, joins: undefined }];
    await tx.drains.start({ id, by: author, afterwards, timeoutMs, endpoints, gateways: ["edge"], joinedAt: 0 });
    await tx.markDrained([`${name}/10.0.0.7:1`], { id, phase: "draining" });
  });
  return { id, cluster: name, endpoint: `${name}/10.0.0.7:1`, revision: committed?.revision ?? 0 };
}

const edge = (id: string): NodeRow => ({
  id,
  gateway: "edge",
  replica: "r1",
  connected: true,
  since: new Date().toISOString(),
  streams: ["ads-delta"],
  envoyVersion: "1.40.0",
  acked: { cluster: 1, endpoint: 1, listener: 1, route: 1 },
  exceptions: [],
});
const connect = (...ids: string[]): Promise<void> => store.status.saveNodes("r1", ids.map(edge), []);
async function report(drain: string, node: string, verdict: LoadVerdict, inFlight = 0, replica = "r1"): Promise<void> {
  await store.drains.saveAcks(replica, [{ drain, node, gateway: "edge" }]);
  await store.drains.saveLoads(replica, [{ drain, node, gateway: "edge", verdict, inFlight, unattributed: 0 }]);
}
async function ended(id: string, timeoutMs = 5_000) {
  await waitFor("the drain has ended", async () => (await store.drains.ended([id])).length > 0, { timeoutMs, everyMs: 20 });
  return store.drains.get(id);
}
/** Revisions that drains made after their first. */
async function steps(id: string): Promise<number> {
  const rows = await sql<{ n: number }>(url, "select count(*)::int as n from revisions where author = $1", [`drain ${id}`]);
  return rows[0]?.n ?? 0;
}
const stored = async (name: string) => (await store.read.get("endpoint", name))?.object;
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

describe("the end", () => {
  test("comes at once when the last Envoy is believed, by one of two workers, with a revision of its own", async () => {
    await connect("a", "b");
    const drain = await begin();
    expect(await stored(drain.endpoint)).toMatchObject({ enabled: true, drain: { id: drain.id, phase: "draining" } });
    work(store);
    work(other);
    await report(drain.id, "a", "zero");
    await report(drain.id, "b", "in-flight", 2);
    await pause(700);
    expect(await store.drains.get(drain.id)).toMatchObject({ state: "draining", revision: drain.revision, safeToStop: false });
    await report(drain.id, "b", "zero");
    expect(await ended(drain.id)).toMatchObject({
      state: "removed",
      safeToStop: true,
      leftOpen: 0,
      outcome: "nothing is in flight",
    });
    expect([await stored(drain.endpoint), await steps(drain.id)]).toEqual([undefined, 1]);
    expect((await store.read.get("endpoint", `${drain.cluster}/10.0.0.7:2`))?.object.drain).toBeUndefined();
  });

  test("afterwards: disable keeps the endpoint, disabled and without a mark", async () => {
    await connect("a");
    const drain = await begin({ afterwards: "disable" });
    work(store);
    await report(drain.id, "a", "zero");
    expect(await ended(drain.id)).toMatchObject({ state: "disabled", safeToStop: true });
    expect(await stored(drain.endpoint)).toEqual(endpoint(drain.cluster, 1, { enabled: false }));
  });

  test("the deadline comes within 2 s of its time, also where nobody says anything, and says what is left", async () => {
    await connect("a");
    const drain = await begin({ timeoutMs: 1_000 });
    await report(drain.id, "a", "in-flight", 3);
    work(store);
    work(other);
    const record = await ended(drain.id);
    expect(record).toMatchObject({ state: "removed", safeToStop: false, leftOpen: 3 });
    expect(record?.ageMs).toBeGreaterThanOrEqual(1_000);
    expect(record?.ageMs).toBeLessThan(3_000);
    expect(await steps(drain.id)).toBe(1);
  });

  test("what can be closed is marked as closing at the deadline, and the drain ends as soon as it is closed", async () => {
    await connect("a");
    const drain = await begin({ timeoutMs: 300, guarantee: { kind: "kill-switch", closesWithinMs: 20_000, because: "" } });
    await report(drain.id, "a", "in-flight", 3);
    work(store);
    await waitFor("it closes", async () => (await stored(drain.endpoint))?.drain?.phase === "closing", { timeoutMs: 5_000 });
    expect(await store.drains.get(drain.id)).toMatchObject({ state: "closing", safeToStop: false });
    await report(drain.id, "a", "zero");
    expect(await ended(drain.id)).toMatchObject({ state: "removed", safeToStop: true });
    expect(await steps(drain.id)).toBe(2);
  });

  test("fifty drains and two workers: each ends once, and takes its own endpoint", async () => {
    await connect("a");
    const drains = [];
    for (let count = 0; count < 50; count++) drains.push(await begin({ timeoutMs: 0 }));
    work(store);
    work(other);
    for (const { id } of drains) await ended(id, 20_000);
    const rows = await sql<{ author: string; n: number }>(
      url,
      "select author, count(*)::int as n from revisions where author = any($1) group by author",
      [drains.map(({ id }) => `drain ${id}`)],
    );
    expect(rows.map(({ n }) => n)).toEqual(Array(50).fill(1));
  });
});

describe("what a worker is worth", () => {
  test.each([60_000, -60_000])("a clock that is %d ms wrong ends nothing early and nothing late", async (wrongMs) => {
    await connect("a");
    const drain = await begin({ timeoutMs: 1_500 });
    await report(drain.id, "a", "in-flight", 1);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + wrongMs });
    work(store);
    await pause(1_000);
    expect(await store.drains.get(drain.id)).toMatchObject({ state: "draining" });
    const record = await ended(drain.id);
    expect(record?.ageMs).toBeGreaterThanOrEqual(1_500);
    expect(record?.ageMs).toBeLessThan(3_500);
  });

  test("one that hangs within a step holds it for 1.5 s at most, and does nothing when it wakes", async () => {
    await connect("a");
    const drain = await begin({ timeoutMs: 0 });
    let claimed = (): void => {};
    const isClaimed = new Promise<void>((done) => {
      claimed = done;
    });
    const hanging = other.drains.write(drain.id, "hangs", async (tx) => {
      expect(await tx.drains.claim(drain.id)).toBeDefined();
      await tx.markDrained([drain.endpoint], undefined, false);
      claimed();
      await pause(4_000);
      await tx.drains.end(drain.id, { state: "disabled", safeToStop: true, leftOpen: 0, outcome: "too late" });
    });
    const outcome = expect(hanging).rejects.toThrow();
    await isClaimed;
    const startedAt = performance.now();
    expect(await takeStep(store, drain.id, { kind: "wait" })).toBeUndefined(); // At once: somebody has it.
    expect(performance.now() - startedAt).toBeLessThan(500);
    work(store);
    expect(await ended(drain.id)).toMatchObject({ state: "removed", safeToStop: false });
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    await outcome;
    expect(await store.drains.get(drain.id)).toMatchObject({ state: "removed" });
  });

  test("one that dies within a step has done nothing of it", async () => {
    await connect("a");
    const drain = await begin({ timeoutMs: 0 });
    const before = await store.head();
    const dying = other.drains.write(drain.id, "dies", async (tx) => {
      await tx.drains.claim(drain.id);
      await tx.deleteAll("endpoint", [drain.endpoint]);
      await tx.drains.end(drain.id, { state: "removed", safeToStop: true, leftOpen: 0, outcome: "never" });
      await sql(
        url,
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'chancery-jobs' and pid <> pg_backend_pid()",
      );
      await tx.drains.read(drain.id);
    });
    // Its connection is cut as by a kill -9; what it had not committed is gone, and another worker does it.
    await dying.catch(() => {});
    const after = await store.drains.get(drain.id);
    if (after?.endedAt === undefined)
      expect([await store.head(), await stored(drain.endpoint)]).toMatchObject([before, { port: 1 }]);
    work(store);
    expect(await ended(drain.id)).toMatchObject({ state: "removed", safeToStop: false });
    expect(await steps(drain.id)).toBe(1);
  });
});

describe("Envoys and replicas", () => {
  test("who is connected is waited for from the first moment, unasked; who left is gone after 15 s", async () => {
    await connect("a", "b");
    const drain = await begin();
    await connect("c");
    await report(drain.id, "a", "zero");
    const names = async () =>
      (await store.drains.get(drain.id))?.nodes.map(({ node, connected, ackedAgeMs }) => [
        node,
        connected,
        ackedAgeMs !== undefined,
      ]);
    expect(await names()).toEqual([
      ["a", true, true],
      ["b", true, false],
      ["c", true, false],
    ]);
    await store.status.saveNodes("r1", [], ["b", "c"]);
    expect(await names()).toEqual([
      ["a", true, true],
      ["b", false, false],
    ]);
    expect((await store.drains.get(drain.id))?.nodes[1]?.awayMs).toBeLessThan(5_000);
    await sql(url, "update replicas set live_since = live_since - interval '16 seconds'");
    await sql(url, "update drain_nodes set at = at - interval '16 seconds' where node = 'b'");
    expect((await store.drains.get(drain.id))?.nodes[1]?.awayMs).toBeGreaterThan(15_000);
    work(store);
    expect(await ended(drain.id)).toMatchObject({ safeToStop: true });
  });

  test("Envoys of a replica that has just died are away, not gone", async () => {
    await connect("a");
    await sql(url, "update replicas set lease_until = clock_timestamp() - interval '1 second'");
    const drain = await begin();
    work(store);
    await pause(700);
    expect(await store.drains.get(drain.id)).toMatchObject({ state: "draining", nodes: [{ node: "a", connected: false }] });
  });

  // Mutant: how long it has been away is counted from the end of its replica's lease alone.
  test("after an outage of all control planes no Envoy is gone: each has its time to come again", async () => {
    await connect("a");
    const drain = await begin();
    await report(drain.id, "a", "in-flight", 3);
    await sql(url, "update replicas set lease_until = clock_timestamp() - interval '60 seconds'");
    await sql(url, "update drain_nodes set at = clock_timestamp() - interval '60 seconds'");
    await store.status.heartbeat({ id: "r2", startedAt: new Date().toISOString(), revision: 1, leaseMs: 600_000 });
    work(store);
    await pause(700);
    expect(await store.drains.get(drain.id)).toMatchObject({ state: "draining", nodes: [{ node: "a", connected: false }] });
    await sql(url, "update replicas set live_since = clock_timestamp() - interval '16 seconds' where id = 'r2'");
    expect(await ended(drain.id)).toMatchObject({ safeToStop: true, outcome: "no Envoy has it" });
  });

  test("an ack stays as it was first; a zero of one replica does not hide what another sees", async () => {
    await connect("a");
    const drain = await begin();
    await report(drain.id, "a", "in-flight", 2, "r1");
    await sql(url, "update drain_nodes set acked_at = acked_at - interval '7 seconds'");
    await report(drain.id, "a", "zero", 0, "r2");
    const [node] = (await store.drains.get(drain.id))?.nodes ?? [];
    expect(node).toMatchObject({ verdict: "in-flight", inFlight: 2 });
    expect(node?.ackedAgeMs).toBeGreaterThan(6_900);
    expect(await store.drains.acks([drain.id])).toMatchObject([{ drain: drain.id, node: "a" }]);
    await report(drain.id, "a", "zero", 0, "r1");
    await report(drain.id, "a", "zero", 0, "r2");
    expect((await store.drains.get(drain.id))?.nodes[0]).toMatchObject({ verdict: "zero" });
  });

  test("the watch sees open drains only, without endpoints of UDP clusters", async () => {
    const drain = await begin();
    const udp = await begin({ guarantee: { kind: "none-needed", closesWithinMs: 0, because: "" } });
    const done = await begin({ timeoutMs: 0 });
    await takeStep(store, done.id, { kind: "wait" });
    expect(await store.drains.watched()).toMatchObject([
      {
        id: drain.id,
        revision: drain.revision,
        gateways: ["edge"],
        endpoints: [{ cluster: drain.cluster, connectTimeoutMs: 100 }],
      },
      { id: udp.id, endpoints: [] },
    ]);
  });

  test("gauges of one replica are there for the other while they are young", async () => {
    const drain = await begin();
    const gauges = { app: { requests: 3, pending: 1, least: 2 } };
    await store.drains.saveGauges("r2", [{ drain: drain.id, node: "a", gateway: "edge", gauges }]);
    expect(await store.drains.gauges([drain.id])).toMatchObject([{ node: "a", gauges }]);
    await sql(url, "update drain_nodes set gauges_at = gauges_at - interval '11 seconds'");
    expect(await store.drains.gauges([drain.id])).toEqual([]);
  });
});

describe("other writers", () => {
  test("keep the mark when they write the endpoint", async () => {
    const drain = await begin();
    const outcome = await store.write(author, (tx) => tx.put("endpoint", endpoint(drain.cluster, 1, { weight: 5 })));
    expect(outcome.value).toBe("updated");
    expect(await stored(drain.endpoint)).toMatchObject({ weight: 5, drain: { id: drain.id } });
    const forged = endpoint(drain.cluster, 2, { drain: { id: "x", phase: "closing" } });
    await store.write(author, (tx) => tx.put("endpoint", forged));
    await store.write(author, (tx) => tx.put("endpoint", endpoint(drain.cluster, 1, { drain: { id: "x", phase: "closing" } })));
    expect(await stored(drain.endpoint)).toMatchObject({ drain: { id: drain.id, phase: "draining" } });
    expect((await stored(`${drain.cluster}/10.0.0.7:2`))?.drain).toBeUndefined();
  });

  test("can't take it, its cluster, or change its cluster, unless they override that, and then it never counts as safe", async () => {
    await connect("a");
    const drain = await begin();
    const refused = { code: "draining", facts: { drains: [drain.id], override: ["drain"] } };
    await expect(store.write(author, (tx) => tx.delete("endpoint", drain.endpoint))).rejects.toMatchObject(refused);
    await expect(store.write(author, (tx) => tx.delete("cluster", drain.cluster))).rejects.toMatchObject(refused);
    const change = { connectTimeoutMs: 77 };
    await expect(store.write(author, (tx) => tx.put("cluster", cluster(drain.cluster, change)))).rejects.toMatchObject(refused);
    const overrides = ["drain"] as const;
    const { committed } = await store.write(author, (tx) => tx.delete("endpoint", drain.endpoint), { overrides });
    expect(await store.read.revision(committed?.revision ?? 0)).toMatchObject({ overrides: ["drain"] });
    work(store);
    await report(drain.id, "a", "zero");
    expect(await ended(drain.id)).toMatchObject({ safeToStop: false, outcome: expect.stringContaining("another write") });
  });
});

describe("what a drain left behind", () => {
  const endings = async (...ids: string[]) =>
    Object.fromEntries((await store.drains.endings(ids)).map(({ drain, isSettled }) => [drain, isSettled]));

  test("nothing, when every Envoy's last word was a zero; and what is told after the end does not count", async () => {
    await connect("e1", "e2");
    const { id } = await begin();
    expect(await endings(id)).toEqual({});
    await report(id, "e1", "zero");
    await report(id, "e2", "zero");
    work(store);
    expect(await ended(id)).toMatchObject({ safeToStop: true });
    await report(id, "e1", "in-flight", 3);
    expect(await endings(id, "gone")).toEqual({ [id]: true, gone: false });
  });

  test("something, when it ended at its deadline, or without the word of an Envoy", async () => {
    await connect("e1");
    const late = await begin({ timeoutMs: 1 });
    await report(late.id, "e1", "in-flight", 3);
    const bounded = { kind: "bounded-by-timeout", closesWithinMs: 0, because: "" } as const;
    const silent = await begin({ timeoutMs: 1, guarantee: bounded });
    await store.drains.saveAcks("r1", [{ drain: silent.id, node: "e1", gateway: "edge" }]);
    work(store);
    expect(await ended(late.id)).toMatchObject({ safeToStop: false });
    expect(await ended(silent.id, 15_000)).toMatchObject({ safeToStop: true });
    expect(await endings(late.id, silent.id)).toEqual({ [late.id]: false, [silent.id]: false });
  });
});
