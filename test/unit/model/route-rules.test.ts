// What one route must keep by itself.
import { expect, test } from "vitest";
import type { Route } from "../../../src/model/route.js";
import { routeRuleProblems, weightProblems } from "../../../src/model/route-rules.js";
import { forward, httpRoute, tcpRoute, udpRoute } from "./samples.js";

const faults = (route: Route): readonly string[] =>
  routeRuleProblems(route)
    .map(({ code, pointer }) => `${code} ${pointer}`)
    .sort();
const plain = httpRoute("r", ["a"]);
const byRegex = { ...plain.match, path: { kind: "regex", value: "/a.*" } } as const;

test("a plain route of each protocol keeps all rules", () => {
  for (const route of [plain, tcpRoute("r", ["a", "b"]), udpRoute("r", ["a", "b"])]) expect(faults(route)).toEqual([]);
});

test("a backend, a host and a server name may be named once", () => {
  expect(faults(httpRoute("r", ["a", "b", "a"], { hosts: ["x.example.com", "x.example.com"] }))).toEqual([
    "duplicate /backends/2/cluster",
    "duplicate /hosts/1",
  ]);
  expect(faults(tcpRoute("r", ["a", "a"], { sni: ["x", "y", "x"] }))).toEqual([
    "duplicate /backends/1/cluster",
    "duplicate /sni/2",
  ]);
  expect(faults(udpRoute("r", ["a", "a"]))).toEqual(["duplicate /backends/1/cluster"]);
});

test("every regex is checked, where it stands", () => {
  const bad = { name: "x", match: { kind: "regex", value: "(" }, not: false } as const;
  const good = { name: "x", match: { kind: "exact", value: "(" }, not: false } as const;
  const match = {
    ...plain.match,
    path: { kind: "regex", value: "(?=x)" } as const,
    headers: [good, bad],
    query: [bad],
    cookies: [good, good, bad],
  };
  expect(faults({ ...plain, match })).toEqual([
    "invalid_regex /match/cookies/2/regex",
    "invalid_regex /match/headers/1/regex",
    "invalid_regex /match/path/regex",
    "invalid_regex /match/query/0/regex",
  ]);
});

test("a prefix is rewritten or redirected only where a prefix or an exact path was matched", () => {
  const redirect = { scheme: undefined, host: undefined, port: undefined, path: undefined, prefix: "/b", status: 301 } as const;
  expect(faults({ ...plain, match: byRegex, action: forward(["a"], { rewritePrefix: "/b" }) })).toEqual([
    "contradiction /rewrite/prefix",
  ]);
  expect(faults({ ...plain, match: byRegex, action: { kind: "redirect", redirect } })).toEqual([
    "contradiction /redirect/prefix",
  ]);
  expect(faults({ ...plain, action: { kind: "redirect", redirect } })).toEqual([]);
  expect(faults({ ...plain, action: { kind: "redirect", redirect: { ...redirect, path: "/c" } } })).toEqual([
    "contradiction /redirect/prefix",
  ]);
});

test("a sticky canary hashes its own header, and no more", () => {
  const sticky = { kind: "canary-header", header: "x-user" } as const;
  expect(faults({ ...plain, action: forward(["a"], { sticky, hashOn: [{ kind: "source-ip" }] }) })).toEqual([
    "contradiction /hashOn",
  ]);
  expect(faults({ ...plain, action: forward(["a"], { sticky }) })).toEqual([]);
});

test("weights name every backend once and nothing else", () => {
  const route = httpRoute("r", ["a", "b"]);
  const check = (weights: Record<string, number>) =>
    weightProblems(route, weights).map(({ code, pointer }) => `${code} ${pointer}`);
  expect(check({ a: 1, b: 2 })).toEqual([]);
  expect(check({ a: 1, "c/d": 2 })).toEqual(["missing_backend /weights", "unknown_backend /weights/c~1d"]);
  expect(
    weightProblems(
      {
        ...plain,
        action: {
          kind: "redirect",
          redirect: { scheme: "https", host: undefined, port: undefined, path: undefined, prefix: undefined, status: 301 },
        },
      },
      { a: 1 },
    ).map(({ code }) => code),
  ).toEqual(["contradiction"]);
});
