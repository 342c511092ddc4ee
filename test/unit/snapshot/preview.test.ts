// Promises of a preview: it tells what would change and for whom, publishes nothing, and leaves the live state as it was, to the object.
import { beforeEach, describe, expect, test } from "vitest";
import { DesiredState } from "../../../src/model/desired-state.js";
import type { Change } from "../../../src/model/revision.js";
import type { Preview } from "../../../src/snapshot/preview.js";
import { Snapshots } from "../../../src/snapshot/snapshots.js";
import { cluster, endpoint, forward, httpRoute, listener, tcpCheck, tcpRoute } from "../model/samples.js";

const [shop, raw] = [cluster("shop"), cluster("raw", { protocol: "tcp" })];
const [one, two] = [endpoint("shop", "10.0.0.1"), endpoint("raw", "10.0.0.2")];
const [web, tcpIn] = [listener("web", "http"), listener("tcp-in", "tcp", { gateways: ["edge", "inner"] })];
const [toShop, toRaw] = [httpRoute("to-shop", ["shop"]), tcpRoute("to-raw", ["raw"])];

const fresh = (): DesiredState =>
  DesiredState.from({
    revision: 7,
    id: "seven",
    clusters: [shop, raw],
    endpoints: [one, two],
    listeners: [web, tcpIn],
    routes: [toShop, toRaw],
  });

let snapshots: Snapshots;
let published = 0;
beforeEach(() => {
  snapshots = new Snapshots({ removalGraceMs: 1_000, now: () => 0, onFault: () => {} });
  snapshots.load(fresh());
  published = 0;
  snapshots.onPublished(() => {
    published += 1;
  });
});

const changed: readonly Change[] = [
  { kind: "cluster", name: "shop", before: shop, after: cluster("shop", { connectTimeoutMs: 9 }) },
  { kind: "endpoint", name: "raw/10.0.0.2:80", before: two, after: undefined },
  { kind: "route", name: "to-shop", before: toShop, after: undefined },
  { kind: "listener", name: "tcp-in", before: tcpIn, after: listener("tcp-in", "tcp", { gateways: ["inner", "new"] }) },
  { kind: "cluster", name: "extra", before: undefined, after: cluster("extra") },
];

const shown = (preview: Preview | undefined): string[] =>
  [...(preview?.gateways ?? [])].flatMap(([gateway, resources]) =>
    resources.map(({ type, name, before, after }) => `${gateway} ${type} ${name} ${before ? (after ? "~" : "-") : "+"}`),
  );

test("a preview names the clusters whose drains would end in another way, and no others", () => {
  const endless = httpRoute("to-shop", [], { action: forward(["shop"], { timeoutMs: 0 }) });
  const told = (changes: readonly Change[]): string[] =>
    (snapshots.preview(changes)?.guarantees ?? []).map(
      ({ cluster: of, before, after }) => `${of}: ${before?.kind} → ${after.kind}`,
    );
  expect(told([{ kind: "route", name: "to-shop", before: toShop, after: endless }])).toEqual([
    "shop: bounded-by-timeout → left-open",
  ]);
  expect(told([{ kind: "route", name: "to-raw", before: toRaw, after: undefined }])).toEqual([]);
  const coming: Change = { kind: "cluster", name: "mail", before: undefined, after: cluster("mail") };
  expect(told([coming])).toEqual([]);
  expect(told([coming, { kind: "route", name: "to-mail", before: undefined, after: httpRoute("to-mail", ["mail"]) }])).toEqual([
    "mail: undefined → bounded-by-timeout",
  ]);
  const closing = cluster("raw", {
    protocol: "tcp",
    healthChecks: [tcpCheck({ reuseConnection: false })],
    drain: { atDeadline: "close", timeoutMs: 1, sticky: "leave-at-once" },
  });
  expect(told([{ kind: "cluster", name: "raw", before: raw, after: closing }])).toEqual(["raw: left-open → kill-switch"]);
  expect(told([{ kind: "endpoint", name: "raw/10.0.0.2:80", before: two, after: undefined }])).toEqual([]);
});

