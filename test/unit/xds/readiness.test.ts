// A cluster with a hop is as ready as its inner cluster, and keeps that as long as itself. Mutants caught: readiness that looks at the
// outer cluster alone; what names the outer cluster lets the inner one go.
import { expect, test } from "vitest";
import { toResource } from "../../../src/snapshot/resource.js";
import { ResourceTable } from "../../../src/snapshot/resource-table.js";
import { ClusterReadiness } from "../../../src/xds/readiness.js";
import type { TypeStream } from "../../../src/xds/type-stream.js";

const resource = (name: string, clusters: readonly string[] = []) => toResource({ name, bytes: Buffer.from(name), clusters }, 1);

/** As much of a stream as readiness looks at. */
function streamOf(type: "cluster" | "endpoint" | "route", more: Partial<Record<keyof TypeStream, unknown>>): TypeStream {
  const table = new ResourceTable(type);
  const common = { type, table, exceptions: new Map(), sent: 1, acked: 1, subscription: { isAsked: true }, pending: () => [] };
  return { ...common, ...more } as unknown as TypeStream;
}

const endpoints = streamOf("endpoint", { isQuiet: true });
const times = { removalGraceMs: 1_000, inFlightOverrideMs: 5_000 };

test("not before its inner cluster is confirmed", () => {
  const unconfirmed = new Set(["hop/x"]);
  const inFlight = {
    isUnconfirmed: (name: string) => unconfirmed.has(name),
    hasUnconfirmed: true,
    isLeaving: () => false,
    isAmbiguous: () => false,
  };
  const clusters = streamOf("cluster", { inFlight });
  clusters.table.commit(1, 1, [resource("x"), resource("hop/x"), resource("y")], [], new Map());
  const readiness = new ClusterReadiness(clusters, endpoints, [], times);
  expect([readiness.isReady("x", 0), readiness.isReady("y", 0)]).toEqual([false, true]);
  readiness.endpointsAcked(["hop/x"], () => 100, 0);
  expect([readiness.isReady("x", 99), readiness.isReady("x", 100)]).toEqual([false, true]);
});

test("the inner cluster stays while something names the outer one", () => {
  const exceptions = new Map([["web", { state: "held", has: resource("web", ["x"]), at: 0 }]]);
  const routes = streamOf("route", { exceptions });
  const readiness = new ClusterReadiness(streamOf("cluster", {}), endpoints, [routes], times);
  expect([readiness.removableAt("hop/x", 5), readiness.removableAt("hop/y", 5)]).toEqual([Number.POSITIVE_INFINITY, 5]);
});

test("a cluster goes a grace after the ack that let go of it; acks close together count as one, which is late by less than a 32nd", () => {
  // Mutants: acks that count as one for as long as they come; one that counts from the first of them.
  const clusters = streamOf("cluster", {});
  clusters.table.commit(1, 1, [resource("x"), resource("y")], [], new Map());
  clusters.table.commit(2, 2, [], [], new Map([["x", 2]]));
  clusters.table.commit(3, 3, [], [], new Map([["y", 3]]));
  const routes = streamOf("route", { acked: 1_000 });
  routes.table.commit(3, 3, [resource("web")], [], new Map());
  const readiness = new ClusterReadiness(clusters, endpoints, [routes], times);
  for (let seq = 2; seq < 90; seq++) readiness.namingAcked("route", seq, (seq - 2) * 10);
  expect(readiness.removableAt("x", 0)).toBeGreaterThanOrEqual(1_000);
  expect(readiness.removableAt("x", 0)).toBeLessThan(1_000 + 1_000 / 32);
  expect(readiness.removableAt("y", 0)).toBeGreaterThanOrEqual(1_010);
  expect(readiness.removableAt("y", 0)).toBeLessThan(1_010 + 1_000 / 32);
});

test("a new cluster that is acked while its endpoints are under way waits for their answer, for no longer than the override", () => {
  const clusters = streamOf("cluster", {
    inFlight: { isUnconfirmed: () => false, isLeaving: () => false, hasUnconfirmed: false },
  });
  clusters.table.commit(1, 1, [resource("old"), resource("new"), resource("other")], [], new Map());
  const way = { isQuiet: false, isUnderWay: (name: string) => name !== "other" };
  const stream = Object.assign(streamOf("endpoint", {}), way);
  const readiness = new ClusterReadiness(clusters, stream, [], times);
  readiness.clustersAcked(new Set(["new", "other"]), 100);
  const ready = (now: number) => ["old", "new", "other"].map((name) => readiness.isReady(name, now));
  expect([ready(100), readiness.feedingUntil(100)]).toEqual([[true, false, true], 5_100]);
  expect([ready(5_100), readiness.feedingUntil(5_100)]).toEqual([[true, true, true], undefined]);
  readiness.clustersAcked(new Set(["new"]), 6_000);
  expect([ready(6_000), readiness.feedingUntil(6_000)]).toEqual([[true, false, true], 11_000]);
  Object.assign(stream, { isQuiet: true });
  expect(readiness.feedingUntil(6_001)).toBeUndefined();
  expect(ready(6_001)).toEqual([true, true, true]);
});
