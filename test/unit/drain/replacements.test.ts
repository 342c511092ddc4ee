// Which hosts may have been replaced, and when, by what changed. A time that is too early would hide connections on a replaced host.
// Mutants that it caught: a removal without a drain that replaces nothing; a cluster that no route names any more left out; weights
// that replace; a drain's removal taken for settled before that is known; the other backends of a TCP route left out; a staged rollout
// passed over.
import { beforeEach, expect, test } from "vitest";
import { Replacements } from "../../../src/drain/replacements.js";
import { addressKey, type Endpoint } from "../../../src/model/endpoint.js";
import type { Change } from "../../../src/model/revision.js";
import { type Route, withBackends } from "../../../src/model/route.js";
import {
  cluster,
  endpoint as endpointAt,
  httpListener,
  httpRoute as httpRouteTo,
  tcpRoute as tcpRouteTo,
} from "../../support/stream-world.js";

const port = 80;
const endpoint = (): Endpoint => endpointAt("app", port);
const weighted = (route: Route, weights: Readonly<Record<string, number>>): Route =>
  withBackends(
    route,
    Object.entries(weights).map(([name, weight]) => ({ cluster: name, weight })),
  );
const httpRoute = (weights: Readonly<Record<string, number>>): Route =>
  weighted(httpRouteTo("r", "web", "/", Object.keys(weights)), weights);
const tcpRoute = (weights: Readonly<Record<string, number>>): Route =>
  weighted(tcpRouteTo("r", "web", Object.keys(weights)), weights);

let now: number;
let routes: Route[];
let staged: Change[];
let replacements: Replacements;

beforeEach(() => {
  now = 1_000;
  routes = [];
  staged = [];
  replacements = new Replacements({
    now: () => now,
    routesOfListener: () => routes,
    routesOfCluster: () => routes,
    changesOfOverlay: () => staged,
  });
  now = 2_000;
});

const other = "10.9.9.9:80";
const key = addressKey(endpoint());
const since = (name = "app", of = key): number | undefined => replacements.steady(name, of).replacedAt;
const revision = (...changes: Change[]): void => replacements.revision({ changes });
const ofEndpoint = (before: Endpoint | undefined, after: Endpoint | undefined): Change => ({
  kind: "endpoint",
  name: `app/${key}`,
  before,
  after,
});
const ofCluster = (isNew = false): Change => ({
  kind: "cluster",
  name: "app",
  before: isNew ? undefined : cluster("app"),
  after: cluster("app"),
});
const ofRoute = (before: Route | undefined, after: Route | undefined): Change => ({ kind: "route", name: "r", before, after });

test("what was there when this process read everything may have been replaced until then, and is steady since", () => {
  expect(since()).toBe(1_000);
  revision(ofEndpoint(endpoint(), { ...endpoint(), enabled: false, weight: 3 }));
  expect(replacements.steady("app", key)).toEqual({ since: 1_000, replacedAt: 1_000 });
});

test("what was made since then was never replaced", () => {
  revision(ofEndpoint(undefined, endpoint()));
  expect([since(), since("app", other)]).toEqual([undefined, 1_000]);
  revision({ ...ofCluster(true), name: "next" });
  expect(replacements.steady("next", other)).toEqual({ since: 1_000, replacedAt: undefined });
});

test("a change of the cluster, and of nothing but the cluster, replaces all of its hosts", () => {
  revision(ofCluster());
  expect([since(), since("app", other), since("other")]).toEqual([2_000, 2_000, 1_000]);
});

test("and those of the other backends of its TCP routes, which are one cluster in Envoy", () => {
  routes = [tcpRoute({ app: 1, next: 1 }), httpRoute({ app: 1, beside: 1 })];
  revision(ofCluster());
  expect([since("next"), since("beside")]).toEqual([2_000, 1_000]);
});

test("an endpoint that goes, or moves, is replaced, and no other", () => {
  revision(ofEndpoint(endpoint(), undefined));
  expect([since(), since("app", other)]).toEqual([2_000, 1_000]);
  now = 3_000;
  revision(ofEndpoint(endpoint(), { ...endpoint(), priority: 1 }));
  expect(since()).toBe(3_000);
});

test("one that a drain took away is replaced, until it is known that nothing was left behind", () => {
  revision(ofEndpoint(undefined, endpoint()));
  revision(ofEndpoint({ ...endpoint(), drain: { id: "d1", phase: "draining" } }, undefined));
  expect([since(), replacements.undecided()]).toEqual([2_000, ["d1"]]);
  replacements.decide("d1", true);
  expect([since(), replacements.undecided()]).toEqual([undefined, []]);
  now = 3_000;
  revision(ofEndpoint({ ...endpoint(), drain: { id: "d2", phase: "closing" } }, undefined));
  now = 4_000;
  revision(ofEndpoint({ ...endpoint(), drain: { id: "d3", phase: "draining" } }, undefined));
  replacements.decide("d3", true);
  expect(since()).toBe(3_000);
  now = 5_000;
  revision(ofEndpoint({ ...endpoint(), drain: { id: "d4", phase: "draining" } }, undefined));
  now = 6_000;
  replacements.decide("d4", false);
  expect(since()).toBe(5_000);
});

test("weights replace nothing; what a route lets go of may leave an Envoy and come again", () => {
  const weights = (app: number, next: number) => httpRoute({ app, next });
  revision(ofRoute(weights(1, 9), weights(9, 1)), ofRoute(tcpRoute({ app: 1 }), tcpRoute({ app: 7 })));
  expect([since("app"), since("next")]).toEqual([1_000, 1_000]);
  revision(ofRoute(weights(1, 9), httpRoute({ app: 1 })));
  expect([since("app"), since("next")]).toEqual([1_000, 2_000]);
  revision(ofRoute(tcpRoute({ app: 1 }), undefined));
  expect(since("app")).toBe(2_000);
});

test("a listener that changes may take all that it reaches away", () => {
  routes = [httpRoute({ app: 1 })];
  revision({ kind: "listener", name: "web", before: httpListener("web", 80), after: undefined });
  expect([since("app"), since("other")]).toEqual([2_000, 1_000]);
});

test("a staged rollout replaces what it changes when it begins, at each stage, and when it ends", () => {
  replacements.revision({ changes: [], overlays: [{ name: "o", after: { shares: new Map(), changes: [ofCluster()] } }] });
  expect(since()).toBe(2_000);
  now = 3_000;
  staged = [ofEndpoint(undefined, endpoint())]; // At its end, what it added goes.
  replacements.revision({ changes: [], overlays: [{ name: "o", after: undefined }] });
  expect([since(), since("app", other)]).toEqual([3_000, 2_000]);
});

test("a full load may have changed everything", () => {
  revision(ofEndpoint(undefined, endpoint()));
  replacements.loaded();
  expect([since("app"), since("other")]).toEqual([2_000, 2_000]);
});

test("what was done of late explains hosts that come or go, in its own cluster and for some seconds", () => {
  revision(ofEndpoint(undefined, endpoint()));
  const explained = (name: string, at: number) => replacements.explains(name, at);
  expect([explained("app", 3_000), explained("other", 3_000)]).toEqual([true, false]);
  expect([explained("app", 0), explained("app", 12_000), explained("app", 12_001)]).toEqual([true, true, false]);
});
