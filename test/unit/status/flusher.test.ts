// Promises about what status/ writes: how much, when, and what happens while the database is away.
// "Mutant" comments name the fault that the test is there to catch; each was tried and made its test fail.
import { beforeEach, describe, expect, test } from "vitest";
import { createMetrics } from "../../../src/telemetry/metrics.js";
import { createWorld, type World } from "./scripted.js";

let world: World;
beforeEach(() => {
  world = createWorld();
});

describe("how much is written", () => {
  test("3,000 Envoys that ack one change cost a row per flush, not one per Envoy", async () => {
    // Mutant: `answered` marks its node for writing.
    const fleet = await world.replica("a");
    const streams = Array.from({ length: 3_000 }, (_, index) => world.stream(fleet, `e${index}`));
    for (const stream of streams) stream.ack(10);
    await world.clock.advance(20_000);
    const before = { ...world.store.calls, rows: world.store.rowsWritten };
    world.feed.revision(11, ["cluster/a"]);
    fleet.published(11);
    for (const stream of streams) stream.ack(11, "cluster");
    await world.clock.advance(200);
    expect(world.store.syncRows.get("a edge 11")?.sync).toMatchObject({ total: 3_000, acked: 3_000 });
    expect(world.store.calls.saveSync - before.saveSync).toBeLessThanOrEqual(2);
    // A beat may fall into these 200 ms, and refreshes 200 rows of nodes at most.
    expect(world.store.rowsWritten - before.rows).toBeLessThanOrEqual(202);
  });

  test("an ack is compared with what its Envoy owes, however many revisions others owe", async () => {
    // Mutant: `answered` goes through all revisions that are followed.
    const metrics = createMetrics();
    const evaluations = async (): Promise<number> =>
      Number(/chancery_status_evaluations_total (\d+)/.exec(await metrics.text())?.[1] ?? 0);
    const fleet = await world.replica("a", { metrics });
    const streams = Array.from({ length: 3_000 }, (_, index) => world.stream(fleet, `e${index}`));
    for (const stream of streams) stream.ack(10);
    world.stream(fleet, "stuck").ack(10);
    for (let revision = 11; revision <= 210; revision++) {
      world.feed.revision(revision, ["cluster/a"]);
      fleet.published(revision);
      if (revision === 110) for (const stream of streams) stream.ack(110);
    }
    for (const stream of streams) stream.ack(210);
    const before = await evaluations();
    world.feed.revision(211, ["cluster/a"]);
    fleet.published(211);
    for (const stream of streams) stream.ack(211);
    expect((await evaluations()) - before).toBeLessThan(4 * 3_001);
    expect(fleet.sync(211).get("edge")).toMatchObject({ total: 3_001, acked: 3_000, lagging: ["stuck"] });
  });

  test("an Envoy that acks ten times in 100 ms costs one row, unless somebody waits", async () => {
    // Mutant: request() does not look at when it wrote last.
    const fleet = await world.replica("a");
    const stream = world.stream(fleet, "e1");
    stream.ack(10);
    await world.clock.advance(10_000);
    const count = async (): Promise<number> => {
      const before = world.store.calls.saveSync;
      for (let step = 0; step < 10; step++) {
        const revision = world.store.calls.saveSync + 1_000 + step;
        world.feed.revision(revision, ["cluster/a"]);
        fleet.published(revision);
        stream.ack(revision);
        await world.clock.advance(10);
      }
      return world.store.calls.saveSync - before;
    };
    expect(await count()).toBeLessThanOrEqual(2);
    void fleet.waitSync(1_000_000, 60_000);
    expect(await count()).toBe(10);
  });

  test("what Envoys answer to one push within some ms is one write, and the replica's new revision is in it", async () => {
    // Mutants: a write that does not wait for the answers; a heartbeat of its own for each revision.
    const fleet = await world.replica("a");
    const stream = world.stream(fleet, "e1");
    stream.ack(10);
    await world.clock.advance(10_000);
    const before = { ...world.store.calls };
    for (const revision of [11, 12, 13]) {
      world.feed.revision(revision, ["cluster/a"]);
      fleet.published(revision);
      await world.clock.advance(5);
      stream.ack(revision, "cluster");
      await world.clock.advance(150);
      expect(world.store.syncRows.get(`a edge ${revision}`)?.sync).toMatchObject({ total: 1, acked: 1 });
      expect(world.store.replicas.get("a")).toMatchObject({ revision });
    }
    expect(world.store.calls.saveSync - before.saveSync).toBe(3);
    expect(world.store.calls.heartbeat - before.heartbeat).toBeLessThanOrEqual(1);
  });

  test("a quiet fleet writes nothing but its lease", async () => {
    const fleet = await world.replica("a");
    world.stream(fleet, "e1").ack(10);
    await world.clock.advance(10_000);
    const before = { ...world.store.calls };
    await world.clock.advance(60_000);
    expect(world.store.calls).toMatchObject({ saveSync: before.saveSync, saveNodes: before.saveNodes });
    expect(world.store.calls.heartbeat - before.heartbeat).toBeGreaterThanOrEqual(15);
  });

  test("what is held for some ms is never written, what is refused is at once", async () => {
    // Mutant: every exception marks its node for writing.
    const fleet = await world.replica("a");
    const stream = world.stream(fleet, "e1");
    stream.ack(10);
    await world.clock.advance(10_000);
    const before = world.store.calls.saveNodes;
    stream.say([{ type: "route", name: "web", parts: ["r1"], kind: "held", revision: 11, detail: "", at: 0 }]);
    stream.say([]);
    await world.clock.advance(10_000);
    expect(world.store.calls.saveNodes).toBe(before);
    stream.say([{ type: "cluster", name: "a", parts: undefined, kind: "refused", revision: 11, detail: "no", at: 0 }]);
    await world.clock.advance(200);
    expect(world.store.nodeRows.get("e1")?.exceptions).toHaveLength(1);
  });
});

