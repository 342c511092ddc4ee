// Since when a host can't have been replaced, by what changed. A time that is too early would hide connections on a replaced host.
// Mutants that it caught: a removal without a drain that replaces nothing; a cluster that no route names any more left out; weights
// that replace.
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
let settled: Set<string>;
let routes: Route[];
let replacements: Replacements;

beforeEach(() => {
  now = 1_000;
  settled = new Set();
  routes = [];
  replacements = new Replacements({
    now: () => now,
    routesOfListener: () => routes,
    wasSettled: (of) => settled.has(addressKey(of)),
  });
  now = 2_000;
});

const other = "10.9.9.9:80";
const since = (name = "app", key = addressKey(endpoint())): number => replacements.steadySince(name, key);
const ofEndpoint = (before: Endpoint | undefined, after: Endpoint | undefined): Change => ({
  kind: "endpoint",
  name: `app/${addressKey(endpoint())}`,
  before,
  after,
});
const ofRoute = (before: Route | undefined, after: Route | undefined): Change => ({ kind: "route", name: "r", before, after });

test("what this process has not seen change is steady since it began", () => {
  expect(since()).toBe(1_000);
  replacements.revision([{ kind: "cluster", name: "app", before: undefined, after: cluster("app") }]);
  replacements.revision([
    ofEndpoint(undefined, endpoint()),
    ofEndpoint(endpoint(), { ...endpoint(), enabled: false, weight: 3 }),
  ]);
  expect(since()).toBe(1_000);
});

test("a change of the cluster, and of nothing but the cluster, replaces all of its hosts", () => {
  replacements.revision([{ kind: "cluster", name: "app", before: cluster("app"), after: cluster("app") }]);
  expect([since(), since("app", other), since("other")]).toEqual([2_000, 2_000, 1_000]);
});

test("an endpoint that goes, or moves, is replaced, and no other; not after a drain that left nothing behind", () => {
  settled.add(addressKey(endpoint()));
  replacements.revision([ofEndpoint(endpoint(), undefined)]);
  expect(since()).toBe(1_000);
  settled.clear();
  replacements.revision([ofEndpoint(endpoint(), undefined)]);
  expect([since(), since("app", other)]).toEqual([2_000, 1_000]);
  now = 3_000;
  replacements.revision([ofEndpoint(endpoint(), { ...endpoint(), priority: 1 })]);
  expect(since()).toBe(3_000);
});

test("weights replace nothing; what a route lets go of may leave an Envoy and come again", () => {
  const weights = (app: number, next: number) => httpRoute({ app, next });
  replacements.revision([ofRoute(weights(1, 9), weights(9, 1)), ofRoute(tcpRoute({ app: 1 }), tcpRoute({ app: 7 }))]);
  expect([since("app"), since("next")]).toEqual([1_000, 1_000]);
  replacements.revision([ofRoute(weights(1, 9), httpRoute({ app: 1 }))]);
  expect([since("app"), since("next")]).toEqual([1_000, 2_000]);
  replacements.revision([ofRoute(tcpRoute({ app: 1 }), undefined)]);
  expect(since("app")).toBe(2_000);
});

test("a listener that changes may take all that it reaches away", () => {
  routes = [httpRoute({ app: 1 })];
  replacements.revision([{ kind: "listener", name: "web", before: httpListener("web", 80), after: undefined }]);
  expect([since("app"), since("other")]).toEqual([2_000, 1_000]);
});

test("a full load may have changed everything", () => {
  replacements.loaded();
  expect([since("app"), since("other")]).toEqual([2_000, 2_000]);
});
