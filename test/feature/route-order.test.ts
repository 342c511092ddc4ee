// The order among routes is a rule, not a list: total, transitive, and blind to the order in which routes were made. What Envoy gets is
// the same bytes whichever came first.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { HttpListener } from "../../src/model/listener.js";
import type { HttpRoute, NamedMatch, PathMatch } from "../../src/model/route.js";
import { compareRoutes } from "../../src/model/route-order.js";
import { routeResource } from "../../src/translate/resources.js";

const listener: HttpListener = {
  protocol: "http",
  name: "web",
  address: "0.0.0.0",
  port: 80,
  gateways: ["edge"],
  idleTimeoutMs: 3_600_000,
  trustedHops: 0,
};

const path: fc.Arbitrary<PathMatch> = fc.oneof(
  fc.record({ kind: fc.constant("exact" as const), value: fc.constantFrom("/", "/a", "/a/b") }),
  fc.record({ kind: fc.constant("prefix" as const), value: fc.constantFrom("/", "/a", "/a/", "/a/b", "/ab") }),
  fc.record({ kind: fc.constant("regex" as const), value: fc.constantFrom("/a.*", "/[0-9]+") }),
);
const condition: fc.Arbitrary<NamedMatch> = fc.record({
  name: fc.constantFrom("x-a", "x-b"),
  match: fc.constantFrom({ kind: "present" as const }, { kind: "exact" as const, value: "1" }),
  not: fc.constant(false),
});
const conditions = fc.array(condition, { maxLength: 2 });

/** Few values for each part, so that ties at every step of the rule are common. */
const parts = fc.record({
  priority: fc.constantFrom(-1, 0, 0, 0, 5),
  hosts: fc.constantFrom([], ["a.example.com"], ["*.example.com"], ["b.test"], ["a.example.com", "b.test"]),
  match: fc.record({
    path,
    methods: fc.constantFrom([], ["GET"], ["GET", "POST"]),
    headers: conditions,
    query: conditions,
    cookies: conditions,
  }),
});

const routeSet: fc.Arbitrary<HttpRoute[]> = fc.array(parts, { minLength: 1, maxLength: 8 }).map((all) =>
  all.map((one, index) => ({
    protocol: "http",
    name: `r${index}`,
    listeners: ["web"],
    ...one,
    action: {
      kind: "forward",
      backends: [{ cluster: `c${index}`, weight: 1 }],
      timeoutMs: 15_000,
      retry: undefined,
      rewritePrefix: undefined,
      rewriteHost: undefined,
      upgrades: [],
      sticky: undefined,
      hashOn: [],
    },
  })),
);
/** A set, and the same set in another order. */
const shuffled = routeSet.chain((routes) =>
  fc.tuple(fc.constant(routes), fc.shuffledSubarray(routes, { minLength: routes.length })),
);
const runs = { numRuns: 500 };

type Compare = (a: HttpRoute, b: HttpRoute) => number;

/** Total: only a route itself is equal to it, and turning the question round turns the answer. Transitive. */
function isTotalOrder(compare: Compare, routes: readonly HttpRoute[]): boolean {
  return routes.every((a) =>
    routes.every(
      (b) =>
        Math.sign(compare(a, b)) === -Math.sign(compare(b, a)) &&
        (compare(a, b) === 0) === (a.name === b.name) &&
        routes.every((c) => !(compare(a, b) < 0 && compare(b, c) < 0) || compare(a, c) < 0),
    ),
  );
}

describe("the order among routes", () => {
  test("is total and transitive", () => {
    fc.assert(
      fc.property(routeSet, (routes) => isTotalOrder(compareRoutes, routes)),
      runs,
    );
  });

  test("does not depend on the order in which routes were made: Envoy gets the same bytes", () => {
    fc.assert(
      fc.property(shuffled, ([routes, others]) => {
        // Fresh objects: what is remembered per object must not hide a difference.
        const bytes = routeResource(listener, structuredClone(routes)).bytes;
        return bytes.equals(routeResource(listener, structuredClone(others)).bytes);
      }),
      runs,
    );
  });

  test("puts what is more specific first", () => {
    fc.assert(
      fc.property(routeSet, (routes) => {
        const sorted = [...routes].sort(compareRoutes);
        return sorted.every((first, index) =>
          sorted.slice(index + 1).every((later) => {
            if (first.priority !== later.priority) return first.priority > later.priority;
            return !(later.match.path.kind === "exact" && first.match.path.kind !== "exact");
          }),
        );
      }),
      runs,
    );
  });
});

describe("a rule with a fault is found", () => {
  test("one without the name at its end is not total", () => {
    const faulty: Compare = (a, b) => b.priority - a.priority;
    expect(
      fc.check(
        fc.property(routeSet, (routes) => isTotalOrder(faulty, routes)),
        runs,
      ).failed,
    ).toBe(true);
  });

  test("one that sums up conditions against path lengths is not transitive, or not what the rule says", () => {
    const specific = (route: HttpRoute): number => route.match.headers.length + route.match.path.value.length;
    const faulty: Compare = (a, b) =>
      (a.match.path.kind === b.match.path.kind ? specific(b) - specific(a) : 0) ||
      (a.name < b.name ? -1 : Number(a.name > b.name));
    expect(
      fc.check(
        fc.property(routeSet, (routes) => isTotalOrder(faulty, routes)),
        { numRuns: 5_000 },
      ).failed,
    ).toBe(true);
  });
});
