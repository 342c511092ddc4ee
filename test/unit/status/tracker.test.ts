// Promises about who has which revision, on one replica. Each "mutant" comment names the fault in tracker.ts or
// tracked-revision.ts that the test is there to catch; each was tried and made its test fail.
import { beforeEach, describe, expect, test, vi } from "vitest";
import type { GatewaySync, ResourceException } from "../../../src/model/node.js";
import type { Fleet } from "../../../src/status/fleet.js";
import { typeBits } from "../../../src/status/node-report.js";
import { createMetrics } from "../../../src/telemetry/metrics.js";
import { createWorld, type ScriptedStream, type World } from "./scripted.js";

let world: World;
let fleet: Fleet;

beforeEach(async () => {
  world = createWorld();
  fleet = await world.replica("a");
});

function connect(id: string, ackedRevision = 10): ScriptedStream {
  const stream = world.stream(fleet, id);
  stream.ack(ackedRevision);
  return stream;
}

/** Publishes the next revisions together: revision → what it changes. */
function publish(...revisions: (readonly [number, readonly string[]])[]): void {
  for (const [revision, names] of revisions) world.feed.revision(revision, names);
  fleet.published(Math.max(...revisions.map(([revision]) => revision)));
}

function syncOf(revision: number, gateway = "edge"): GatewaySync | undefined {
  return fleet.sync(revision).get(gateway);
}

function refusal(revision: number, name: string, more: Partial<ResourceException> = {}): ResourceException {
  return { type: "cluster", name, parts: undefined, kind: "refused", revision, detail: "no", at: 0, ...more };
}

describe("having a revision", () => {
  test("a node has a revision only once every type that it changed is acked", () => {
    // Mutant: `owes` looks at the first changed type only.
    const envoy = connect("e1");
    publish([11, ["cluster/a", "route/web:r1"]]);
    expect(syncOf(11)).toMatchObject({ total: 1, acked: 0, lagging: ["e1"] });
    envoy.ack(11, "cluster");
    expect(syncOf(11)).toMatchObject({ acked: 0, lagging: ["e1"] });
    envoy.ack(11, "route");
    expect(syncOf(11)).toMatchObject({ acked: 1, lagging: [] });
  });

  test("an answer reads what it may have changed, and nothing else of the stream", () => {
    // Mutants: `refresh` reads every type; `refresh` reads the exceptions each time.
    const envoy = connect("e1");
    publish([11, ["endpoint/a"]]);
    const [acked, exceptions] = [vi.spyOn(envoy, "ackedRevision"), vi.spyOn(envoy, "exceptions")];
    envoy.acked.endpoint = 11;
    fleet.answered(envoy, typeBits.endpoint);
    expect(acked.mock.calls).toEqual([["endpoint"]]);
    expect(exceptions).not.toHaveBeenCalled();
    expect(syncOf(11)).toMatchObject({ total: 1, acked: 1 });
  });

  test("a node for which the revision changed nothing has it, though it answers nothing", () => {
    // One snapshot of its gateway changed, and not the node's: what it has acked has moved on by itself. Mutant: a cohort opened with what was
    // read at the last answer.
    const envoy = connect("e1");
    envoy.acked.endpoint = 11;
    publish([11, ["endpoint/a"]]);
    expect(syncOf(11)).toMatchObject({ total: 1, acked: 1, lagging: [] });
  });

  test("a type that the revision did not change is not waited for", () => {
    const envoy = connect("e1");
    publish([11, ["cluster/a"]]);
    envoy.ack(11, "cluster");
    expect(syncOf(11)).toMatchObject({ total: 1, acked: 1 });
  });

  test("only nodes that ask for something that the revision changed are counted", () => {
    connect("e1");
    const edsOnly = world.stream(fleet, "e2", { types: ["endpoint"] });
    edsOnly.ack(10);
    publish([11, ["cluster/a"]]);
    expect(syncOf(11)).toMatchObject({ total: 1, lagging: ["e1"] });
  });

  test("a gateway for which the revision changed nothing is not in the answer", () => {
    connect("e1");
    world.feed.revision(11, ["cluster/a"], "inner");
    fleet.published(11);
    expect([...fleet.sync(11).keys()]).toEqual([]);
  });

  test("a removal held for its grace counts as had", () => {
    // The stream's ackedRevision passes over it, and it is no exception.
    const envoy = connect("e1");
    publish([11, ["cluster/old", "route/web:r1"]]);
    envoy.ack(11);
    expect(syncOf(11)).toMatchObject({ total: 1, acked: 1, lagging: [] });
  });

  test("a route that is held for its cluster is not had, and the node is named", () => {
    const envoy = connect("e1");
    publish([11, ["route/web:r1"]]);
    envoy.lacks(11, "route", "web", { kind: "held", parts: ["r1"], detail: "waits for cluster a" });
    expect(syncOf(11)).toMatchObject({ total: 1, acked: 0, refused: [], lagging: ["e1"] });
    envoy.say([]);
    expect(syncOf(11)).toMatchObject({ acked: 1, lagging: [] });
  });

  test("a route that is held spoils nothing for another route of the same listener", () => {
    // Mutant: `overlaps` ignores parts.
    const envoy = connect("e1");
    publish([11, ["route/web:r1"]], [12, ["route/web:r2"]]);
    envoy.lacks(12, "route", "web", { kind: "held", parts: ["r1"], revision: 12 });
    expect(syncOf(11)).toMatchObject({ acked: 0, lagging: ["e1"] });
    expect(syncOf(12)).toMatchObject({ acked: 1, lagging: [] });
  });
});