describe("nodes", () => {
  test("the row of a node comes and goes with its stream", async () => {
    const fleet = await world.replica("a");
    const stream = world.stream(fleet, "e1");
    await world.clock.advance(200);
    expect(world.store.nodeRows.get("e1")).toMatchObject({
      gateway: "edge",
      replica: "a",
      connected: true,
      streams: ["ads-delta"],
    });
    stream.close();
    await world.clock.advance(200);
    expect(world.store.nodeRows.has("e1")).toBe(false);
  });

  test("a node is listed from either replica, with its refusals and who asked for them", async () => {
    const [a, b] = [await world.replica("a"), await world.replica("b")];
    const near = world.stream(a, "e1");
    const far = world.stream(b, "e2");
    near.ack(10);
    far.lacks(10, "cluster", "bad", { revision: 7 });
    await world.clock.advance(5_000);
    const { items, partial } = await a.nodes();
    expect(partial).toBe(false);
    expect(items).toMatchObject([
      { id: "e1", replica: "a", connected: true, gatewayKnown: true, ackedRevision: 10, refused: [], held: [] },
      {
        id: "e2",
        replica: "b",
        connected: true,
        ackedRevision: 10,
        refused: [
          {
            type: "cluster",
            resource: "bad",
            revision: 7,
            author: "author-7",
            requestId: "request-7",
            detail: "Envoy's own words",
          },
        ],
      },
    ]);
    expect(await a.node("e2")).toMatchObject({ id: "e2" });
    expect(await a.node("nobody")).toBeUndefined();
    expect((await b.nodes({ after: "e1" })).items.map(({ id }) => id)).toEqual(["e2"]);
  });

  test("what another replica's node has acked is at most some seconds old", async () => {
    const [a, b] = [await world.replica("a"), await world.replica("b")];
    const far = world.stream(b, "e2");
    far.ack(10);
    world.feed.revision(11, ["cluster/a"]);
    for (const fleet of [a, b]) fleet.published(11);
    far.ack(11);
    await world.clock.advance(5_000);
    expect((await a.nodes()).items).toMatchObject([{ id: "e2", ackedRevision: 11 }]);
  });

  test("an Envoy that has moved is shown where it is now, on both replicas", async () => {
    // Mutant: own nodes always win.
    const [a, b] = [await world.replica("a"), await world.replica("b")];
    world.stream(a, "e1").ack(10); // Half open: a never learns that it is dead.
    await world.clock.advance(1_000);
    world.stream(b, "e1").ack(10);
    await world.clock.advance(1_000);
    for (const fleet of [a, b]) expect((await fleet.nodes()).items).toMatchObject([{ id: "e1", replica: "b" }]);
  });
});

