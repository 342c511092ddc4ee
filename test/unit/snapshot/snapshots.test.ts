// What a change costs, what is forgotten, and what another history leaves behind. Mutants tried: every backend touched by a shift of
// weights; endpoints published whether or not their bytes changed; gateways forgotten by `release` alone; the first step after a Seq in place of the least; changes kept over a full load.
import { expect, test } from "vitest";
import { DesiredState } from "../../../src/model/desired-state.js";
import type { HttpRoute } from "../../../src/model/route.js";
import { ResourceTable } from "../../../src/snapshot/resource-table.js";
import { Snapshots } from "../../../src/snapshot/snapshots.js";
import { cluster, endpoint, httpListener, httpRoute, StreamWorld } from "../../support/stream-world.js";

function weighted(route: HttpRoute, weights: readonly number[]): HttpRoute {
  if (route.action.kind !== "forward") return route;
  const backends = route.action.backends.map((backend, i) => ({ ...backend, weight: weights[i] ?? 1 }));
  return { ...route, action: { ...route.action, backends } };
}

test("a shift of weights translates one RouteConfiguration, and no cluster and no endpoints", () => {
  const world = new StreamWorld(true);
  const route = httpRoute("r", "web", "/r", ["a", "b"]);
  world.commit(
    world.put("cluster", cluster("a")),
    world.put("cluster", cluster("b")),
    world.put("cluster", cluster("c")),
    world.put("listener", httpListener("web", 80)),
    world.put("route", route),
  );
  const before = { ...world.snapshots.translations };
  world.commit(world.put("route", weighted(route, [9, 1])));
  expect(world.snapshots.translations).toEqual({ ...before, route: before.route + 1 });
  world.commit(world.put("route", httpRoute("r", "web", "/r", ["a", "c"])));
  expect(world.wanted("cluster")).toEqual(["a", "b", "c"]);
  world.pass(10_000);
  expect(world.wanted("cluster")).toEqual(["a", "c"]); // What came is there, and what went is gone after its grace.
});

test("a change of an endpoint's labels is a revision that publishes nothing", () => {
  const world = new StreamWorld(true);
  world.commit(
    world.put("cluster", cluster("a")),
    world.put("endpoint", endpoint("a", 1)),
    world.put("listener", httpListener("web", 80)),
    world.put("route", httpRoute("r", "web", "/r", ["a"])),
  );
  const changed: number[] = [];
  world.snapshots.onPublished((gateways) => changed.push(gateways.size));
  const { revision } = world.snapshots;
  world.commit(world.put("endpoint", { ...endpoint("a", 1), labels: { version: "v1" } }));
  expect([world.snapshots.revision, changed.filter((count) => count > 0)]).toEqual([revision + 1, []]);
  world.commit(world.put("endpoint", { ...endpoint("a", 1), labels: { version: "v1" }, weight: 7 }));
  expect(changed.filter((count) => count > 0)).toEqual([1]);
});

test("a gateway that nobody asks for is forgotten when its last listener goes", () => {
  const snapshots = new Snapshots({ removalGraceMs: 0, now: () => 0, onFault: () => undefined });
  const rows = { id: "", clusters: [], endpoints: [], routes: [] };
  const web = httpListener("web", 80);
  snapshots.load(DesiredState.from({ ...rows, revision: 1, listeners: [web] }));
  snapshots.release(snapshots.acquire("edge", "ads"));
  expect(snapshots.count).toBe(1);
  const removal = { kind: "listener" as const, name: "web", before: web, after: undefined };
  snapshots.apply([{ revision: 2, id: "2", changes: [removal] }]);
  expect(snapshots.count).toBe(0);
});

test("after another history, a stream that lacks its first publication has less than its revision", () => {
  const table = new ResourceTable("cluster");
  table.commit(1, 100, [], [], new Map());
  table.commit(2, 5, [], [], new Map());
  expect([table.revisionAt(0, 5), table.revisionAt(1, 5), table.revisionAt(2, 5)]).toEqual([4, 4, 5]);
});

test("what revisions of another history changed is forgotten with it", () => {
  const snapshots = new Snapshots({ removalGraceMs: 0, now: () => 0, onFault: () => undefined });
  const rows = { id: "", clusters: [], endpoints: [], routes: [] };
  snapshots.load(DesiredState.from({ ...rows, revision: 1, listeners: [] }));
  snapshots.acquire("edge", "ads");
  const added = { kind: "listener" as const, name: "web", before: undefined, after: httpListener("web", 80) };
  snapshots.apply([{ revision: 2, id: "2", changes: [added] }]);
  expect(snapshots.changedBy("edge", 2).size).toBeGreaterThan(0);
  snapshots.load(DesiredState.from({ ...rows, revision: 1, listeners: [httpListener("web", 80)] }));
  expect(snapshots.changedBy("edge", 2).size).toBe(0);
});
