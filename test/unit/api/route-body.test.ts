// Bodies of routes and what they mean: defaults, and that showing an object and reading it again changes nothing.
import fc from "fast-check";
import { expect, test } from "vitest";
import { fromRouteBody, namesIn, routeBodyProblems, toRouteBody } from "../../../src/api/route-body.js";
import type { HttpRoute, NamedMatch, Route, Sticky, ValueMatch } from "../../../src/model/route.js";
import { backends, byName, cluster, forward, httpRoute, tcpRoute, udpRoute } from "../model/samples.js";

const clusters = byName(cluster("web"), cluster("grpc", { protocol: "grpc" }));
const timeoutOf = (body: object): number | undefined => {
  const route = fromRouteBody("r", { protocol: "http", listeners: ["l"], backends: [{ cluster: "web" }], ...body }, clusters);
  return route.protocol === "http" && route.action.kind === "forward" ? route.action.timeoutMs : undefined;
};

test("the default timeout is 15 s, and none where streams may run", () => {
  expect(timeoutOf({})).toBe(15_000);
  expect(timeoutOf({ upgrades: [] })).toBe(15_000);
  expect(timeoutOf({ upgrades: ["websocket"] })).toBe(0);
  expect(timeoutOf({ backends: [{ cluster: "web" }, { cluster: "grpc" }] })).toBe(0);
  expect(timeoutOf({ backends: [{ cluster: "grpc" }], timeoutMs: 500 })).toBe(500);
});

test("hosts, server names and headers are kept in lower case", () => {
  const route = fromRouteBody(
    "r",
    {
      protocol: "http",
      listeners: ["l"],
      backends: [{ cluster: "web" }],
      hosts: ["Shop.Example.COM"],
      match: { headers: [{ name: "X-Canary", exact: "True" }], cookies: [{ name: "Beta", present: true }] },
    },
    clusters,
  ) as HttpRoute;
  expect(route.hosts).toEqual(["shop.example.com"]);
  expect(route.match.headers).toEqual([{ name: "x-canary", match: { kind: "exact", value: "True" }, not: false }]);
  expect(route.match.cookies).toEqual([{ name: "Beta", match: { kind: "present" }, not: false }]);
});

test("names are locked sorted, each once", () => {
  expect(
    namesIn({ protocol: "http", listeners: ["z", "a"], backends: [{ cluster: "y" }, { cluster: "b" }, { cluster: "y" }] }),
  ).toEqual({ listeners: ["a", "z"], clusters: ["b", "y"] });
  expect(namesIn({ protocol: "http", listeners: ["a"], redirect: { scheme: "https" } }).clusters).toEqual([]);
});

test("a route has backends or a redirect that goes somewhere, and not both", () => {
  const faults = (body: object): readonly string[] =>
    routeBodyProblems({ protocol: "http", listeners: ["l"], ...body }).map(({ code, pointer }) => `${code} ${pointer}`);
  expect(faults({ backends: [] })).toEqual([]);
  expect(faults({ redirect: { scheme: "https" } })).toEqual([]);
  expect(faults({})).toEqual(["missing_field /backends"]);
  expect(faults({ redirect: { status: 308 } })).toEqual(["missing_field /redirect"]);
  expect(
    faults({ redirect: { scheme: "https" }, backends: [], timeoutMs: 1, sticky: { kind: "canary-header", header: "a" } }),
  ).toEqual(["contradiction /backends", "contradiction /timeoutMs", "contradiction /sticky"]);
});

const name = fc.constantFrom("a", "b", "c", "d");
const value = fc.string({ minLength: 1, maxLength: 5 });
const comparison: fc.Arbitrary<ValueMatch> = fc.oneof(
  fc.record({
    kind: fc.constantFrom("exact" as const, "prefix" as const, "suffix" as const, "contains" as const, "regex" as const),
    value,
  }),
  fc.constant({ kind: "present" } as const),
);
const conditions: fc.Arbitrary<readonly NamedMatch[]> = fc.array(fc.record({ name, match: comparison, not: fc.boolean() }), {
  maxLength: 3,
});
const questions = conditions.map((list) => list.map((one) => ({ ...one, not: false })));
const sticky: fc.Arbitrary<Sticky | undefined> = fc.constantFrom(
  undefined,
  { kind: "session-cookie", cookie: "c", ttlMs: 5, path: "/" },
  { kind: "canary-header", header: "x-user" },
  { kind: "canary-cookie", cookie: "c" },
);
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined });
const forwards = fc
  .record({
    backends: fc.uniqueArray(name, { minLength: 1 }).map((names) => backends(...names)),
    timeoutMs: fc.nat(),
    retry: maybe(fc.constant({ on: ["5xx", "reset"] as const, attempts: 2, perTryTimeoutMs: 10 })),
    rewritePrefix: maybe(fc.constant("/x")),
    rewriteHost: maybe(fc.constant("h")),
    upgrades: fc.constantFrom([] as const, ["websocket"] as const),
    sticky,
    hashOn: fc.constantFrom(
      [],
      [{ kind: "source-ip" } as const, { kind: "cookie", name: "C" } as const, { kind: "header", name: "x-h" } as const],
    ),
  })
  .map((more) => forward([], more));
const redirects = fc
  .record({
    scheme: fc.constantFrom(undefined, "https" as const),
    host: maybe(fc.constant("h")),
    port: maybe(fc.constant(1)),
    path: maybe(fc.constant("/p")),
    prefix: maybe(fc.constant("/q")),
    status: fc.constantFrom(301 as const, 308 as const),
  })
  .map((redirect) => ({ kind: "redirect", redirect }) as const);
const httpRoutes = fc
  .record({
    priority: fc.integer({ min: -5, max: 5 }),
    listeners: fc.uniqueArray(name, { minLength: 1 }),
    hosts: fc.uniqueArray(fc.constantFrom("x.example.com", "*.example.com")),
    match: fc.record({
      path: fc.record({ kind: fc.constantFrom("exact" as const, "prefix" as const, "regex" as const), value }),
      methods: fc.uniqueArray(fc.constantFrom("GET", "POST")),
      headers: conditions,
      query: questions,
      cookies: conditions,
    }),
    action: fc.oneof(forwards, redirects),
  })
  .map((more) => httpRoute("r", [], more));
const routes: fc.Arbitrary<Route> = fc.oneof(
  httpRoutes,
  fc
    .record({
      sni: fc.uniqueArray(fc.constantFrom("x", "*.y")),
      hashOnSourceIp: fc.boolean(),
      idleTimeoutMs: fc.nat(),
      split: fc.constantFrom("endpoints" as const, "listener" as const),
    })
    .map((more) => tcpRoute("r", ["a", "b"], more)),
  fc.record({ hashOnSourceIp: fc.boolean(), idleTimeoutMs: fc.nat() }).map((more) => udpRoute("r", ["a"], more)),
);

test("a route that is shown and read again is the same, through JSON too", () => {
  fc.assert(
    fc.property(routes, (route) => {
      const body = toRouteBody(route);
      expect(fromRouteBody("r", body, new Map())).toEqual(route);
      expect(fromRouteBody("r", JSON.parse(JSON.stringify(body)), new Map())).toEqual(route);
    }),
    { numRuns: 1_000 },
  );
});
