// One gateway's snapshot: what its listeners reach, published whole, by content; what nothing names any more stays for its grace. Mutants
// that were tried, and are caught: endpoints do not come again after their cluster; a retired cluster goes at once, or never; a route's
// return does not take it out of retirement; a rebuild publishes what is equal; everything of every gateway is sent.
import { beforeEach, describe, expect, test } from "vitest";
import { DesiredState } from "../../../src/model/desired-state.js";
import { addressKey } from "../../../src/model/endpoint.js";
import { resourceTypes } from "../../../src/model/resource-type.js";
import type { Change } from "../../../src/model/revision.js";
import { GatewaySnapshot } from "../../../src/snapshot/gateway-snapshot.js";
import { ResourceFactory } from "../../../src/snapshot/resource-factory.js";
import { cluster, endpoint, httpRoute, listener, tcpRoute } from "../model/samples.js";

const graceMs = 1_000;
let state: DesiredState;
let factory: ResourceFactory;
let edge: GatewaySnapshot;
let faults: string[];

const rows = {
  clusters: [cluster("shop"), cluster("spare"), cluster("inner"), cluster("raw", { protocol: "tcp" })],
  endpoints: [endpoint("shop", "10.0.0.1"), endpoint("inner", "10.0.0.2"), endpoint("raw", "10.0.0.3")],
  listeners: [
    listener("web", "http"),
    listener("inside", "http", { gateways: ["inner"], port: 81 }),
    listener("tcp-in", "tcp", { port: 82, gateways: ["edge", "inner"] }),
  ],
  routes: [
    httpRoute("to-shop", ["shop"]),
    httpRoute("to-inner", ["inner"], { listeners: ["inside"] }),
    tcpRoute("to-raw", ["raw"]),
  ],
};

function fresh(more: Partial<typeof rows> = {}, revision = 1): DesiredState {
  return DesiredState.from({ ...rows, ...more, revision, id: `id-${revision}` });
}
function snapshotOf(gateway: string): GatewaySnapshot {
  const snapshot = new GatewaySnapshot(gateway, "ads", factory, graceMs);
  factory.begin();
  snapshot.rebuild(state, 0);
  snapshot.show();
  return snapshot;
}
/** One revision, as the follower applies it. */
function change(now: number, ...changes: readonly Change[]): boolean {
  state.apply({ revision: state.revision + 1, id: `id-${state.revision + 1}`, changes });
  factory.begin();
  const isPublished = edge.apply(state, changes, now);
  edge.show();
  return isPublished;
}
const names = (snapshot: GatewaySnapshot) =>
  Object.fromEntries(resourceTypes.map((type) => [type, snapshot.tables[type].names().sort().join()]));
const seqs = () => resourceTypes.map((type) => edge.tables[type].seq);
const put = (of: ReturnType<typeof cluster>): Change => ({
  kind: "cluster",
  name: of.name,
  before: state.clusters.get(of.name),
  after: of,
});
const routeChange = (after: ReturnType<typeof httpRoute> | undefined): Change => {
  const before = state.routes.get("to-shop");
  return { kind: "route", name: "to-shop", before: before?.protocol === "http" ? before : undefined, after };
};

beforeEach(() => {
  faults = [];
  factory = new ResourceFactory(({ type, name }) => faults.push(`${type} ${name}`));
  state = fresh();
  edge = snapshotOf("edge");
});

test("a gateway has what its listeners reach, and nothing else", () => {
  expect(names(edge)).toEqual({ cluster: "shop,tcp/to-raw", endpoint: "shop,tcp/to-raw", listener: "tcp-in,web", route: "web" });
  const inner = { cluster: "inner,tcp/to-raw", endpoint: "inner,tcp/to-raw", listener: "inside,tcp-in", route: "inside" };
  expect(names(snapshotOf("inner"))).toEqual(inner);
  expect(names(snapshotOf("nowhere"))).toEqual({ cluster: "", endpoint: "", listener: "", route: "" });
});

describe("a change", () => {
  test("of what is not reached, or to what is there already, publishes nothing", () => {
    const before = seqs();
    expect(change(0, put(cluster("spare", { connectTimeoutMs: 7 })))).toBe(false);
    expect(change(0, put(cluster("inner", { connectTimeoutMs: 7 })))).toBe(false);
    expect(change(0, put(cluster("shop")))).toBe(false);
    expect(seqs()).toEqual(before);
    expect(edge.revision).toBe(4);
    expect([2, 3, 4].map((revision) => edge.changedBy(revision))).toEqual([undefined, undefined, undefined]);
  });

  test("of a cluster sends its endpoints again, although they are the same, in one publication", () => {
    const endpoints = edge.tables.endpoint.get("shop");
    expect(change(0, put(cluster("shop", { connectTimeoutMs: 7 })))).toBe(true);
    expect(edge.tables.cluster.changedSince(1)).toEqual(["shop"]);
    expect(edge.tables.endpoint.changedSince(1)).toEqual(["shop"]);
    expect(edge.tables.endpoint.get("shop")).toBe(endpoints);
    expect([edge.tables.cluster.seq, edge.tables.endpoint.seq]).toEqual([2, 2]);
    expect([...(edge.changedBy(2) ?? [])].map(([type, of]) => [type, ...of.keys()])).toEqual([["cluster", "shop"]]);
  });

  test("of an endpoint is its cluster's endpoints alone; of a route its RouteConfiguration, and which route", () => {
    const after = endpoint("shop", "10.0.0.9");
    change(0, { kind: "endpoint", name: `shop/${addressKey(after)}`, before: undefined, after });
    expect(seqs()).toEqual([1, 2, 1, 1]);
    change(0, routeChange(httpRoute("to-shop", ["shop"], { hosts: ["a.example"] })));
    expect(seqs()).toEqual([1, 2, 1, 3]);
    expect(edge.changedBy(3)?.get("route")?.get("web")).toEqual(["to-shop"]);
  });

  test("of a listener that leaves the gateway takes it away, with its RouteConfiguration, and retires what only it reached", () => {
    const [before, after] = [listener("web", "http"), listener("web", "http", { gateways: ["inner"] })];
    change(100, { kind: "listener", name: "web", before, after });
    expect(names(edge)).toMatchObject({ listener: "tcp-in", route: "", cluster: "shop,tcp/to-raw" });
    expect(edge.nextRemovalAt()).toBe(100 + graceMs);
  });

  test("that can't be translated leaves the last good form, and is told", () => {
    const before = edge.tables.endpoint.get("shop");
    const after = endpoint("shop", "10.0.0.9", { port: -1 });
    change(0, { kind: "endpoint", name: "shop/10.0.0.9:-1", before: undefined, after });
    expect(faults).toEqual(["endpoint shop"]);
    expect(edge.tables.endpoint.get("shop")).toBe(before);
  });
});