describe("a preview", () => {
  test("tells what would change, for each gateway that is reached before or after", () => {
    expect(shown(snapshots.preview(changed))).toEqual([
      "edge cluster shop -",
      "edge cluster tcp/to-raw -",
      "edge endpoint shop -",
      "edge endpoint tcp/to-raw -",
      "edge listener tcp-in -",
      "edge route web ~",
      "inner endpoint tcp/to-raw ~",
      "new cluster tcp/to-raw +",
      "new endpoint tcp/to-raw +",
      "new listener tcp-in +",
    ]);
  });

  test("tells a gateway that is left, with nothing else there", () => {
    // Mutant: only gateways that are reached with the change.
    const moved = listener("web", "http", { gateways: ["inner"] });
    expect(shown(snapshots.preview([{ kind: "listener", name: "web", before: web, after: moved }]))).toContain(
      "edge listener web -",
    );
  });

  test("names the routes of a RouteConfiguration that differ", () => {
    const more = httpRoute("more", ["shop"]);
    const preview = snapshots.preview([{ kind: "route", name: "more", before: undefined, after: more }]);
    expect(preview?.gateways.get("edge")).toMatchObject([{ type: "route", name: "web", parts: ["more"] }]);
  });

  test("publishes nothing, and leaves the state as it was, object for object", () => {
    // Mutant: `tryOut` that undoes nothing.
    const state = snapshots.state;
    const held = snapshots.acquire("edge", "ads");
    const before = held.tables.route.get("web");
    snapshots.preview(changed);
    snapshots.preview([changed[2], changed[0], changed[3]].filter((change) => change !== undefined));
    expect([published, snapshots.revision, state?.id]).toEqual([0, 7, "seven"]);
    expect(held.tables.route.get("web")).toBe(before);
    expect(state?.clusters).toEqual(fresh().clusters);
    expect(state?.endpoints).toEqual(fresh().endpoints);
    expect(state?.routes.get("to-shop")).toBe(toShop);
    expect(state?.listeners.get("tcp-in")).toBe(tcpIn);
    for (const gateway of ["edge", "inner", "new"])
      expect([...(state?.listenersOfGateway(gateway) ?? [])].sort()).toEqual([...fresh().listenersOfGateway(gateway)].sort());
    expect([...(state?.routesOfCluster("shop") ?? [])]).toEqual(["to-shop"]);
    expect([...(state?.routesOfListener("web") ?? [])]).toEqual(["to-shop"]);
  });

  test("of changes that were made on another state is none", () => {
    const other = cluster("shop", { connectTimeoutMs: 1 });
    expect(snapshots.preview([{ kind: "cluster", name: "shop", before: other, after: shop }])).toBeUndefined();
    expect(snapshots.preview([{ kind: "cluster", name: "gone", before: other, after: undefined }])).toBeUndefined();
    expect(snapshots.preview([{ kind: "cluster", name: "shop", before: undefined, after: shop }])).toBeUndefined();
  });

  test("tells what could not be translated, and that its last good form would stay", () => {
    // A body never gets so far; a bug might.
    const broken = cluster("shop", { connectTimeoutMs: "soon" as unknown as number });
    const preview = snapshots.preview([{ kind: "cluster", name: "shop", before: shop, after: broken }]);
    expect(shown(preview)).toEqual([]);
    expect(preview?.faults).toMatchObject([{ type: "cluster", name: "shop" }]);
    expect(snapshots.state?.clusters.get("shop")).toBe(shop);
  });

  test("undoes what it tried when a look at it fails", () => {
    const state = fresh();
    expect(() =>
      state.tryOut(changed, () => {
        expect(state.clusters.has("extra")).toBe(true);
        throw new Error("looked too hard");
      }),
    ).toThrow("looked too hard");
    expect(state.clusters).toEqual(fresh().clusters);
  });
});
