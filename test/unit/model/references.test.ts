// The rules that tie objects to each other: each is broken alone, and all that is broken is told at once.
import { describe, expect, test } from "vitest";
import type { Problem } from "../../../src/errors.js";
import {
  clusterProblems,
  endpointProblems,
  fitsAsBefore,
  listenerProblems,
  locationProblems,
  mixesBackends,
  type RouteSurroundings,
  routeProblems,
} from "../../../src/model/references.js";
import type { Route } from "../../../src/model/route.js";
import { byName, cluster, endpoint, httpCheck, httpRoute, listener, tcpCheck, tcpRoute, udpRoute } from "./samples.js";

const faults = (problems: readonly Problem[]): readonly string[] =>
  problems.map(({ code, pointer }) => `${code} ${pointer}`).sort();

const listeners = byName(
  listener("web", "http"),
  listener("tcp-in", "tcp"),
  listener("tls-in", "tls"),
  listener("udp-in", "udp"),
);
const closing = { atDeadline: "close", timeoutMs: 1, sticky: "leave-at-once" } as const;
const clusters = byName(
  cluster("a"),
  cluster("b"),
  cluster("two", { protocol: "http2" }),
  cluster("grpc", { protocol: "grpc" }),
  cluster("raw", { protocol: "tcp" }),
  cluster("raw-2", { protocol: "tcp" }),
  cluster("checked", { protocol: "tcp", healthChecks: [tcpCheck()] }),
  cluster("checked-2", { protocol: "tcp", healthChecks: [tcpCheck()] }),
  cluster("closing", { protocol: "tcp", healthChecks: [tcpCheck()], drain: closing }),
  cluster("dns", { protocol: "udp" }),
  cluster("dns-2", { protocol: "udp" }),
);
const around = (more: Partial<RouteSurroundings> = {}): RouteSurroundings => ({
  listeners,
  clusters,
  neighbours: [],
  endpoints: new Map(),
  ...more,
});
const check = (route: Route, more: Partial<RouteSurroundings> = {}): readonly string[] =>
  faults(routeProblems(route, around(more)));

