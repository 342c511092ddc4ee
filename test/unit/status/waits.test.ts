// Promises to a caller who waits for Envoys, over several replicas that share a store in memory. Time is moved by hand.
// "Mutant" comments name the fault that the test is there to catch; each was tried and made its test fail.
import { beforeEach, describe, expect, test } from "vitest";
import type { GatewaySync } from "../../../src/model/node.js";
import type { Fleet } from "../../../src/status/fleet.js";
import { mergeSync, type Sync } from "../../../src/status/sync.js";
import { createWorld, type World } from "./scripted.js";

let world: World;
beforeEach(() => {
  world = createWorld();
});

/** A wait whose answer can be looked at before it is there. */
function waiting(
  fleet: Fleet,
  revision: number,
  timeoutMs = 10_000,
  signal?: AbortSignal,
): { answer: Sync | undefined; promise: Promise<Sync> } {
  const wait: { answer: Sync | undefined; promise: Promise<Sync> } = {
    answer: undefined,
    promise: fleet.waitSync(revision, timeoutMs, signal),
  };
  void wait.promise.then((sync) => {
    wait.answer = sync;
  });
  return wait;
}

describe("one replica", () => {
  test("the wait ends when the last Envoy has the revision, not before", async () => {
    // Mutant: `changed` does nothing, and the end is noticed at the next poll.
    const fleet = await world.replica("a", { hints: false });
    const [one, two] = [world.stream(fleet, "e1"), world.stream(fleet, "e2")];
    for (const stream of [one, two]) stream.ack(10);
    world.feed.revision(11, ["cluster/a"]);
    fleet.published(11);
    const wait = waiting(fleet, 11);
    one.ack(11);
    await world.clock.advance(1_050);
    expect(wait.answer).toBeUndefined();
    two.ack(11);
    await world.clock.advance(2);
    expect(wait.answer).toMatchObject({ revision: 11, state: "acked", gateways: { edge: { total: 2, acked: 2 } } });
  });

  test("it ends at once when an Envoy refuses, while others still lag", async () => {
    const fleet = await world.replica("a");
    const [one, two] = [world.stream(fleet, "e1"), world.stream(fleet, "e2")];
    for (const stream of [one, two]) stream.ack(10);
    world.feed.revision(11, ["cluster/a"]);
    fleet.published(11);
    const wait = waiting(fleet, 11);
    await world.clock.advance(50);
    one.lacks(11, "cluster", "a");
    await world.clock.advance(2);
    expect(wait.answer).toMatchObject({
      state: "refused",
      gateways: { edge: { refused: [{ node: "e1", resource: "a" }], lagging: ["e2"] } },
    });
  });

  test("a stalled Envoy is named when the time is over", async () => {
    const fleet = await world.replica("a");
    world.stream(fleet, "e1").ack(10);
    world.feed.revision(11, ["cluster/a"]);
    fleet.published(11);
    const wait = waiting(fleet, 11, 2_000);
    await world.clock.advance(1_999);
    expect(wait.answer).toBeUndefined();
    await world.clock.advance(1);
    expect(wait.answer).toMatchObject({ state: "pending", gateways: { edge: { total: 1, acked: 0, lagging: ["e1"] } } });
  });

  test("a revision that this replica has not loaded yet is not acked by having no Envoys that lack it", async () => {
    // Mutant: `behind` leaves out this replica.
    const fleet = await world.replica("a");
    world.stream(fleet, "e1").ack(10);
    const wait = waiting(fleet, 11, 500);
    await world.clock.advance(499);
    expect(wait.answer).toBeUndefined();
    await world.clock.advance(1);
    expect(wait.answer).toMatchObject({ state: "pending", replicasBehind: ["a"] });
  });

  test("with no Envoy connected a revision is acked by nobody, at once", async () => {
    const fleet = await world.replica("a");
    world.feed.revision(11, ["cluster/a"]);
    fleet.published(11);
    const wait = waiting(fleet, 11);
    await world.clock.advance(10);
    expect(wait.answer).toMatchObject({ state: "acked", gateways: {} });
  });

  test("with the database away nothing is claimed, and the wait ends in its time", async () => {
    // Mutant: an answer that was never got counts as "no other replicas".
    const fleet = await world.replica("a");
    world.stream(fleet, "e1").ack(10);
    world.feed.revision(11, ["cluster/a"]);
    fleet.published(11);
    world.store.down = true;
    world.stream(fleet, "e1").ack(11);
    const wait = waiting(fleet, 11, 3_000);
    await world.clock.advance(2_999);
    expect(wait.answer).toBeUndefined();
    await world.clock.advance(1);
    expect(wait.answer).toMatchObject({ state: "pending", replicasBehind: [""] });
  });

  test("a caller who goes, and a process that stops, end the wait", async () => {
    const fleet = await world.replica("a");
    world.stream(fleet, "e1").ack(10);
    world.feed.revision(11, ["cluster/a"]);
    fleet.published(11);
    const caller = new AbortController();
    const [gone, stopped] = [waiting(fleet, 11, 60_000, caller.signal), waiting(fleet, 11, 60_000)];
    await world.clock.advance(50);
    caller.abort();
    await world.clock.advance(0);
    expect(gone.answer).toMatchObject({ state: "pending" });
    await fleet.close();
    await world.clock.advance(0);
    expect(stopped.answer).toMatchObject({ state: "pending" });
    expect(world.clock.timers).toBe(0);
  });

  test("more callers than the limit are refused, not queued", async () => {
    const fleet = await world.replica("a", { maxWaits: 2 });
    void fleet.waitSync(11, 100);
    void fleet.waitSync(11, 100);
    expect(() => fleet.waitSync(11, 100)).toThrow("too_many_requests");
    await world.clock.advance(101);
    await expect(Promise.race([fleet.waitSync(10, 0), world.clock.advance(5)])).resolves.toMatchObject({ revision: 10 });
  });

  test("nothing is read while nobody waits", async () => {
    const fleet = await world.replica("a");
    const wait = waiting(fleet, 10);
    await world.clock.advance(50);
    expect(wait.answer).toBeDefined();
    const { liveReplicas } = world.store.calls;
    await world.clock.advance(5_000);
    expect(world.store.calls.liveReplicas).toBe(liveReplicas);
  });
});

