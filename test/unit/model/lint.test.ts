// Advice: each piece is given where it helps, and only there.
import { expect, test } from "vitest";
import type { Cluster } from "../../../src/model/cluster.js";
import { clusterLint, endpointsLint, type Lint, routeLint, weightsLint } from "../../../src/model/lint.js";
import type { Route } from "../../../src/model/route.js";
import { byName, cluster, endpoint, forward, httpCheck, httpRoute, tcpCheck, tcpRoute } from "./samples.js";

const shown = (lint: readonly Lint[]): readonly string[] => lint.map(({ code, pointer }) => `${code} ${pointer}`).sort();
const ofCluster = (more: Partial<Cluster>): readonly string[] => shown(clusterLint(cluster("a", more), []));
const clusters = byName(
  cluster("a"),
  cluster("b"),
  cluster("grpc", { protocol: "grpc" }),
  cluster("ring", { loadBalancing: { policy: "maglev", tableSize: 65_537 } }),
  cluster("raw", { protocol: "tcp" }),
  cluster("raw-2", { protocol: "tcp" }),
  cluster("raw-slow", { protocol: "tcp", connectTimeoutMs: 1 }),
  cluster("raw-ring", { protocol: "tcp", loadBalancing: { policy: "maglev", tableSize: 65_537 } }),
);
const ofRoute = (route: Route): readonly string[] => shown(routeLint(route, clusters));

test("a cluster with an HTTP check and least request needs no advice", () => {
  expect(ofCluster({ healthChecks: [httpCheck()] })).toEqual([]);
});

test("a cluster without a check, a TCP check over HTTP, and round robin are pointed at", () => {
  expect(ofCluster({})).toEqual(["no_health_check /healthChecks"]);
  expect(ofCluster({ healthChecks: [httpCheck(), tcpCheck()] })).toEqual(["tcp_check_on_http /healthChecks/1/kind"]);
  const closing = { atDeadline: "close", timeoutMs: 30_000, sticky: "leave-at-once" } as const;
  expect(ofCluster({ protocol: "tcp", healthChecks: [tcpCheck()] })).toEqual(["left_open_at_deadline /drain"]);
  expect(ofCluster({ protocol: "tcp", healthChecks: [tcpCheck()], drain: closing })).toEqual([]);
  expect(ofCluster({ healthChecks: [httpCheck()], loadBalancing: { policy: "round-robin" } })).toEqual([
    "round_robin /loadBalancing/policy",
  ]);
});

test("no endpoint and a single one are pointed at; disabled ones do not count", () => {
  const off = endpoint("a", "10.0.0.1", { enabled: false });
  const drained = endpoint("a", "10.0.0.1", { drain: { id: "d", phase: "draining" } });
  expect(shown(endpointsLint([drained], "/endpoints"))).toEqual(["no_endpoint /endpoints"]);
  expect(shown(endpointsLint([], "/endpoints"))).toEqual(["no_endpoint /endpoints"]);
  expect(shown(endpointsLint([off], "/endpoints"))).toEqual(["no_endpoint /endpoints"]);
  expect(shown(endpointsLint([off, endpoint("a", "10.0.0.2")], "/endpoints"))).toEqual(["one_endpoint /endpoints"]);
  expect(shown(endpointsLint([endpoint("a", "10.0.0.2"), endpoint("a", "10.0.0.3")], "/endpoints"))).toEqual([]);
});

test("weights that are all 0 are pointed at", () => {
  expect(
    shown(
      weightsLint(
        [
          { cluster: "a", weight: 0 },
          { cluster: "b", weight: 0 },
        ],
        "/backends",
      ),
    ),
  ).toEqual(["all_weights_zero /backends"]);
  expect(
    shown(
      weightsLint(
        [
          { cluster: "a", weight: 0 },
          { cluster: "b", weight: 1 },
        ],
        "/backends",
      ),
    ),
  ).toEqual([]);
  expect(ofRoute(httpRoute("r", [], { action: forward([], { backends: [{ cluster: "a", weight: 0 }] }) }))).toEqual([
    "all_weights_zero /backends",
  ]);
});

