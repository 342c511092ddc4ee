// What one cluster must keep by itself: rules of Envoy that would fail it only at its creation.
import { describe, expect, test } from "vitest";
import type { Cluster } from "../../../src/model/cluster.js";
import { clusterRuleProblems } from "../../../src/model/cluster-rules.js";
import { cluster, httpCheck, tcpCheck } from "./samples.js";

const faults = (more: Partial<Cluster>): readonly string[] =>
  clusterRuleProblems(cluster("a", more)).map(({ code, pointer }) => `${code} ${pointer}`);
const { kind: _, send: __, receive: ___, ...schedule } = tcpCheck();
const grpcCheck = { kind: "grpc", ...schedule, service: "" } as const;
const outlier = {
  consecutive5xx: 5,
  consecutiveGatewayFailures: undefined,
  intervalMs: 10_000,
  baseEjectionTimeMs: 30_000,
  maxEjectionTimeMs: 30_000,
  maxEjectionPercent: 50,
};

test("a cluster of defaults keeps all rules", () => {
  expect(faults({ healthChecks: [tcpCheck(), httpCheck()], outlierDetection: outlier })).toEqual([]);
});

test.each([65_537, 2, 5_000_011])("Maglev takes the prime %i", (tableSize) => {
  expect(faults({ loadBalancing: { policy: "maglev", tableSize } })).toEqual([]);
});

test.each([65_536, 4, 9, 5_000_009])("Maglev refuses %i, which is no prime", (tableSize) => {
  expect(faults({ loadBalancing: { policy: "maglev", tableSize } })).toEqual(["out_of_range /loadBalancing/tableSize"]);
});

test("a ring's minimum is not above its maximum", () => {
  expect(faults({ loadBalancing: { policy: "ring-hash", minimumRingSize: 2, maximumRingSize: 1 } })).toEqual([
    "out_of_range /loadBalancing/minimumRingSize",
  ]);
  expect(faults({ loadBalancing: { policy: "ring-hash", minimumRingSize: 1, maximumRingSize: 1 } })).toEqual([]);
});

test("a gRPC check needs HTTP/2", () => {
  for (const protocol of ["grpc", "http2"] as const) expect(faults({ protocol, healthChecks: [grpcCheck] })).toEqual([]);
  for (const protocol of ["http", "tcp", "udp"] as const)
    expect(faults({ protocol, healthChecks: [tcpCheck(), grpcCheck] })).toEqual(["contradiction /healthChecks/1/kind"]);
});

test("all faults of a check are told at once", () => {
  const check = httpCheck({
    method: "HEAD",
    bodyContains: "ok",
    expectedStatuses: [
      { from: 200, to: 299 },
      { from: 300, to: 204 },
    ],
  });
  expect(faults({ healthChecks: [check] })).toEqual([
    "out_of_range /healthChecks/0/expectedStatuses/1/from",
    "contradiction /healthChecks/0/bodyContains",
  ]);
});

test("the longest ejection is not below the first", () => {
  expect(faults({ outlierDetection: { ...outlier, maxEjectionTimeMs: 29_999 } })).toEqual([
    "out_of_range /outlierDetection/maxEjectionTimeMs",
  ]);
});

describe("a drain", () => {
  const drain = (more: Partial<Cluster["drain"]>): Cluster["drain"] => ({
    atDeadline: "leave",
    timeoutMs: 30_000,
    sticky: "leave-at-once",
    ...more,
  });
  const close = drain({ atDeadline: "close" });
  const anew = { reuseConnection: false } as const;

  test("closes TCP connections by way of a check that connects anew", () => {
    expect(faults({ protocol: "tcp", drain: close, healthChecks: [tcpCheck(anew), httpCheck(anew)] })).toEqual([]);
    expect(faults({ protocol: "tcp", drain: close })).toEqual(["contradiction /healthChecks"]);
    expect(faults({ protocol: "tcp", drain: close, healthChecks: [tcpCheck(anew), httpCheck()] })).toEqual([
      "contradiction /healthChecks/1/reuseConnection",
    ]);
  });

  test("may be asked to close over HTTP, which then depends on the routes; over UDP there is nothing to close", () => {
    expect(faults({ drain: close })).toEqual([]);
    expect(faults({ protocol: "udp", drain: close })).toEqual(["contradiction /drain/atDeadline"]);
  });

  test("lets sessions stay only where there are any", () => {
    const sticky = drain({ sticky: "until-drained" });
    expect(faults({ protocol: "grpc", drain: sticky })).toEqual([]);
    for (const protocol of ["tcp", "udp"] as const) {
      expect(faults({ protocol, drain: sticky })).toEqual(["contradiction /drain/sticky"]);
    }
  });
});

test("slow start is of least request and round robin", () => {
  expect(faults({ slowStartMs: 1 })).toEqual([]);
  expect(faults({ slowStartMs: 1, loadBalancing: { policy: "round-robin" } })).toEqual([]);
  for (const loadBalancing of [{ policy: "random" }, { policy: "maglev", tableSize: 2 }] as const) {
    expect(faults({ slowStartMs: 1, loadBalancing })).toEqual(["contradiction /slowStartMs"]);
    expect(faults({ slowStartMs: 0, loadBalancing })).toEqual([]);
  }
});