describe("a look, without a wait", () => {
  test("adds up all replicas at once, and ends whatever the Envoys do", async () => {
    // Mutant: the others are not asked; a replica that has not loaded the revision is not named.
    const [a, b, c] = [await world.replica("a"), await world.replica("b"), await world.replica("c")];
    const [one, two] = [world.stream(a, "e1"), world.stream(b, "e2")];
    for (const stream of [one, two]) stream.ack(10);
    world.feed.revision(11, ["cluster/a"]);
    for (const fleet of [a, b]) fleet.published(11);
    one.ack(11);
    await world.clock.advance(5_000);
    expect(await a.lookSync(11)).toMatchObject({
      state: "pending",
      gateways: { edge: { total: 2, acked: 1, lagging: ["e2"] } },
      replicasBehind: ["c"],
    });
    c.published(11);
    two.ack(11);
    await world.clock.advance(5_000);
    expect(await a.lookSync(11)).toMatchObject({
      state: "acked",
      gateways: { edge: { total: 2, acked: 2 } },
      replicasBehind: [],
    });
  });

  test("claims nothing of others with the database away, nor of what they may have forgotten", async () => {
    // Mutant: a replica without a row has nothing to say, whatever the revision's age.
    const [a, b] = [await world.replica("a", { loaded: 500 }), await world.replica("b", { loaded: 500 })];
    world.stream(a, "e1").ack(500);
    world.stream(b, "e2").ack(500);
    await world.clock.advance(5_000);
    expect(await a.lookSync(100)).toMatchObject({ state: "pending", gateways: { edge: { acked: 1 } }, replicasBehind: [""] });
    expect(await a.lookSync(500)).toMatchObject({ state: "acked", gateways: { edge: { acked: 2 } } });
    world.store.down = true;
    expect(await a.lookSync(500)).toMatchObject({ state: "pending", replicasBehind: [""] });
  });

  test("of an old revision tells, for a replica that is alone, who has everything up to it", async () => {
    const a = await world.replica("a", { loaded: 500 });
    world.stream(a, "e1").ack(500);
    world.stream(a, "e2").ack(90);
    expect(await a.lookSync(100)).toMatchObject({
      state: "pending",
      gateways: { edge: { total: 2, acked: 1, lagging: ["e2"] } },
    });
    expect(await a.lookSync(90)).toMatchObject({ state: "acked", gateways: { edge: { acked: 2 } } });
  });
});