describe("a route", () => {
  test("that fits everywhere has no problem", () => {
    expect(check(httpRoute("r", ["a", "two", "grpc"]))).toEqual([]);
    expect(check(tcpRoute("r", ["raw", "raw-2"]))).toEqual([]);
    expect(check(tcpRoute("r", ["a"], { listener: "tls-in", sni: ["x.example.com"] }))).toEqual([]);
    expect(check(udpRoute("r", ["dns", "dns-2"]))).toEqual([]);
  });

  test("tells everything that is wrong at once, where it is", () => {
    const route = httpRoute("r", ["none", "raw", "dns"], { listeners: ["web", "nowhere", "tcp-in"] });
    expect(check(route)).toEqual([
      "protocol_mismatch /backends/1/cluster",
      "protocol_mismatch /backends/2/cluster",
      "protocol_mismatch /listeners/2",
      "unknown_cluster /backends/0/cluster",
      "unknown_listener /listeners/1",
    ]);
  });

  test.each([
    [tcpRoute("r", ["raw"], { listener: "web" }), "protocol_mismatch /listener"],
    [tcpRoute("r", ["raw"], { listener: "udp-in" }), "protocol_mismatch /listener"],
    [tcpRoute("r", ["dns"]), "protocol_mismatch /backends/0/cluster"],
    [udpRoute("r", ["dns"], { listener: "tcp-in" }), "protocol_mismatch /listener"],
    [udpRoute("r", ["raw"]), "protocol_mismatch /backends/0/cluster"],
    [tcpRoute("r", ["raw"], { sni: ["x.example.com"] }), "sni_not_allowed /sni"],
  ])("of protocol $protocol must fit its listener and clusters: %#", (route, problem) => {
    expect(check(route)).toEqual([problem]);
  });

  test("finds a plain listener taken by another route, not by itself", () => {
    expect(check(tcpRoute("r", ["raw"]), { neighbours: [tcpRoute("r", ["a"])] })).toEqual([]);
    expect(check(tcpRoute("r", ["raw"]), { neighbours: [tcpRoute("other", ["a"])] })).toEqual(["listener_taken /listener"]);
    expect(check(udpRoute("r", ["dns"]), { neighbours: [udpRoute("other", ["dns"])] })).toEqual(["listener_taken /listener"]);
  });

  test("finds its server names taken, each where it stands, and the place of the route without names", () => {
    const neighbours = [
      tcpRoute("one", ["raw"], { listener: "tls-in", sni: ["a.example.com", "*.b.example.com"] }),
      tcpRoute("rest", ["raw"], { listener: "tls-in" }),
    ];
    const named = tcpRoute("r", ["raw"], { listener: "tls-in", sni: ["c.example.com", "*.b.example.com", "a.example.com"] });
    expect(check(named, { neighbours })).toEqual(["sni_taken /sni/1", "sni_taken /sni/2"]);
    expect(check(tcpRoute("r", ["raw"], { listener: "tls-in" }), { neighbours })).toEqual(["sni_taken /sni"]);
    expect(check(tcpRoute("rest", ["raw"], { listener: "tls-in" }), { neighbours })).toEqual([]);
  });

  test("that mixes backends needs them alike, unless it splits in the listener", () => {
    expect(check(tcpRoute("r", ["raw", "checked"]))).toEqual(["backends_differ /backends/1/cluster"]);
    expect(check(tcpRoute("r", ["raw", "raw-2", "a"]))).toEqual(["backends_differ /backends/2/cluster"]);
    expect(check(tcpRoute("r", ["checked", "closing"]))).toEqual(["backends_differ /backends/1/cluster"]);
    expect(check(tcpRoute("r", ["raw", "checked"], { split: "listener" }))).toEqual([]);
    expect(check(tcpRoute("r", ["checked", "closing"], { split: "listener" }))).toEqual([]);
  });

  test("that mixes backends can't have one address in two of them", () => {
    const endpoints = new Map([
      ["raw", [endpoint("raw", "10.0.0.1"), endpoint("raw", "10.0.0.2")]],
      ["raw-2", [endpoint("raw-2", "10.0.0.2"), endpoint("raw-2", "10.0.0.1", { port: 81 })]],
    ]);
    expect(check(tcpRoute("r", ["raw", "raw-2"]), { endpoints })).toEqual(["shared_address /backends/1/cluster"]);
    expect(check(tcpRoute("r", ["raw", "raw-2"], { split: "listener" }), { endpoints })).toEqual([]);
  });

  test("mixes its backends when it is L4, has several, and splits by endpoints", () => {
    expect(mixesBackends(httpRoute("r", ["a", "b"]))).toBe(false);
    expect(mixesBackends(tcpRoute("r", ["a"]))).toBe(false);
    expect(mixesBackends(tcpRoute("r", ["a", "b"], { split: "listener" }))).toBe(false);
    expect(mixesBackends(tcpRoute("r", ["a", "b"]))).toBe(true);
    expect(mixesBackends(udpRoute("r", ["a", "b"]))).toBe(true);
  });
});

describe("an endpoint", () => {
  test("may not come to a cluster when another backend of its route has the address", () => {
    const placed = [
      { endpoint: endpoint("a", "10.0.0.1"), pointer: "/upsert/0" },
      { endpoint: endpoint("a", "10.0.0.2"), pointer: "/upsert/1" },
    ];
    const siblings = [{ route: "r", cluster: "b", endpoints: [endpoint("b", "10.0.0.2")] }];
    expect(faults(endpointProblems(placed, siblings))).toEqual(["shared_address /upsert/1/address"]);
  });

  test("keeps its region and zone", () => {
    const before = endpoint("a", "10.0.0.1", { region: "eu", zone: "eu-1" });
    expect(faults(locationProblems(before, { ...before, region: "us", zone: "us-1" }, ""))).toEqual([
      "location_fixed /region",
      "location_fixed /zone",
    ]);
    expect(locationProblems(before, { ...before, weight: 7, enabled: false }, "")).toEqual([]);
  });
});

