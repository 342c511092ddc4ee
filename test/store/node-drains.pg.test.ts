// Drains of Envoys on a real database: each step once, whoever takes it, on the database's clock; and what one replica saw is not lost to
// another. Mutants tried and caught: a claim that waits for the row; a step taken without being asked for again under the lock; signs of an
// earlier drain of the node, or of a lame duck, taken; a zero of another replica overwriting what is open; a later ack overwriting the first; a
// gap in which nobody looked counted as the Envoy's absence; drained Envoys waited for by rollouts; the state loaded without them.
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { NodeDrainJobs, takeNodeStep } from "../../src/drain/node-drain-jobs.js";
import { nextNodeStep } from "../../src/drain/node-drain-step.js";
import type { NodeDrainPhase } from "../../src/model/node-drain.js";
import type { NodeDrainSign, NodeRow, Store } from "../../src/store/store.js";
import { systemClock } from "../../src/telemetry/clock.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { createMetrics } from "../../src/telemetry/metrics.js";
import { freshDatabase, sql } from "../support/postgres.js";
import { waitFor } from "../support/wait.js";
import { author, cluster, openStore } from "./samples.js";

let url: string;
let store: Store;
let other: Store;
const workers: NodeDrainJobs[] = [];

beforeAll(async () => {
  ({ url } = await freshDatabase());
  [store, other] = await Promise.all([openStore(url), openStore(url)]);
});
beforeEach(async () => {
  await sql(url, "truncate replicas, nodes, node_drains, rollouts cascade");
  await store.status.heartbeat({ id: "r1", startedAt: new Date().toISOString(), revision: 1, leaseMs: 600_000 });
  await store.status.saveNodes("r1", ["edge-1", "edge-2"].map(edge), []);
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});

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

/** A worker without Envoys of its own: it takes the steps. */
function work(on: Store): NodeDrainJobs {
  const jobs = new NodeDrainJobs({
    replica: "r1",
    store: on,
    state: () => ({ nodeDrains: new Map<string, NodeDrainPhase>([["edge-1", "withdrawn"]]) }),
    fleet: { ownNodes: () => [] },
    loads: { of: () => undefined },
    clock: systemClock,
    log: createLogger("silent"),
    metrics: createMetrics(),
  });
  workers.push(jobs);
  jobs.start();
  return jobs;
}

let counter = 0;
async function begin(more: { node?: string; lameDuckMs?: number; timeoutMs?: number } = {}): Promise<string> {
  const id = `d${++counter}`;
  const drain = { node: "edge-1", id, gateway: "edge", by: author, lameDuckMs: 0, timeoutMs: 60_000, ...more };
  await store.write(author, (tx) => tx.nodeDrains.begin(drain));
  return id;
}
const sign = (id: string, report: NodeDrainSign["report"], acked = true): NodeDrainSign => ({
  node: "edge-1",
  id,
  acked,
  report,
});
const zero = { verdict: "zero", connections: 0 } as const;
const open = (connections: number) => ({ verdict: "open", connections }) as const;
const show = () => store.nodeDrains.get("edge-1");
const ended = () =>
  waitFor("it has ended", async () => ((await show())?.endedAt ? show() : undefined), { timeoutMs: 8_000, everyMs: 20 });
const revisionsOf = async () =>
  (await sql(
    url,
    "select after->>'phase' as phase from changes where kind = 'node-drain' and name = 'edge-1' and revision > $1 order by revision",
    [start],
  )) as { phase: string | null }[];
let start = 0;
beforeEach(async () => {
  start = (await store.head()).revision;
});

