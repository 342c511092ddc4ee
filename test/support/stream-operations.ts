// What may happen in a StreamWorld, as data: changes good and bad, slow answers, time, reconnects and restarts of the control plane.
// In: sequences that fast-check makes, or a test writes down. Out: the world after them. For test/unit/xds/.
import fc from "fast-check";
import { badPath, badPort, failsWhenMadeMs, refusedWholeMs } from "./fake-envoy.js";
import { cluster, endpoint, httpListener, httpRoute, StreamWorld, tcpListener, tcpRoute, times } from "./stream-world.js";

const clusterNames = ["a", "b", "c", "d"];
const routeNames = ["r0", "r1", "r2", "r3"];

export type Op =
  | { readonly op: "cluster"; readonly name: string; readonly timeoutMs: number }
  | { readonly op: "endpoint"; readonly cluster: string; readonly port: number }
  | { readonly op: "route"; readonly name: string; readonly clusters: readonly string[]; readonly isBad: boolean }
  | { readonly op: "unroute"; readonly name: string }
  | { readonly op: "tcp"; readonly cluster: string | undefined }
  | { readonly op: "listener"; readonly port: number | undefined }
  | { readonly op: "step"; readonly count: number }
  | { readonly op: "pass"; readonly ms: number }
  | { readonly op: "block" | "unblock" | "reconnect" | "restart" };

const anyCluster = fc.constantFrom(...clusterNames);
export const goodOp: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant("cluster" as const),
      name: anyCluster,
      timeoutMs: fc.constantFrom(1_000, 2_000, 3_000),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constant("endpoint" as const), cluster: anyCluster, port: fc.integer({ min: 1, max: 9 }) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant("route" as const),
      name: fc.constantFrom(...routeNames),
      clusters: fc.uniqueArray(anyCluster, { minLength: 1, maxLength: 2 }),
      isBad: fc.constant(false),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("unroute" as const), name: fc.constantFrom(...routeNames) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("tcp" as const), cluster: fc.option(anyCluster, { nil: undefined }) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant("listener" as const),
      port: fc.option(fc.integer({ min: 90, max: 99 }), { nil: undefined }),
    }),
  },
  { weight: 8, arbitrary: fc.record({ op: fc.constant("step" as const), count: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("pass" as const), ms: fc.constantFrom(100, 1_500, 6_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constantFrom("block" as const, "unblock" as const, "reconnect" as const, "restart" as const) }),
  },
);
export const badOp: fc.Arbitrary<Op> = fc.oneof(
  fc.record({
    op: fc.constant("cluster" as const),
    name: anyCluster,
    timeoutMs: fc.constantFrom(refusedWholeMs, failsWhenMadeMs),
  }),
  fc.record({ op: fc.constant("endpoint" as const), cluster: anyCluster, port: fc.constant(badPort) }),
  fc.record({
    op: fc.constant("route" as const),
    name: fc.constantFrom(...routeNames),
    clusters: fc.uniqueArray(anyCluster, { minLength: 1, maxLength: 2 }),
    isBad: fc.constant(true),
  }),
  fc.record({ op: fc.constant("listener" as const), port: fc.constant(badPort) }),
);

export function start(delta: boolean, pushTimes = times): StreamWorld {
  const world = new StreamWorld(delta, pushTimes);
  world.commit(
    world.put("cluster", cluster("a")),
    world.put("listener", httpListener("web", 80)),
    world.put("route", httpRoute("r0", "web", "/r0", ["a"])),
  );
  world.settle();
  return world;
}

/** Makes the clusters that a route names, in the same revision, as the API's rules demand. */
function withClusters(world: StreamWorld, names: readonly string[]) {
  return names.filter((name) => !world.state.clusters.has(name)).map((name) => world.put("cluster", cluster(name)));
}

export function run(world: StreamWorld, op: Op): void {
  switch (op.op) {
    case "cluster":
      return void world.commit(world.put("cluster", cluster(op.name, op.timeoutMs)));
    case "endpoint": {
      if (!world.state.clusters.has(op.cluster)) return;
      const old = world.state
        .endpointsOf(op.cluster)
        .map((known) => world.remove("endpoint", `${op.cluster}/${known.address}:${known.port}`));
      return void world.commit(...old, world.put("endpoint", endpoint(op.cluster, op.port)));
    }
    case "route":
      return void world.commit(
        ...withClusters(world, op.clusters),
        world.put("route", httpRoute(op.name, "web", op.isBad ? badPath : `/${op.name}`, op.clusters)),
      );
    case "unroute": {
      if (!world.state.routes.has(op.name)) return;
      world.commit(world.remove("route", op.name));
      // In state of the world a restart forgets a cluster that was deleted before the Envoy had let go of it (docs/architecture.md, limits).
      if (!world.delta) {
        world.block(false);
        world.settle();
      }
      const unused = [...world.state.clusters.keys()].filter((name) => world.state.routesOfCluster(name).size === 0);
      return void (unused.length > 0 && world.commit(...unused.map((name) => world.remove("cluster", name))));
    }
    case "tcp":
      if (op.cluster !== undefined)
        return void world.commit(
          ...withClusters(world, [op.cluster]),
          world.put("listener", tcpListener("tcp", 70)),
          world.put("route", tcpRoute("t", "tcp", [op.cluster])),
        );
      return void (world.state.routes.has("t") && world.commit(world.remove("route", "t"), world.remove("listener", "tcp")));
    case "listener":
      if (op.port !== undefined) return void world.commit(world.put("listener", httpListener("extra", op.port)));
      return void (world.state.listeners.has("extra") && world.commit(world.remove("listener", "extra")));
    case "step":
      for (let i = 0; i < op.count; i++) world.envoy.step(world.now);
      return;
    case "pass":
      return world.pass(op.ms);
    case "block":
      return world.block(true);
    case "unblock":
      return world.block(false);
    case "reconnect":
      return world.reconnect();
    case "restart":
      return world.restart();
  }
}

/** Quiet: everything is read, and every wait is over. */
export function calm(world: StreamWorld): void {
  world.block(false);
  world.settle();
  for (let i = 0; i < 6; i++) world.pass(12_000);
}