describe("refusals", () => {
  test("a refusal is told with node, resource and Envoy's own text", () => {
    const envoy = connect("e1");
    publish([11, ["cluster/bad"]]);
    envoy.lacks(11, "cluster", "bad", { detail: "invalid name" });
    expect(syncOf(11)).toEqual({
      total: 1,
      acked: 0,
      refused: [{ node: "e1", type: "cluster", resource: "bad", detail: "invalid name" }],
      lagging: [],
      gone: [],
    });
  });

  test("an old refusal never spoils a later revision", () => {
    // Mutant: `missing` does not ask whether the exception overlaps.
    const envoy = connect("e1");
    publish([11, ["cluster/bad"]]);
    envoy.lacks(11, "cluster", "bad");
    publish([12, ["cluster/good"]]);
    envoy.ack(12);
    expect(syncOf(12)).toMatchObject({ total: 1, acked: 1, refused: [] });
    expect(syncOf(11)?.refused).toHaveLength(1);
  });

  test("the refusal of the old bytes says nothing about the new ones on their way", () => {
    // Mutant: of a type that is still owed, every exception counts, and the author of the repair is told 409.
    const envoy = connect("e1");
    publish([11, ["cluster/bad"]]);
    envoy.lacks(11, "cluster", "bad");
    publish([12, ["cluster/bad"]]);
    envoy.say(envoy.faults);
    expect(syncOf(12)).toMatchObject({ refused: [], lagging: ["e1"] });
    envoy.faults = [];
    envoy.ack(12);
    expect(syncOf(12)).toMatchObject({ acked: 1 });
    expect(syncOf(11)).toMatchObject({ acked: 1, refused: [] });
  });

  test("bytes refused before, written again, are refused without being sent", () => {
    // xds does not send them: it acks the revision apart from the exception, which still names the first revision.
    // Mutant: an exception below the revision never counts.
    const envoy = connect("e1");
    publish([11, ["cluster/bad"]]);
    envoy.lacks(11, "cluster", "bad");
    publish([12, ["cluster/bad", "route/web:r1"]]);
    envoy.ack(12, "cluster"); // And is told at once, while routes are still owed.
    expect(syncOf(12)).toMatchObject({ acked: 0, refused: [{ node: "e1", resource: "bad" }] });
  });

  test("a refusal is told although the node has acked nothing of it yet", () => {
    // Envoy withholds the ack of an earlier response while a cluster of it warms, and refuses the next one.
    // Mutant: of a type that is still owed, no exception counts.
    const envoy = connect("e1");
    publish([11, ["cluster/bad", "route/web:r1"]]);
    envoy.say([refusal(11, "bad")]);
    expect(syncOf(11)).toMatchObject({ acked: 0, refused: [{ node: "e1", resource: "bad" }], lagging: [] });
  });

  test("a later refusal does not take back what a node had, whatever else it refuses", () => {
    // Mutant: hadIt is always false.
    const envoy = connect("e1");
    publish([11, ["cluster/bad"]]);
    envoy.lacks(11, "cluster", "bad");
    publish([12, ["cluster/a"]]);
    envoy.ack(12);
    publish([13, ["cluster/a"]]);
    envoy.lacks(13, "cluster", "a");
    expect(syncOf(12)).toMatchObject({ acked: 1, refused: [] });
    expect(syncOf(13)).toMatchObject({ acked: 0, refused: [{ node: "e1", resource: "a" }] });
  });

  test("a revision folded into a later one that is refused was never had", () => {
    // Mutant: hadIt is true for a node that was still owing.
    const envoy = connect("e1");
    publish([11, ["cluster/a"]]);
    publish([12, ["cluster/a"]]);
    envoy.lacks(12, "cluster", "a");
    expect(syncOf(11)).toMatchObject({ acked: 0, refused: [{ node: "e1" }] });
  });

  test("a cluster that Envoy acked and then never asked endpoints for is taken back as refused", () => {
    // Mutant: `answered` does not compare new exceptions with revisions that were had.
    const envoy = connect("e1");
    publish([11, ["cluster/a"]]);
    envoy.ack(11);
    expect(syncOf(11)).toMatchObject({ acked: 1 });
    envoy.say([refusal(11, "a")]);
    expect(syncOf(11)).toMatchObject({ acked: 0, refused: [{ node: "e1" }] });
  });

  test("one Envoy that refuses does not hide those that have it", () => {
    const good = connect("e1");
    const bad = connect("e2");
    publish([11, ["cluster/a"]]);
    good.ack(11);
    bad.lacks(11, "cluster", "a");
    expect(syncOf(11)).toMatchObject({ total: 2, acked: 1, refused: [{ node: "e2" }], lagging: [] });
  });
});