describe("its steps", () => {
  test("two workers withdraw once and end once, each as the database's clock says", async () => {
    work(store);
    work(other);
    const id = await begin({ lameDuckMs: 800, timeoutMs: 30_000 });
    expect(await show()).toMatchObject({ phase: "lame-duck", lameDuckMs: 800 });
    await waitFor("its listeners go", async () => (await show())?.phase === "withdrawn", { timeoutMs: 8_000, everyMs: 20 });
    const then = await show();
    expect(Date.parse(then?.withdrawAt ?? "") - Date.parse(then?.createdAt ?? "")).toBeGreaterThanOrEqual(800);
    expect(Date.parse(then?.deadline ?? "") - Date.parse(then?.withdrawAt ?? "")).toBeGreaterThanOrEqual(30_000); // All of it, however late.
    await store.nodeDrains.save("r1", [sign(id, zero)]);
    expect(await ended()).toMatchObject({ safeToStop: true, leftOpen: 0, outcome: "no connection is left" });
    expect((await revisionsOf()).map(({ phase }) => phase)).toEqual(["lame-duck", "withdrawn"]);
    expect((await store.loadState()).nodeDrains).toEqual([{ node: "edge-1", phase: "withdrawn" }]);
  });

  test("a step that another transaction has is left to it, and one that was taken is not taken again", async () => {
    const id = await begin();
    await store.nodeDrains.save("r1", [sign(id, zero)]);
    const record = await show();
    if (!record) throw new Error("it is there");
    const due = nextNodeStep(record);
    if (due.kind === "wait") throw new Error("it is due");
    let taken: unknown;
    await store.write(author, async (tx) => {
      await tx.nodeDrains.hold("edge-1");
      taken = await takeNodeStep(other, record, due); // Not in the queue behind us: a replica that hangs would keep all of them.
    });
    expect(taken).toBeUndefined();
    const took = await Promise.all([store, other].map((each) => takeNodeStep(each, record, due)));
    expect(took.filter((step) => step !== undefined)).toHaveLength(1);
    expect(await takeNodeStep(other, record, due)).toBeUndefined();
  });

  test("at the deadline it ends as unsafe, with what was open", async () => {
    const id = await begin({ timeoutMs: 700 });
    await store.nodeDrains.save("r1", [sign(id, open(3))]);
    work(store);
    expect(await ended()).toMatchObject({
      safeToStop: false,
      leftOpen: 3,
      outcome: expect.stringContaining("3 connections are open"),
    });
    // Waited for once more: what was said before does not count, and its listeners stay away.
    const again = { node: "edge-1", id: "again", by: author, timeoutMs: 60_000 };
    await store.write(author, (tx) => tx.nodeDrains.again(again));
    expect(await show()).toMatchObject({ phase: "withdrawn", endedAt: undefined, ackedAgeMs: undefined, connections: undefined });
    await store.nodeDrains.save("r1", [sign(id, zero)]);
    expect(await show()).toMatchObject({ ackedAgeMs: undefined, verdict: undefined });
  });

  test("an Envoy that went is gone after 15 s in which somebody looked", async () => {
    await begin({ timeoutMs: 600_000 });
    await sql(url, "update nodes set connected = false, opened_at = now() - interval '1 hour' where id = 'edge-1'");
    await sql(url, "update node_drains set seen_at = now() - interval '14 seconds'");
    const [early] = await store.nodeDrains.look();
    expect([early?.connected, early && nextNodeStep(early).kind]).toEqual([false, "wait"]);
    await sql(url, "update node_drains set seen_at = now() - interval '16 seconds', looked_at = now() - interval '16 seconds'");
    const [resumed] = await store.nodeDrains.look();
    expect(resumed && nextNodeStep(resumed).kind).toBe("wait"); // Nobody could see it come back.
    await sql(url, "update node_drains set resumed_at = now() - interval '16 seconds'");
    work(store);
    expect(await ended()).toMatchObject({ safeToStop: true, outcome: expect.stringContaining("gone") });
    await sql(url, "update node_drains set seen_at = now() - interval '2 hours', resumed_at = now() - interval '2 hours'");
    await waitFor("it is forgotten", async () => (await show()) === undefined, { timeoutMs: 8_000 });
    expect((await revisionsOf()).at(-1)?.phase).toBeNull();
  });
});

describe("what replicas see", () => {
  test("the first ack stays, and a zero of one does not hide what another has just seen open", async () => {
    const id = await begin();
    await store.nodeDrains.save("r1", [sign(id, undefined)]);
    await sql(url, "update node_drains set acked_at = acked_at - interval '1 minute'");
    await store.nodeDrains.save("r1", [sign(id, open(2))]);
    expect((await show())?.ackedAgeMs).toBeGreaterThan(59_000);
    await store.nodeDrains.save("r2", [sign(id, zero, false)]);
    expect(await show()).toMatchObject({ verdict: "open", connections: 2 });
    await store.nodeDrains.save("r1", [sign(id, zero)]);
    expect(await show()).toMatchObject({ verdict: "zero", connections: 0 });
  });

  test("nothing is taken of a lame duck, nor of one that has ended or was begun anew", async () => {
    const lame = await begin({ lameDuckMs: 60_000 });
    await store.nodeDrains.save("r1", [sign(lame, zero)]);
    expect(await show()).toMatchObject({ ackedAgeMs: undefined, verdict: undefined });
    const record = await show();
    await store.write(author, async (tx) => void (record && (await tx.nodeDrains.lift(record))));
    await begin();
    await store.nodeDrains.save("r1", [sign(lame, zero)]);
    expect(await show()).toMatchObject({ ackedAgeMs: undefined, verdict: undefined });
  });
});

test("a rollout waits for no drained Envoy, and hears none", async () => {
  const changes = [{ kind: "cluster" as const, name: "app", before: undefined, after: cluster("app") }];
  const abortOn = { nack: true, disconnect: true, errorRate: undefined };
  const policy = { stages: [{ nodes: 2 }, { percent: 100 }], bakeMs: 0, abortOn };
  const cohort = { shares: new Map([["edge", 1]]), expected: new Map([["edge", ["edge-1", "edge-2"]]]) };
  await store.write(author, (tx) =>
    tx.rollouts.begin({ ...author, ...cohort, name: "try", policy, changes, overrides: [], applied: undefined }),
  );
  const row = { rollout: "try", gateway: "edge", stage: 0, connected: true, has: true, refusal: undefined, streams: 1 };
  await store.rollouts.saveNodes("r1", [
    { ...row, node: "edge-1" },
    { ...row, node: "edge-2" },
  ]);
  await begin();
  const [found] = await store.rollouts.open();
  expect([found?.rollout.expected.get("edge"), found?.nodes.map(({ node }) => node)]).toEqual([["edge-2"], ["edge-2"]]);
});