describe.each([
  { name: "with hints", hints: true },
  { name: "without hints", hints: false },
])("two replicas, $name", ({ hints }) => {
  test("a wait on one sees the Envoys of the other", async () => {
    const [a, b] = [await world.replica("a", { hints }), await world.replica("b", { hints })];
    const far = world.stream(b, "e2");
    far.ack(10);
    world.feed.revision(11, ["cluster/a"]);
    for (const fleet of [a, b]) fleet.published(11);
    const wait = waiting(a, 11);
    await world.clock.advance(1_000);
    expect(wait.answer).toBeUndefined();
    far.ack(11);
    await world.clock.advance(250);
    expect(wait.answer).toMatchObject({ state: "acked", gateways: { edge: { total: 1, acked: 1 } } });
  });

  test("a refusal on the other one ends the wait", async () => {
    const [a, b] = [await world.replica("a", { hints }), await world.replica("b", { hints })];
    const far = world.stream(b, "e2");
    far.ack(10);
    world.feed.revision(11, ["cluster/a"]);
    for (const fleet of [a, b]) fleet.published(11);
    const wait = waiting(a, 11);
    await world.clock.advance(300);
    far.lacks(11, "cluster", "a");
    await world.clock.advance(250);
    expect(wait.answer).toMatchObject({ state: "refused", gateways: { edge: { refused: [{ node: "e2" }] } } });
  });

  test("a live replica that has not loaded the revision holds the wait", async () => {
    // Mutant: `behind` is left out of the verdict.
    const [a, b] = [await world.replica("a", { hints }), await world.replica("b", { hints })];
    world.stream(b, "e2").ack(10);
    world.feed.revision(11, ["cluster/a"]);
    a.published(11);
    const wait = waiting(a, 11);
    await world.clock.advance(1_000);
    expect(wait.answer).toBeUndefined();
    b.published(11);
    await world.clock.advance(500);
    expect(wait.answer).toBeUndefined();
  });

  test("a dead replica holds no wait once its lease is over", async () => {
    const a = await world.replica("a", { hints });
    const b = await world.replica("b", { hints });
    world.stream(b, "e2").ack(10);
    await world.clock.advance(200);
    // kill -9: nothing of b runs any more, and the database never hears of it. Its timers are its store's, which ends here.
    const dead = world.store.replicas.get("b");
    await b.close();
    if (dead) world.store.replicas.set("b", dead);
    world.feed.revision(11, ["cluster/a"]);
    a.published(11);
    const wait = waiting(a, 11, 60_000);
    await world.clock.advance(5_000);
    expect(wait.answer).toBeUndefined();
    await world.clock.advance(6_000);
    expect(wait.answer).toMatchObject({ state: "acked" });
  });

  test("a replica says what its Envoys owe before it says that it has loaded the revision", async () => {
    // Mutant: heartbeat before saveSync. A wait between the two would be told "acked" by a replica without rows.
    const b = await world.replica("b", { hints });
    world.stream(b, "e2").ack(10);
    await world.clock.advance(500);
    world.store.journal.length = 0;
    world.feed.revision(11, ["cluster/a"]);
    b.published(11);
    await world.clock.advance(500);
    expect(world.store.journal.slice(0, 2)).toEqual(["sync b edge 11", "beat b 11"]);
  });

  test("an Envoy that moved from one to the other is there, not gone", async () => {
    const [a, b] = [await world.replica("a", { hints }), await world.replica("b", { hints })];
    const near = world.stream(a, "e1");
    near.ack(10);
    world.feed.revision(11, ["cluster/a"]);
    for (const fleet of [a, b]) fleet.published(11);
    near.close();
    const far = world.stream(b, "e1");
    await world.clock.advance(200);
    const wait = waiting(a, 11, 1_000);
    await world.clock.advance(1_000);
    expect(wait.answer).toMatchObject({ state: "pending", gateways: { edge: { total: 1, lagging: ["e1"], gone: [] } } });
    far.ack(11);
    await world.clock.advance(250);
    const after = waiting(a, 11);
    await world.clock.advance(250);
    expect(after.answer).toMatchObject({ state: "acked" });
  });
});