test("what stickiness costs is said", () => {
  const sticky = (of: "canary-header" | "session-cookie", to: readonly string[]): Route =>
    httpRoute("r", [], {
      action: forward(to, {
        sticky: of === "session-cookie" ? { kind: of, cookie: "c", ttlMs: 0, path: "/" } : { kind: of, header: "x-user" },
      }),
    });
  expect(ofRoute(sticky("session-cookie", ["a"]))).toEqual(["sticky_session /sticky"]);
  expect(ofRoute(sticky("canary-header", ["a", "b"]))).toEqual(["sticky_canary /sticky"]);
  expect(ofRoute(sticky("canary-header", ["a"]))).toEqual(["sticky_canary /sticky", "sticky_canary_one_backend /backends"]);
  expect(ofRoute(sticky("canary-header", ["a", "ring"]))).toEqual(["sticky_canary /sticky"]);
});

test("hashing that nothing uses, and clusters that hash nothing, are pointed at", () => {
  const hashing = (to: string): Route => httpRoute("r", [], { action: forward([to], { hashOn: [{ kind: "source-ip" }] }) });
  expect(ofRoute(hashing("a"))).toEqual(["hash_unused /hashOn"]);
  expect(ofRoute(hashing("ring"))).toEqual([]);
  expect(ofRoute(httpRoute("r", ["ring"]))).toEqual(["hash_missing /hashOn"]);
  expect(ofRoute(tcpRoute("r", ["raw-ring"]))).toEqual(["hash_missing /hashOnSourceIp"]);
  expect(ofRoute(tcpRoute("r", ["raw"], { hashOnSourceIp: true }))).toEqual([]);
  expect(ofRoute(tcpRoute("r", ["raw"], { hashOnSourceIp: true, split: "listener" }))).toEqual(["hash_unused /hashOnSourceIp"]);
});

test("a timeout that cuts streams is pointed at", () => {
  expect(ofRoute(httpRoute("r", ["grpc"]))).toEqual(["timeout_cuts_streams /timeoutMs"]);
  expect(ofRoute(httpRoute("r", [], { action: forward(["a"], { upgrades: ["websocket"] }) }))).toEqual([
    "left_open_at_deadline /timeoutMs",
    "timeout_cuts_streams /timeoutMs",
  ]);
  expect(ofRoute(httpRoute("r", [], { action: forward(["grpc"], { timeoutMs: 0 }) }))).toEqual([
    "left_open_at_deadline /timeoutMs",
  ]);
});

test("backends of an L4 route that differ where only the first one counts are pointed at, and a split that drains", () => {
  expect(ofRoute(tcpRoute("r", ["raw", "raw-slow"]))).toEqual(["settings_of_first_backend /backends"]);
  expect(ofRoute(tcpRoute("r", ["raw", "raw-2"]))).toEqual([]);
  expect(ofRoute(tcpRoute("r", ["raw", "raw-slow"], { split: "listener" }))).toEqual(["listener_split /split"]);
});

test("what a drain would leave open is pointed at where it comes from: the route, or the cluster", () => {
  const lasting = (timeoutMs: number): Route => httpRoute("r", [], { action: forward(["a", "b"], { timeoutMs }) });
  expect(ofRoute(lasting(30_000))).toEqual([]);
  expect(ofRoute(lasting(30_001))).toEqual(["left_open_at_deadline /timeoutMs"]);
  expect(ofRoute(tcpRoute("r", ["a"]))).toEqual(["left_open_at_deadline /backends"]);
  expect(shown(clusterLint(cluster("a", { healthChecks: [httpCheck()] }), [lasting(0)]))).toEqual([
    "left_open_at_deadline /drain",
  ]);
  expect(shown(clusterLint(cluster("a", { healthChecks: [httpCheck()] }), [lasting(1)]))).toEqual([]);
});
