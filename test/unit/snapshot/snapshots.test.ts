// What a change costs, what is forgotten, and what another history leaves behind. Mutants tried: every backend touched by a shift of
// weights; endpoints published whether or not their bytes changed; gateways forgotten by `release` alone; the first step after a Seq in place of the least; changes kept over a full load; a drained
// Envoy's view with listeners, or without clusters; a rollout before a drain; the variant of a lame duck's routes that answers its check; a
// stream that leaves a rollout at leisure although it is to be drained.
import { describe, expect, test } from "vitest";
import { DesiredState } from "../../../src/model/desired-state.js";
import type { NodeDrainChange, NodeDrainPhase } from "../../../src/model/node-drain.js";
import { wholeShare } from "../../../src/model/rollout.js";
import type { HttpRoute } from "../../../src/model/route.js";
import { decode } from "../../../src/proto/encode.js";
import type { GatewaySnapshot } from "../../../src/snapshot/gateway-snapshot.js";
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

// ---- Drained Envoys: a failing health check first, then no listeners ---------------------------------------------------

const checked = { ...httpListener("web", 80), healthPath: "/healthz" };
const shop = httpRoute("r", "web", "/", ["a"]);

function snapshotsOf(nodeDrains: readonly { readonly node: string; readonly phase: NodeDrainPhase }[] = []) {
  const snapshots = new Snapshots({ removalGraceMs: 0, now: () => 0, onFault: () => undefined });
  const rows = {
    id: "1",
    revision: 1,
    clusters: [cluster("a")],
    endpoints: [endpoint("a", 1)],
    listeners: [checked],
    routes: [shop],
  };
  snapshots.load(DesiredState.from({ ...rows, nodeDrains }));
  let revision = 1;
  const drain = (node: string, phase: NodeDrainChange["phase"]): void => {
    revision += 1;
    snapshots.apply([{ revision, id: String(revision), changes: [], nodeDrains: [{ node, phase }] }]);
  };
  return { snapshots, drain };
}

const names = (snapshot: GatewaySnapshot) => ({
  listener: [...snapshot.tables.listener.names()],
  route: [...snapshot.tables.route.names()],
  cluster: [...snapshot.tables.cluster.names()],
  endpoint: [...snapshot.tables.endpoint.names()],
});
const healthIn = (bytes: Uint8Array | undefined): unknown[] =>
  (decode("envoy.config.route.v3.RouteConfiguration", bytes ?? new Uint8Array()).virtual_hosts ?? []).map(
    (host) => host.routes?.[0]?.direct_response?.status,
  );
const healthOf = (snapshot: GatewaySnapshot) => healthIn(snapshot.tables.route.get("web")?.bytes);

describe("the view of a drained Envoy", () => {
  test("has no listeners, and every route, cluster and endpoint", () => {
    const { snapshots, drain } = snapshotsOf();
    const whole = names(snapshots.acquire("edge", "ads", "edge-1"));
    drain("edge-1", "withdrawn");
    const drained = snapshots.acquire("edge", "ads", "edge-1");
    expect([drained.view, names(drained)]).toEqual(["edge/~drained", { ...whole, listener: [] }]);
    expect(names(snapshots.acquire("edge", "ads", "edge-2"))).toEqual(whole);
    const more = { ...httpListener("more", 81) };
    snapshots.apply([{ revision: 9, id: "9", changes: [{ kind: "listener", name: "more", before: undefined, after: more }] }]);
    expect(names(drained).listener).toEqual([]);
    expect(snapshots.changedBy("edge/~drained", 9).has("listener")).toBe(false); // So that no wait misses it there.
  });

  test("as a lame duck answers 503 to its health check alone, in every form of its routes", () => {
    const { snapshots, drain } = snapshotsOf();
    const base = snapshots.acquire("edge", "ads", "edge-1");
    drain("edge-1", "lame-duck");
    const lame = snapshots.acquire("edge", "ads", "edge-1");
    expect([healthOf(base), healthOf(lame), names(lame).listener]).toEqual([[200], [503], ["web"]]);
    const current = lame.tables.route.get("web");
    if (!current) throw new Error("it is there");
    expect(healthIn(snapshots.routeVariant(current, new Map([["r", undefined]]))?.bytes)).toEqual([503]);
    // What it had before its drain is recognised when it comes back.
    expect(snapshots.pastRouteForm(current, base.tables.route.get("web")?.hash ?? "")?.bytes).toEqual(
      base.tables.route.get("web")?.bytes,
    );
  });

  test("is what it gets after a restart of the control plane, too", () => {
    const { snapshots } = snapshotsOf([{ node: "edge-1", phase: "withdrawn" }]);
    expect(names(snapshots.acquire("edge", "ads", "edge-1")).listener).toEqual([]);
  });
});

describe("a stream", () => {
  test("moves with each phase, at once, and back", () => {
    const { snapshots, drain } = snapshotsOf();
    let moved = 0;
    snapshots.onMoved(() => moved++);
    const base = snapshots.acquire("edge", "ads", "edge-1");
    drain("edge-1", "lame-duck");
    const lame = snapshots.acquire("edge", "ads", "edge-1");
    expect([snapshots.moveOf(base, "edge-1"), snapshots.moveOf(base, "edge-2"), snapshots.moveOf(lame, "edge-1")]).toEqual([
      "enters",
      undefined,
      undefined,
    ]);
    drain("edge-1", "withdrawn");
    expect([snapshots.moveOf(lame, "edge-1"), snapshots.isDrained("edge-1")]).toEqual(["enters", true]);
    drain("edge-1", undefined);
    expect([snapshots.moveOf(lame, "edge-1"), snapshots.moveOf(base, "edge-1"), snapshots.isDrained("edge-1")]).toEqual([
      "enters",
      undefined,
      false,
    ]);
    expect(moved).toBe(3);
  });

  test("of a drained Envoy is in no stage of a rollout, and leaves one at once", () => {
    const { snapshots, drain } = snapshotsOf();
    const overlay = {
      name: "try",
      after: {
        shares: new Map([["edge", wholeShare]]),
        changes: [{ kind: "cluster" as const, name: "a", before: cluster("a"), after: cluster("a", 7) }],
      },
    };
    snapshots.apply([{ revision: 2, id: "2", changes: [], overlays: [overlay] }]);
    const staged = snapshots.acquire("edge", "ads", "edge-1");
    expect(staged.view).toBe("edge/try");
    drain("edge-1", "withdrawn");
    expect(snapshots.moveOf(staged, "edge-1")).toBe("enters");
    expect(snapshots.acquire("edge", "ads", "edge-1").view).toBe("edge/~drained");
    expect(snapshots.acquire("edge", "ads", "edge-2").view).toBe("edge/try");
    const ended = { revision: 9, id: "9", changes: [], overlays: [{ name: "try", after: undefined }] };
    snapshots.apply([ended]);
    expect(snapshots.moveOf(staged, "edge-2")).toBe("leaves");
  });
});
