// A refusal finds the object, and an object its refusals.
import { expect, test } from "vitest";
import type { HttpRoute, TcpRoute } from "../../../src/model/route.js";
import {
  objectsOfResource,
  resourcesOfCluster,
  resourcesOfListener,
  resourcesOfRoute,
} from "../../../src/plan/object-resources.js";

const tcp: TcpRoute = {
  protocol: "tcp",
  name: "raw",
  listener: "tcp-in",
  sni: [],
  backends: [{ cluster: "a", weight: 1 }],
  hashOnSourceIp: false,
  idleTimeoutMs: 0,
  split: "endpoints",
};
const http: HttpRoute = {
  protocol: "http",
  name: "front",
  priority: 0,
  listeners: ["web", "web6"],
  hosts: [],
  match: { path: { kind: "prefix", value: "/" }, methods: [], headers: [], query: [], cookies: [] },
  action: {
    kind: "redirect",
    redirect: { scheme: "https", host: undefined, port: undefined, path: undefined, prefix: undefined, status: 301 },
  },
};

test("a cluster is in its own resources and in those of the L4 routes that name it", () => {
  expect(resourcesOfCluster("a", [tcp, http])).toEqual([
    { type: "cluster", name: "a" },
    { type: "endpoint", name: "a" },
    { type: "cluster", name: "hop/a" },
    { type: "endpoint", name: "hop/a" },
    { type: "cluster", name: "tcp/raw" },
    { type: "endpoint", name: "tcp/raw" },
  ]);
});

test("an HTTP route is a part of each of its listeners' RouteConfigurations; an L4 route is in its listener and has a cluster", () => {
  expect(resourcesOfRoute(http)).toEqual([
    { type: "route", name: "web", part: "front" },
    { type: "route", name: "web6", part: "front" },
  ]);
  expect(resourcesOfRoute(tcp).map(({ type, name }) => `${type} ${name}`)).toEqual([
    "listener tcp-in",
    "cluster tcp/raw",
    "endpoint tcp/raw",
  ]);
  expect(resourcesOfListener("web").map(({ type }) => type)).toEqual(["listener", "route"]);
});

test("a resource is made of the object that a person would look at", () => {
  expect(objectsOfResource("cluster", "a", undefined)).toEqual([{ kind: "cluster", name: "a" }]);
  expect(objectsOfResource("endpoint", "udp/dns", undefined)).toEqual([{ kind: "route", name: "dns" }]);
  expect(objectsOfResource("listener", "web", undefined)).toEqual([{ kind: "listener", name: "web" }]);
  expect(objectsOfResource("route", "web", undefined)).toEqual([{ kind: "listener", name: "web" }]);
  expect(objectsOfResource("route", "web", ["a", "b"])).toEqual([
    { kind: "route", name: "a" },
    { kind: "route", name: "b" },
  ]);
});

test("the inner cluster of a hop is its user's cluster", () => {
  for (const type of ["cluster", "endpoint"] as const)
    expect(objectsOfResource(type, "hop/a", undefined)).toEqual([{ kind: "cluster", name: "a" }]);
});
