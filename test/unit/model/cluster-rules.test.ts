// What one cluster must keep by itself: rules of Envoy that would fail it only at its creation.
import { expect, test } from "vitest";
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
