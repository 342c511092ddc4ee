// What a drained Envoy sees: first its gateway with a failing health check, then without listeners, and with every route and cluster, as
// what is in flight goes on over them. Mutants tried and caught: a view with listeners; one without clusters; a rollout before a drain; the
// variant of a lame duck's routes that answers its check; a stream that leaves a rollout at leisure although it is to be drained.
import { describe, expect, test } from "vitest";
import { DesiredState } from "../../../src/model/desired-state.js";
import type { NodeDrainChange, NodeDrainPhase } from "../../../src/model/node-drain.js";
import { wholeShare } from "../../../src/model/rollout.js";
import { decode } from "../../../src/proto/encode.js";
import type { GatewaySnapshot } from "../../../src/snapshot/gateway-snapshot.js";
import { Snapshots } from "../../../src/snapshot/snapshots.js";
import { cluster, endpoint, httpListener, httpRoute } from "../../support/stream-world.js";

const web = { ...httpListener("web", 80), healthPath: "/healthz" };
const route = httpRoute("r", "web", "/", ["a"]);

function snapshotsOf(nodeDrains: readonly { readonly node: string; readonly phase: NodeDrainPhase }[] = []) {
  const snapshots = new Snapshots({ removalGraceMs: 0, now: () => 0, onFault: () => undefined });
  const rows = {
    id: "1",
    revision: 1,
    clusters: [cluster("a")],
    endpoints: [endpoint("a", 1)],
    listeners: [web],
    routes: [route],
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
