// What the real Envoy is asked about: all that a write touches in its whole new form, and nothing else.
import { expect, test } from "vitest";
import { DesiredState } from "../../../src/model/desired-state.js";
import type { Change } from "../../../src/model/revision.js";
import { withBackends } from "../../../src/model/route.js";
import { type Selection, selectChanged, selectOnly, suspectsOf } from "../../../src/plan/selection.js";
import { StateAfter } from "../../../src/plan/state-after.js";
import { readState } from "../../golden/state.js";

const rows = readState(`
clusters:
  - { name: a, endpoints: [{ address: 10.0.0.1, port: 80 }, { address: 10.0.0.2, port: 80 }] }
  - { name: b }
  - { name: new }
  - { name: t, protocol: tcp, endpoints: [{ address: 10.0.0.3, port: 80 }] }
listeners:
  - { name: web, protocol: http, port: 80 }
  - { name: tcp-in, protocol: tcp, port: 81 }
  - { name: split-in, protocol: tcp, port: 82 }
routes:
  - { name: front, backends: [{ cluster: a, weight: 95 }, { cluster: b, weight: 5 }] }
  - { name: back, backends: [{ cluster: b }] }
  - { name: raw, protocol: tcp, listener: tcp-in, backends: [{ cluster: t }] }
  - { name: hard, protocol: tcp, listener: split-in, split: listener, backends: [{ cluster: t }] }
`);
const state = DesiredState.from(rows);
const found = <T extends { readonly name: string }>(all: readonly T[], name: string): T => {
  const one = all.find((object) => object.name === name);
  if (!one) throw new Error(`no ${name}`);
  return one;
};

/** As `cluster:endpoints`, names of splits, and `listener:routes`. */
const shown = ({ clusters, splits, listeners }: Selection): string[] => [
  ...[...clusters].map(([name, endpoints]) => `cluster ${name}: ${endpoints.length}`),
  ...[...splits.keys()].map((name) => `split ${name}`),
  ...[...listeners].map(([name, routes]) => `listener ${name}: ${routes.map((route) => route.name).sort()}`),
];
const select = (...changes: Change[]): string[] => shown(selectChanged(new StateAfter(state, changes), changes));

const clusterChange = (name: string): Change => {
  const before = found(rows.clusters, name);
  return { kind: "cluster", name, before, after: { ...before, connectTimeoutMs: 1 } };
};
const front = found(rows.routes, "front");

test("a shift of weights is its listener's RouteConfiguration alone", () => {
  const after = withBackends(front, [
    { cluster: "a", weight: 1 },
    { cluster: "b", weight: 99 },
  ]);
  expect(select({ kind: "route", name: "front", before: front, after })).toEqual(["listener web: back,front"]);
});

test("a cluster that a route names for the first time is looked at, with its endpoints", () => {
  const after = withBackends(front, [
    { cluster: "a", weight: 1 },
    { cluster: "new", weight: 99 },
  ]);
  expect(select({ kind: "route", name: "front", before: front, after })).toEqual(["cluster new: 0", "listener web: back,front"]);
});

test("a cluster, or one of its endpoints, is looked at in the clusters of the L4 routes that mix it, too", () => {
  expect(select(clusterChange("t"))).toEqual(["cluster t: 1", "split raw"]);
  const before = rows.endpoints.find(({ cluster }) => cluster === "t");
  const gone: Change = { kind: "endpoint", name: "t/10.0.0.3:80", before, after: undefined };
  expect(select(gone)).toEqual(["cluster t: 0", "split raw"]);
  expect(select(clusterChange("a"))).toEqual(["cluster a: 2"]);
});

test("an L4 route is its listener, its own cluster, and what it names; a removed one leaves its listener", () => {
  const raw = found(rows.routes, "raw");
  expect(select({ kind: "route", name: "raw", before: undefined, after: raw })).toEqual([
    "cluster t: 1",
    "split raw",
    "listener tcp-in: raw",
  ]);
  expect(select({ kind: "route", name: "raw", before: raw, after: undefined })).toEqual(["listener tcp-in: "]);
});

test("an HTTP listener that is edited is looked at without its routes; together with one of them, with all", () => {
  const before = found(rows.listeners, "web");
  const edited: Change = { kind: "listener", name: "web", before, after: { ...before, port: 8080 } };
  const route: Change = {
    kind: "route",
    name: "front",
    before: front,
    after: withBackends(front, [{ cluster: "a", weight: 1 }]),
  };
  expect(select(edited)).toEqual(["listener web: "]);
  for (const changes of [
    [edited, route],
    [route, edited],
  ])
    expect(select(...changes)).toEqual(["listener web: back,front"]);
});

test("what is deleted and leaves nothing behind is nothing to ask about", () => {
  const before = found(rows.clusters, "new");
  expect(select({ kind: "cluster", name: "new", before, after: undefined })).toEqual([]);
});

test("suspects are the write's own objects first; alone, each brings no more than it needs", () => {
  const changes = [clusterChange("t"), clusterChange("a")];
  const after = new StateAfter(state, changes);
  const suspects = suspectsOf(selectChanged(after, changes), changes).map(({ kind, name }) => `${kind} ${name}`);
  expect(suspects).toEqual([
    "cluster t",
    "cluster a",
    "endpoint t/10.0.0.3:80",
    "endpoint a/10.0.0.1:80",
    "endpoint a/10.0.0.2:80",
  ]);
  expect(shown(selectOnly(after, [{ kind: "cluster", name: "a" }]))).toEqual(["cluster a: 0"]);
  expect(shown(selectOnly(after, [{ kind: "endpoint", name: "a/10.0.0.2:80" }]))).toEqual(["cluster a: 1"]);
  expect(shown(selectOnly(after, [{ kind: "route", name: "front" }]))).toEqual(["listener web: front"]);
  expect(shown(selectOnly(after, [{ kind: "route", name: "raw" }]))).toEqual(["split raw", "listener tcp-in: raw"]);
});