describe("a cluster that nothing names any more", () => {
  beforeEach(() => void change(100, routeChange(undefined)));

  test("stays for its grace with its endpoints, and then goes with them", () => {
    expect(names(edge)).toMatchObject({ cluster: "shop,tcp/to-raw", endpoint: "shop,tcp/to-raw", route: "web" });
    expect(edge.nextRemovalAt()).toBe(100 + graceMs);
    expect(edge.removeRetired(state, 99 + graceMs)).toBe(false);
    expect(edge.removeRetired(state, 100 + graceMs)).toBe(true);
    expect(names(edge)).toMatchObject({ cluster: "tcp/to-raw", endpoint: "tcp/to-raw" });
    expect([edge.tables.cluster.unreferencedSeq("shop"), edge.tables.cluster.removedSeq, edge.nextRemovalAt()]).toEqual([
      2,
      3,
      undefined,
    ]);
    expect(edge.revision).toBe(2);
  });

  test("is kept up to date meanwhile, and its grace does not begin anew", () => {
    const after = endpoint("shop", "10.0.0.9");
    expect(change(500, { kind: "endpoint", name: `shop/${addressKey(after)}`, before: undefined, after })).toBe(true);
    expect(edge.nextRemovalAt()).toBe(100 + graceMs);
  });

  test("that is named again stays", () => {
    change(500, routeChange(httpRoute("to-shop", ["shop"])));
    expect(edge.nextRemovalAt()).toBeUndefined();
    expect(edge.removeRetired(state, 10_000)).toBe(false);
    expect(names(edge)).toMatchObject({ cluster: "shop,tcp/to-raw" });
  });

  test("that is deleted keeps its last endpoints until it goes", () => {
    const before = edge.tables.endpoint.get("shop");
    change(
      500,
      { kind: "endpoint", name: "shop/10.0.0.1:80", before: endpoint("shop", "10.0.0.1"), after: undefined },
      { kind: "cluster", name: "shop", before: cluster("shop"), after: undefined },
    );
    expect(edge.tables.endpoint.get("shop")).toBe(before);
    edge.removeRetired(state, 100 + graceMs);
    expect(names(edge)).toMatchObject({ cluster: "tcp/to-raw", endpoint: "tcp/to-raw" });
  });
});

describe("a rebuild, on another history", () => {
  test("of equal content publishes nothing, at whatever revision", () => {
    const before = seqs();
    state = fresh({}, 99);
    factory.begin();
    expect(edge.rebuild(state, 0)).toBe(false);
    expect([seqs(), edge.revision]).toEqual([before, 99]);
  });

  test("publishes what differs, removes what is gone, and leaves the rest", () => {
    state = fresh(
      {
        clusters: [cluster("shop", { connectTimeoutMs: 9 })],
        endpoints: [endpoint("shop", "10.0.0.1")],
        listeners: [listener("web", "http")],
        routes: [httpRoute("to-shop", ["shop"])],
      },
      1,
    );
    factory.begin();
    expect(edge.rebuild(state, 0)).toBe(true);
    expect(edge.tables.cluster.changedSince(1)).toEqual(["shop"]);
    expect(edge.tables.listener.changedSince(1)).toEqual(["tcp-in"]);
    expect(edge.tables.route.changedSince(1)).toEqual([]);
    expect(names(edge)).toEqual({ cluster: "shop,tcp/to-raw", endpoint: "shop,tcp/to-raw", listener: "web", route: "web" });
    edge.removeRetired(state, graceMs);
    expect(names(edge)).toMatchObject({ cluster: "shop" });
  });
});

test("an Envoy's clusters are taken in for a grace as far as they exist, with their endpoints", () => {
  factory.begin();
  expect(edge.adopt(state, ["spare", "inner", "shop", "no-such"], 50)).toBe(true);
  expect(names(edge)).toMatchObject({ cluster: "inner,shop,spare,tcp/to-raw", endpoint: "inner,shop,spare,tcp/to-raw" });
  expect(edge.adopt(state, ["spare"], 60)).toBe(false);
  edge.removeRetired(state, 50 + graceMs);
  expect(names(edge)).toMatchObject({ cluster: "shop,tcp/to-raw" });
});