describe("a cluster", () => {
  test("can't change to a protocol that one of its routes can't go to", () => {
    expect(faults(clusterProblems(cluster("a", { protocol: "tcp" }), [httpRoute("r", ["a"])], clusters))).toEqual([
      "breaks_route /protocol",
    ]);
    expect(faults(clusterProblems(cluster("a", { protocol: "grpc" }), [httpRoute("r", ["a"])], clusters))).toEqual([]);
    expect(faults(clusterProblems(cluster("raw", { protocol: "udp" }), [tcpRoute("r", ["raw"])], clusters))).toEqual([
      "breaks_route /protocol",
    ]);
  });

  test("can't come to differ from the clusters that a route mixes it with", () => {
    const route = tcpRoute("r", ["raw", "raw-2"]);
    expect(faults(clusterProblems(cluster("raw", { protocol: "tcp", healthChecks: [httpCheck()] }), [route], clusters))).toEqual([
      "breaks_route /healthChecks",
    ]);
    expect(clusterProblems(cluster("raw", { protocol: "tcp", connectTimeoutMs: 1 }), [route], clusters)).toEqual([]);
    const checked = tcpRoute("r", ["checked", "checked-2"]);
    const now = cluster("checked", { protocol: "tcp", healthChecks: [tcpCheck()], drain: closing });
    expect(faults(clusterProblems(now, [checked], clusters))).toEqual(["breaks_route /drain/atDeadline"]);
    expect(fitsAsBefore(cluster("checked", { protocol: "tcp", healthChecks: [tcpCheck()] }), now)).toBe(false);
    const longer = { ...closing, timeoutMs: 2 } as const;
    expect(fitsAsBefore(now, { ...now, drain: longer })).toBe(true);
    // Over HTTP the wish makes no other cluster of it.
    expect(fitsAsBefore(cluster("a"), cluster("a", { drain: closing }))).toBe(true);
    expect(
      clusterProblems(
        cluster("raw", { protocol: "tcp", healthChecks: [httpCheck()] }),
        [{ ...route, split: "listener" }],
        clusters,
      ),
    ).toEqual([]);
  });
});

describe("a listener", () => {
  const other = listener("other", "http", { port: 80, gateways: ["core", "edge"] });

  test("can't have the socket of another one in a shared gateway", () => {
    expect(faults(listenerProblems(listener("web", "http"), [other], []))).toEqual(["address_taken /port"]);
    expect(faults(listenerProblems(listener("web", "tcp", { address: "10.0.0.7" }), [other], []))).toEqual([
      "address_taken /port",
    ]);
  });

  test.each([
    ["it is itself", listener("other", "http")],
    ["no gateway is shared", listener("web", "http", { gateways: ["inner"] })],
    ["the port differs", listener("web", "http", { port: 81 })],
    ["one is UDP", listener("web", "udp")],
    ["the families differ", listener("web", "http", { address: "::" })],
  ])("may have it when %s", (_, one) => {
    expect(listenerProblems(one, [other], [])).toEqual([]);
  });

  test("can't change to a protocol that its routes can't be on", () => {
    expect(faults(listenerProblems(listener("web", "tcp"), [], [httpRoute("r", ["a"])]))).toEqual(["breaks_route /protocol"]);
    expect(faults(listenerProblems(listener("tls-in", "tcp"), [], [tcpRoute("r", ["a"], { sni: ["x.example.com"] })]))).toEqual([
      "breaks_route /protocol",
    ]);
    expect(faults(listenerProblems(listener("tls-in", "tcp"), [], [tcpRoute("r", ["a"]), tcpRoute("s", ["a"])]))).toEqual([
      "breaks_route /protocol",
    ]);
    expect(listenerProblems(listener("tcp-in", "tls"), [], [tcpRoute("r", ["a"])])).toEqual([]);
  });
});
