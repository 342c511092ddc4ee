// Words of a command line as kinds and paths, and what a table shows of an object.
import { expect, test } from "vitest";
import { endpointKey, headOf, kinds, objectPath, rowOf, toKind } from "../../../src/cli/kinds.js";

test.each(["route", "routes", "Routes"])("%s is the kind route", (word) => {
  expect(toKind(word)).toBe("route");
});

test("a word that is no kind is told with those that are", () => {
  expect(() => toKind("rotue")).toThrow('There is no kind "rotue". Kinds are cluster, endpoint, listener, route.');
});

test("names are encoded in paths", () => {
  expect(objectPath("route", "a/b")).toBe("/v1/routes/a%2Fb");
  expect(objectPath("endpoint", "api/[fd00::7]:80")).toBe("/v1/clusters/api/endpoints/%5Bfd00%3A%3A7%5D%3A80");
});

test.each(["api", "/10.0.0.7:80", "api/", "a/b/c"])("%j names no endpoint", (name) => {
  expect(() => objectPath("endpoint", name)).toThrow(/<cluster>\/<address>:<port>/);
});

test("an IPv6 address has brackets in its key, once", () => {
  expect(endpointKey({ address: "fd00::7", port: 80 })).toBe("[fd00::7]:80");
  expect(endpointKey({ address: "[fd00::7]", port: 80 })).toBe("[fd00::7]:80");
});

test.each(kinds)("a %s without any field still has a row as long as the head", (kind) => {
  expect(rowOf(kind, {})).toHaveLength(headOf(kind).length);
});

test("a route's row tells what it matches and where that goes", () => {
  const match = { path: { prefix: "/api" }, methods: ["GET"], headers: [{ name: "x-canary", exact: "true" }] };
  const backends = [
    { cluster: "v1", weight: 95 },
    { cluster: "v2", weight: 5 },
  ];
  const row = rowOf("route", {
    name: "checkout",
    protocol: "http",
    listeners: ["web"],
    hosts: ["shop.example.com"],
    match,
    backends,
  });
  expect(row).toEqual(["checkout", "http", "web", "shop.example.com GET /api* headers.x-canary", "v1=95 v2=5"]);
});