describe("revisions published together", () => {
  test("each is judged by what it changed itself", () => {
    // Mutant: a cohort merges the changes of its revisions.
    const envoy = connect("e1");
    publish([11, ["cluster/bad"]], [12, ["cluster/good"]], [13, ["route/web:r1"]]);
    envoy.lacks(13, "cluster", "bad", { revision: 11 });
    expect(syncOf(11)?.refused).toHaveLength(1);
    expect(syncOf(12)).toMatchObject({ acked: 1, refused: [] });
    expect(syncOf(13)).toMatchObject({ acked: 1, refused: [] });
  });

  test("a cluster change does not wait for a route change beside it", () => {
    const envoy = connect("e1");
    publish([11, ["cluster/a"]], [12, ["route/web:r1"]]);
    envoy.ack(12, "cluster");
    expect(syncOf(11)).toMatchObject({ acked: 1 });
    expect(syncOf(12)).toMatchObject({ acked: 0, lagging: ["e1"] });
  });
});

describe("coming and going", () => {
  test("a node that leaves before it answers is gone, by name, and waits are not held by it", () => {
    const stays = connect("e1");
    const leaves = connect("e2");
    publish([11, ["cluster/a"]]);
    stays.ack(11);
    leaves.close();
    expect(syncOf(11)).toEqual({ total: 1, acked: 1, refused: [], lagging: [], gone: ["e2"] });
  });

  test("a node that has answered and leaves is simply not counted", () => {
    const envoy = connect("e1");
    publish([11, ["cluster/a"]]);
    envoy.ack(11);
    envoy.close();
    expect(syncOf(11)).toEqual({ total: 0, acked: 0, refused: [], lagging: [], gone: [] });
  });

  test("a node that comes back owes the revision again until it says that it has it", () => {
    // Mutant: `opened` compares with nothing.
    const envoy = connect("e1");
    publish([11, ["cluster/a"]]);
    envoy.close();
    const again = world.stream(fleet, "e1");
    expect(syncOf(11)).toMatchObject({ total: 1, acked: 0, lagging: ["e1"], gone: [] });
    again.ack(11);
    expect(syncOf(11)).toMatchObject({ acked: 1 });
  });

  test("the newest stream speaks for the node, and the end of the old one changes nothing", () => {
    // Mutant: the oldest stream wins; or closing any stream removes the node.
    const old = connect("e1");
    publish([11, ["cluster/a"]]);
    const fresh = world.stream(fleet, "e1");
    fresh.ack(11);
    expect(syncOf(11)).toMatchObject({ total: 1, acked: 1 });
    old.close();
    expect(syncOf(11)).toMatchObject({ total: 1, acked: 1, gone: [] });
  });

  test("while the new stream has asked for nothing yet, the node is gone, not had", () => {
    // Mutant: a node that is replaced is forgotten silently.
    connect("e1");
    publish([11, ["cluster/a"]]);
    const fresh = world.stream(fleet, "e1", { types: [] });
    expect(syncOf(11)).toMatchObject({ total: 0, gone: ["e1"] });
    fresh.types = new Set(["cluster"]);
    fresh.ack(10);
    expect(syncOf(11)).toMatchObject({ total: 1, lagging: ["e1"], gone: [] });
  });

  test("the streams of separate services are one node, and each of its types must be acked", () => {
    // Mutant: only the newest stream counts, whatever its kind.
    const cds = world.stream(fleet, "e1", { kind: "delta", types: ["cluster"] });
    const edsA = world.stream(fleet, "e1", { kind: "delta", types: ["endpoint"] });
    const edsB = world.stream(fleet, "e1", { kind: "delta", types: ["endpoint"] });
    for (const stream of [cds, edsA, edsB]) stream.ack(10);
    publish([11, ["cluster/a", "endpoint/a"]]);
    cds.ack(11, "cluster");
    edsB.ack(11, "endpoint");
    expect(syncOf(11)).toMatchObject({ total: 1, acked: 0, lagging: ["e1"] });
    edsA.ack(11, "endpoint");
    expect(syncOf(11)).toMatchObject({ total: 1, acked: 1 });
  });

  test("a node that moves to another gateway leaves the first one's count", () => {
    connect("e1");
    publish([11, ["cluster/a"]]);
    world.stream(fleet, "e1", { gateway: "inner" });
    expect(syncOf(11)).toMatchObject({ total: 0, lagging: [], gone: ["e1"] });
  });

  test("a node that starts to ask for a type owes it", () => {
    const envoy = world.stream(fleet, "e1", { types: ["cluster"] });
    envoy.ack(10);
    publish([11, ["endpoint/a"]]);
    expect(syncOf(11)).toMatchObject({ total: 0 });
    envoy.types.add("endpoint");
    envoy.ack(10);
    expect(syncOf(11)).toMatchObject({ total: 1, lagging: ["e1"] });
  });
});