describe("the database away", () => {
  test("a beat that failed is tried again at once, and nothing counts as written until something was", async () => {
    // Mutant: a beat that failed is not due any more; the next flush has nothing to write, and "succeeds".
    const metrics = createMetrics();
    const flushes = async (outcome: string): Promise<number> =>
      Number(new RegExp(`status_flushes_total{outcome="${outcome}"} (\\d+)`).exec(await metrics.text())?.[1] ?? 0);
    const fleet = await world.replica("a", { metrics });
    world.stream(fleet, "e1").ack(10);
    await world.clock.advance(10_000);
    world.store.down = true;
    const before = { ok: await flushes("ok"), failed: await flushes("failed") };
    await world.clock.advance(30_000);
    expect(await flushes("ok")).toBe(before.ok);
    expect(await flushes("failed")).toBeGreaterThan(before.failed + 5);
    world.store.down = false;
    await world.clock.advance(6_000);
    expect(await flushes("ok")).toBeGreaterThan(before.ok);
    expect((await world.store.liveReplicas()).map(({ id }) => id)).toEqual(["a"]);
  });

  test("everything is kept, nothing is thrown at xds, and all of it is written when it is back", async () => {
    // Mutant: what was taken is not put back after a failed write.
    const fleet = await world.replica("a");
    const stream = world.stream(fleet, "e1");
    stream.ack(10);
    await world.clock.advance(1_000);
    world.store.down = true;
    world.feed.revision(11, ["cluster/a"]);
    fleet.published(11);
    await world.clock.advance(1_000);
    stream.lacks(11, "cluster", "a");
    const other = world.stream(fleet, "e2");
    other.ack(11);
    await world.clock.advance(3_000);
    world.store.down = false;
    await world.clock.advance(6_000);
    expect(world.store.syncRows.get("a edge 11")?.sync).toMatchObject({ total: 2, acked: 1, refused: [{ node: "e1" }] });
    expect([...world.store.nodeRows.keys()].sort()).toEqual(["e1", "e2"]);
    expect(world.store.replicas.get("a")?.revision).toBe(11);
  });

  test("writes are tried again at a growing distance", async () => {
    // Mutant: backOffMs is not used.
    const fleet = await world.replica("a");
    world.stream(fleet, "e1").ack(10);
    await world.clock.advance(1_000);
    world.store.down = true;
    const calls = (): number => Object.values(world.store.calls).reduce((sum, count) => sum + count, 0);
    const before = calls();
    await world.clock.advance(60_000);
    expect(calls() - before).toBeLessThan(80);
    expect(calls() - before).toBeGreaterThan(5);
  });

  test("after a lease is over, rows that were swept away are written anew", async () => {
    // Mutant: registration is for ever.
    const fleet = await world.replica("a");
    world.stream(fleet, "e1").ack(10);
    await world.clock.advance(1_000);
    world.store.down = true;
    await world.clock.advance(30_000);
    world.store.down = false;
    world.store.nodeRows.clear();
    world.store.syncRows.clear();
    await world.clock.advance(10_000);
    expect(world.store.nodeRows.has("e1")).toBe(true);
    expect(world.store.syncRows.get("a edge 10")?.sync).toMatchObject({ total: 1, acked: 1 });
  });

  test("a fleet that comes and goes for hours without a database costs bounded memory, and leaves no ghosts", async () => {
    const fleet = await world.replica("a");
    await world.clock.advance(1_000);
    world.store.down = true;
    for (let index = 0; index < 12_000; index++) world.stream(fleet, `short-${index}`).close();
    world.stream(fleet, "stays").ack(10);
    world.store.nodeRows.set("short-1", {
      id: "short-1",
      gateway: "edge",
      replica: "a",
      connected: true,
      since: "",
      streams: [],
      envoyVersion: "",
      acked: { cluster: 0, endpoint: 0, listener: 0, route: 0 },
      exceptions: [],
    });
    await world.clock.advance(1_000);
    world.store.down = false;
    const rows = world.store.rowsWritten;
    await world.clock.advance(10_000);
    expect([...world.store.nodeRows.keys()]).toEqual(["stays"]);
    expect(world.store.rowsWritten - rows).toBeLessThan(1_000);
  });

  test("another history: rows of the old one are swept away before new ones are written", async () => {
    // Mutant: startOver is never called. The old row of revision 12 would answer for the new revision 12.
    const fleet = await world.replica("a");
    const stream = world.stream(fleet, "e1");
    stream.ack(10);
    world.feed.revision(12, ["cluster/a"]);
    fleet.published(12);
    stream.ack(12);
    await world.clock.advance(200);
    expect(world.store.syncRows.has("a edge 12")).toBe(true);
    stream.acked.cluster = 10;
    fleet.published(11);
    await world.clock.advance(200);
    expect(world.store.syncRows.has("a edge 12")).toBe(false);
    expect(world.store.replicas.get("a")?.revision).toBe(11);
  });
});

test("an orderly stop signs the replica off at once", async () => {
  const fleet = await world.replica("a");
  world.stream(fleet, "e1").ack(10);
  await world.clock.advance(500);
  await fleet.close();
  expect(world.store.replicas.has("a")).toBe(false);
  expect(world.store.nodeRows.size).toBe(0);
  expect(world.clock.timers).toBe(0);
});
