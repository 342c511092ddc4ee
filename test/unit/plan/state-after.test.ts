// The look at the configuration after some changes sees what a real application of them would leave, and leaves the live one alone.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { Cluster } from "../../../src/model/cluster.js";
import { DesiredState, type StateRows } from "../../../src/model/desired-state.js";
import { addressKey, type Endpoint } from "../../../src/model/endpoint.js";
import type { Listener } from "../../../src/model/listener.js";
import type { Change } from "../../../src/model/revision.js";
import type { TcpRoute } from "../../../src/model/route.js";
import { StateAfter } from "../../../src/plan/state-after.js";

const names = ["a", "b", "c"];
const weight = fc.integer({ min: 1, max: 3 });
const cluster = (name: string): fc.Arbitrary<Cluster> =>
  weight.map((connectTimeoutMs) => ({
    name,
    protocol: "tcp",
    connectTimeoutMs,
    loadBalancing: { policy: "random" },
    healthChecks: [],
    outlierDetection: undefined,
    circuitBreakers: { maxConnections: 1, maxPendingRequests: 1, maxRequests: 1, maxRetries: 1 },
    drain: { atDeadline: "leave", timeoutMs: 30_000, sticky: "leave-at-once" },
    slowStartMs: 0,
  }));
const listener = (name: string): fc.Arbitrary<Listener> =>
  weight.map((port) => ({ name, protocol: "tls", address: "0.0.0.0", port, gateways: ["edge"] }));
const route = (name: string): fc.Arbitrary<TcpRoute> =>
  fc.tuple(fc.constantFrom(...names), fc.uniqueArray(fc.constantFrom(...names), { minLength: 1 })).map(([on, to]) => ({
    protocol: "tcp",
    name,
    listener: on,
    sni: [],
    backends: to.map((one) => ({ cluster: one, weight: 1 })),
    hashOnSourceIp: false,
    idleTimeoutMs: 0,
    split: "endpoints",
  }));
const endpoint = (of: string, port: number): fc.Arbitrary<Endpoint> =>
  weight.map((shared) => ({
    cluster: of,
    address: "10.0.0.1",
    port,
    weight: shared,
    region: "",
    zone: "",
    priority: 0,
    enabled: true,
  }));

const some = <T>(make: (name: string) => fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
  fc.tuple(...names.map((name) => fc.option(make(name), { nil: undefined }))).map((all) => all.flatMap((one) => one ?? []));
const rows: fc.Arbitrary<StateRows> = fc.record({
  revision: fc.constant(1),
  id: fc.constant("x"),
  clusters: some(cluster),
  listeners: some(listener),
  routes: some(route),
  endpoints: fc
    .tuple(
      some((name) => endpoint(name, 1)),
      some((name) => endpoint(name, 2)),
    )
    .map((all) => all.flat()),
});

/** The changes that lead from one state to another. */
function changesBetween(from: StateRows, to: StateRows): Change[] {
  const keyed = <T>(objects: readonly T[], key: (object: T) => string) => new Map(objects.map((object) => [key(object), object]));
  const between = <T>(before: ReadonlyMap<string, T>, after: ReadonlyMap<string, T>) =>
    [...new Set([...before.keys(), ...after.keys()])].map((name) => ({ name, before: before.get(name), after: after.get(name) }));
  const byName = ({ name }: { readonly name: string }): string => name;
  const byPlace = (one: Endpoint): string => `${one.cluster}/${addressKey(one)}`;
  return [
    ...between(keyed(from.clusters, byName), keyed(to.clusters, byName)).map((one) => ({ kind: "cluster" as const, ...one })),
    ...between(keyed(from.endpoints, byPlace), keyed(to.endpoints, byPlace)).map((one) => ({
      kind: "endpoint" as const,
      ...one,
    })),
    ...between(keyed(from.listeners, byName), keyed(to.listeners, byName)).map((one) => ({ kind: "listener" as const, ...one })),
    ...between(keyed(from.routes, byName), keyed(to.routes, byName)).map((one) => ({ kind: "route" as const, ...one })),
  ];
}

const sorted = <T>(objects: readonly T[]): string[] => objects.map((one) => JSON.stringify(one)).sort();

/** Everything that can be asked. */
const asked = (state: StateAfter): unknown => ({
  clusters: names.map((name) => state.cluster(name)),
  listeners: names.map((name) => state.listener(name)),
  routes: names.map((name) => state.route(name)),
  endpoints: names.map((name) => sorted(state.endpointsOf(name))),
  single: names.map((name) => [1, 2].map((port) => state.endpoint(name, `10.0.0.1:${port}`))),
  ofListener: names.map((name) => sorted(state.routesOfListener(name))),
  ofCluster: names.map((name) => sorted(state.routesOfCluster(name))),
});

test("it answers as a state to which the changes were applied", () => {
  fc.assert(
    fc.property(rows, rows, (from, to) => {
      const live = DesiredState.from(from);
      const before = asked(new StateAfter(live, []));
      expect(asked(new StateAfter(live, changesBetween(from, to)))).toEqual(asked(new StateAfter(DesiredState.from(to), [])));
      expect(asked(new StateAfter(live, []))).toEqual(before);
    }),
    { numRuns: 300 },
  );
});