describe("what is remembered", () => {
  test("a node that has not acked the loaded revision does not have those before it either", () => {
    world.stream(fleet, "e1");
    expect(syncOf(10)).toMatchObject({ total: 1, lagging: ["e1"] });
    expect(syncOf(3)).toMatchObject({ total: 1, lagging: ["e1"] });
  });

  test("at most 256 revisions are followed; older ones are told from what each node has acked", async () => {
    // Mutant: nothing is ever forgotten.
    const metrics = createMetrics();
    fleet = await world.replica("b", { metrics });
    const fast = connect("e1");
    const slow = connect("e2");
    for (let revision = 11; revision <= 400; revision++) publish([revision, ["cluster/a"]]);
    fast.ack(400);
    slow.ack(100);
    expect(syncOf(50)).toMatchObject({ total: 2, acked: 2 });
    expect(syncOf(120)).toMatchObject({ total: 2, acked: 1, lagging: ["e2"] });
    expect(syncOf(399)).toMatchObject({ total: 2, acked: 1, lagging: ["e2"] });
    expect(await metrics.text()).toContain("chancery_status_revisions_tracked 256\n");
  });

  test("another history forgets what the first one's revisions changed", () => {
    // Mutants: a smaller revision is ignored; what nodes have acked is not read again.
    const [one, two] = [connect("e1"), connect("e2")];
    publish([11, ["cluster/a"]], [12, ["cluster/b"]]);
    for (const envoy of [one, two]) envoy.ack(12);
    one.acked.cluster = 10; // xds compares what it sent with what the new history says.
    fleet.published(11);
    expect(fleet.sync(12).size).toBe(0);
    expect(syncOf(11)).toMatchObject({ total: 2, lagging: ["e1"] });
    two.ack(10);
    expect(syncOf(11)).toMatchObject({ total: 2, lagging: ["e1", "e2"] });
  });

  test("names in an answer are bounded, counts are not", () => {
    for (let index = 0; index < 250; index++) connect(`e${index}`);
    publish([11, ["cluster/a"]]);
    expect(syncOf(11)?.lagging).toHaveLength(100);
    expect(syncOf(11)).toMatchObject({ total: 250, acked: 0 });
  });

  test("nothing is kept for a gateway that no listener names, once its nodes have left", () => {
    // Mutants: its record stays; the loaded revision is followed for it.
    const stranger = world.stream(fleet, "s1", { gateway: "unknown" });
    expect(fleet.sync(10).size).toBe(0);
    publish([11, ["cluster/a"]]);
    expect(world.feed.lookups).toBe(1);
    stranger.close();
    publish([12, ["cluster/a"]]);
    expect(world.feed.lookups).toBe(1);
  });
});
