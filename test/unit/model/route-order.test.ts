// The rule by which HTTP routes are tried: total, transitive, blind to the order of creation; and what goes first, step by step.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { HttpRoute, NamedMatch, PathMatch } from "../../../src/model/route.js";
import { compareRoutes, compareRoutesIn, covers, trimPrefix } from "../../../src/model/route-order.js";

const condition: NamedMatch = { name: "a", match: { kind: "present" }, not: false };

interface Shape {
  readonly name: string;
  readonly priority?: number;
  readonly path?: PathMatch;
  readonly headers?: number;
  readonly query?: number;
  readonly cookies?: number;
  readonly methods?: readonly string[];
  readonly hosts?: readonly string[];
}

function toRoute({
  name,
  priority = 0,
  path = { kind: "prefix", value: "/" },
  headers = 0,
  query = 0,
  cookies = 0,
  methods = [],
  hosts = [],
}: Shape): HttpRoute {
  const conditions = (count: number) => Array<NamedMatch>(count).fill(condition);
  const match = { path, methods, headers: conditions(headers), query: conditions(query), cookies: conditions(cookies) };
  const redirect = { scheme: undefined, host: undefined, port: undefined, path: "/", prefix: undefined, status: 301 } as const;
  return { protocol: "http", name, priority, listeners: ["web"], hosts, match, action: { kind: "redirect", redirect } };
}

const hostNames = ["*.example.com", "*.eu.example.com", "a.example.com", "a.eu.example.com", "b.org"];
const path: fc.Arbitrary<PathMatch> = fc.record({
  kind: fc.constantFrom("exact" as const, "prefix" as const, "regex" as const),
  value: fc.constantFrom("/", "/a", "/a/", "/a/b", "/b/c/d"),
});
const small = fc.nat({ max: 2 });
const shape: fc.Arbitrary<Omit<Shape, "name">> = fc.record({
  priority: fc.integer({ min: -1, max: 1 }),
  path,
  headers: small,
  query: small,
  cookies: small,
  methods: fc.constantFrom([], ["GET"], ["GET", "PUT"]),
  hosts: fc.subarray(hostNames),
});
/** Some named alike but for case, and some whose order by locale is not that by code unit. */
const routes = fc
  .uniqueArray(fc.constantFrom("a", "b", "B", "a-1", "a.1", "a1", "z", "é", "Z", "10", "9"), { minLength: 1 })
  .chain((names) => fc.tuple(...names.map((name) => shape.map((rest) => toRoute({ name, ...rest })))));

describe.each([
  ["whatever the host", compareRoutes],
  ["in one virtual host", compareRoutesIn("a.eu.example.com")],
])("the order of routes, %s", (_where, compare) => {
  test("is total: of two routes, one goes first, and the same one from either side", () => {
    fc.assert(
      fc.property(routes, (all) => {
        for (const a of all) for (const b of all) expect(Math.sign(compare(a, b)) + Math.sign(compare(b, a))).toBe(0);
        for (const a of all) for (const b of all) expect(compare(a, b) === 0).toBe(a === b);
      }),
    );
  });

  test("is transitive", () => {
    fc.assert(
      fc.property(routes, (all) => {
        for (const a of all)
          for (const b of all)
            for (const c of all) if (compare(a, b) < 0 && compare(b, c) < 0) expect(compare(a, c)).toBeLessThan(0);
      }),
    );
  });

  test("does not depend on the order of creation", () => {
    fc.assert(
      fc.property(
        routes.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))),
        ([all, shuffled]) => {
          expect([...shuffled].sort(compare)).toEqual([...all].sort(compare));
        },
      ),
    );
  });
});

describe("what goes first", () => {
  test.each<[string, Omit<Shape, "name">, Omit<Shape, "name">]>([
    ["larger priority, before all else", { priority: 1 }, { path: { kind: "exact", value: "/a" }, headers: 9 }],
    [
      "an exact path before a regex",
      { path: { kind: "exact", value: "/a" } },
      { path: { kind: "regex", value: "/a.*" }, headers: 1 },
    ],
    [
      "a regex before prefixes",
      { path: { kind: "regex", value: "/" } },
      { path: { kind: "prefix", value: "/a/very/long/prefix" } },
    ],
    ["the longer prefix", { path: { kind: "prefix", value: "/a/b" } }, { path: { kind: "prefix", value: "/a" }, headers: 1 }],
    ["more header conditions, not summed with others", { headers: 1 }, { query: 5, cookies: 5, methods: ["GET"] }],
    ["more query conditions", { query: 1 }, { cookies: 5, methods: ["GET"] }],
    ["more cookie conditions", { cookies: 1 }, { methods: ["GET"] }],
    ["a method condition", { methods: ["GET", "PUT"] }, {}],
  ])("%s", (_what, first, second) => {
    expect(compareRoutes(toRoute({ name: "z", ...first }), toRoute({ name: "a", ...second }))).toBeLessThan(0);
  });

  test("the name by code unit, when nothing else tells them apart", () => {
    expect(compareRoutes(toRoute({ name: "B" }), toRoute({ name: "a" }))).toBeLessThan(0);
  });

  test("a slash at the end of a prefix does not make it longer", () => {
    const slashed = toRoute({ name: "b", path: { kind: "prefix", value: "/a/" } });
    expect(compareRoutes(slashed, toRoute({ name: "a", path: { kind: "prefix", value: "/a" } }))).toBeGreaterThan(0);
  });

  test("in a virtual host, the route that names the host more closely, before the name but after the match", () => {
    const order = [["a.eu.example.com"], ["*.eu.example.com"], ["*.example.com"], []].map((hosts, at) =>
      toRoute({ name: `${9 - at}`, hosts }),
    );
    expect([...order].reverse().sort(compareRoutesIn("a.eu.example.com"))).toEqual(order);
    const everywhere = toRoute({ name: "x", path: { kind: "exact", value: "/healthz" } });
    expect([...order, everywhere].sort(compareRoutesIn("a.eu.example.com"))[0]).toBe(everywhere);
  });
});

test.each([
  ["*.example.com", "a.example.com", true],
  ["*.example.com", "a.b.example.com", true],
  ["*.example.com", "*.b.example.com", true],
  ["*.example.com", "*.example.com", false],
  ["*.example.com", "example.com", false],
  ["*.example.com", "aexample.com", false],
  ["*.b.example.com", "*.example.com", false],
  ["a.example.com", "a.example.com", false],
])("%s covers %s: %s", (wildcard, host, covered) => {
  expect(covers(wildcard, host)).toBe(covered);
});

test.each([
  ["/", "/"],
  ["", "/"],
  ["///", "/"],
  ["/a", "/a"],
  ["/a//", "/a"],
])("the prefix %j is %j", (given, trimmed) => {
  expect(trimPrefix(given)).toBe(trimmed);
});
