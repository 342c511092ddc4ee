// What an Envoy tells of its endpoints' health, and how far that can be trusted. Mutants that it caught: old gauges believed; what was
// in flight taken for chosen; a report of long ago; a change just before not seen.
import { expect, test } from "vitest";
import { toldHealth } from "../../../src/drain/told-health.js";
import { Loads } from "../../../src/status/loads.js";

const identity = { id: "edge-1", gateway: "edge", region: "", zone: "", envoyVersion: "" };
const ask = { resources: ["app", "tcp/mq"], touchedAt: 0 };

/** Metrics in the seconds 1 to `seconds`, load reports to the fifth: two of three hosts of app healthy, one of which got requests. */
function reported(seconds: number, membership: { hosts?: number; healthyHosts?: number } = { hosts: 3, healthyHosts: 2 }) {
  const loads = new Loads({ maxNodes: 1, intervalMs: 1_000 });
  const load = loads.openLoadStream(identity, 0);
  const metrics = loads.openMetricsStream(identity, 0);
  const endpoints = new Map([
    ["10.0.0.1:80", { inFlight: 1, issued: 4 }],
    ["10.0.0.2:80", { inFlight: 3, issued: 0 }],
  ]);
  for (let at = 1_000; at <= seconds * 1_000; at += 1_000) {
    const clusters = new Map([["app", { connections: 0, requests: 4, pending: 0, membershipChanges: 0, ...membership }]]);
    metrics?.received({ stampMs: at, clusters, answers: 0, errors: 0 }, at);
    if (at <= 5_000) load?.received({ intervalMs: 1_000, clusters: new Map([["app", endpoints]]) }, at);
  }
  return loads;
}

test("how many are healthy, how long ago, and which were chosen of late", () => {
  const [told, ...more] = toldHealth(reported(5).of("edge-1", 5_300), { ...ask, now: 5_300 });
  expect(told).toMatchObject({ node: "edge-1", resource: "app", hosts: 3, healthy: 2, isSettled: true });
  expect(told?.agoMs).toBeCloseTo(300, -1);
  expect([[...(told?.chosen ?? [])], more]).toEqual([["10.0.0.1:80"], []]);
});

test("nothing when it is silent, is not here, or its statistics leave it out", () => {
  expect(toldHealth(reported(5).of("edge-1", 10_100), { ...ask, now: 10_100 })).toEqual([]);
  expect(toldHealth(undefined, { ...ask, now: 5_000 })).toEqual([]);
  expect(toldHealth(reported(5, {}).of("edge-1", 5_000), { ...ask, now: 5_000 })).toEqual([]);
});

test("what was chosen long ago is not told", () => {
  const chosenAt = (second: number) =>
    toldHealth(reported(second).of("edge-1", second * 1_000), { ...ask, now: second * 1_000 })[0]?.chosen.size;
  expect([chosenAt(17), chosenAt(18)]).toEqual([1, 0]);
});

test("a change that may not have come in yet is told", () => {
  const told = (touchedAt: number) =>
    toldHealth(reported(5).of("edge-1", 5_000), { ...ask, touchedAt, now: 5_000 })[0]?.isSettled;
  expect([told(3_400), told(3_600), told(5_000)]).toEqual([true, false, false]);
});