describe("a quorum", () => {
  const sync = (total: number, acked: number, refusing: number): GatewaySync => ({
    total,
    acked,
    refused: Array.from({ length: refusing }, (_, at) => ({ node: `e${at}`, type: "cluster", resource: "a", detail: "no" })),
    lagging: [],
    gone: [],
  });
  const known = { known: true, behind: [] };
  const stateOf = (parts: Readonly<Record<string, GatewaySync>>, percent: number): Sync["state"] =>
    mergeSync(11, Object.entries(parts), known, percent).state;

  test("is enough when each gateway has it, rounded up", () => {
    // Mutant: the quorum of all gateways together, or rounded down.
    expect(stateOf({ edge: sync(10, 9, 0) }, 90)).toBe("acked");
    expect(stateOf({ edge: sync(11, 9, 0) }, 90)).toBe("pending");
    expect(stateOf({ edge: sync(100, 100, 0), inner: sync(2, 1, 0) }, 90)).toBe("pending");
    expect(stateOf({ edge: sync(3, 1, 0) }, 1)).toBe("acked");
    expect(stateOf({ edge: sync(3, 0, 0) }, 1)).toBe("pending");
  });

  test("stands refusals as long as it can come about, and is refused as soon as it can't", () => {
    expect(stateOf({ edge: sync(10, 9, 1) }, 90)).toBe("acked");
    expect(stateOf({ edge: sync(10, 5, 1) }, 90)).toBe("pending");
    expect(stateOf({ edge: sync(10, 5, 2) }, 90)).toBe("refused");
    expect(stateOf({ edge: sync(10, 9, 1) }, 100)).toBe("refused");
    const twice = { ...sync(10, 9, 1), refused: [...sync(10, 9, 1).refused, ...sync(10, 9, 1).refused] };
    expect(stateOf({ edge: twice }, 90)).toBe("acked"); // One Envoy that refuses two resources is one Envoy.
  });

  test("counts nothing while a replica has not loaded the revision", () => {
    expect(mergeSync(11, [["edge", sync(1, 1, 0)]], { known: true, behind: ["b"] }, 50).state).toBe("pending");
  });

  test("ends a wait of the fleet before the last Envoy has it", async () => {
    const fleet = await world.replica("a");
    const [one, two] = [world.stream(fleet, "e1"), world.stream(fleet, "e2")];
    for (const stream of [one, two]) stream.ack(10);
    world.feed.revision(11, ["cluster/a"]);
    fleet.published(11);
    const half = fleet.waitSync(11, 10_000, undefined, 50);
    const all = waiting(fleet, 11);
    one.ack(11);
    await world.clock.advance(1_000);
    expect(await half).toMatchObject({ state: "acked", gateways: { edge: { total: 2, acked: 1, lagging: ["e2"] } } });
    expect(all.answer).toBeUndefined();
  });
});

test("Envoys are counted once over all replicas", async () => {
  const [a, b] = [await world.replica("a"), await world.replica("b")];
  world.stream(a, "e1").ack(10);
  world.stream(b, "e2").ack(10);
  await world.clock.advance(500);
  expect(await a.countNodes(["edge", "none"])).toEqual(new Map([["edge", 2]]));
});
