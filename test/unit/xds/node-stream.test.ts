// The stream machine by promise, in delta and in state of the world, against an Envoy that warms, withholds and refuses.
import { describe, expect, test } from "vitest";
import { badPath, badPort, failsWhenMadeMs, refusedWholeMs } from "../../support/fake-envoy.js";
import {
  cluster,
  endpoint,
  httpListener,
  httpRoute,
  type StreamWorld,
  simpleWorld,
  tcpListener,
  tcpRoute,
  times,
} from "../../support/stream-world.js";

const paths = (world: StreamWorld) => [...(world.envoy.routes.get("web")?.paths ?? [])].sort();
const refused = (world: StreamWorld) => [...world.stream.exceptions()].filter(({ kind }) => kind === "refused");

describe.each([{ delta: true }, { delta: false }])("a stream, delta $delta", ({ delta }) => {
  test("brings an Envoy from nothing to everything", () => {
    const world = simpleWorld(delta);
    expect([...world.envoy.clusters.keys()]).toEqual(["a"]);
    expect(paths(world)).toEqual(["/home"]);
    expect(world.stream.ackedRevision("route")).toBe(1);
    expect([...world.stream.exceptions()]).toEqual([]);
    expect(world.envoy.faults).toEqual([]);
  });

  test("sends only what changed", () => {
    const world = simpleWorld(delta);
    world.written.length = 0;
    world.commit(world.put("endpoint", endpoint("a", 2)));
    world.settle();
    expect(world.written.map(({ type, names }) => [type, names])).toEqual([["endpoint", ["a"]]]);
  });

  test("sends a changed cluster's endpoints again, so that it warms", () => {
    const world = simpleWorld(delta);
    world.commit(world.put("cluster", cluster("a", 2_000)));
    world.settle();
    expect(world.envoy.clusters.get("a")?.state).toBe("active");
    expect(world.stream.ackedRevision("cluster")).toBe(2);
  });

  test("holds a route until its new cluster is ready, and every other route goes on", () => {
    const world = simpleWorld(delta);
    world.commit(
      world.put("cluster", cluster("b")),
      world.put("route", httpRoute("new", "web", "/new", ["b"])),
      world.put("route", httpRoute("other", "web", "/other", ["a"])),
    );
    expect(paths(world)).toEqual(["/home"]);
    world.settle();
    expect(paths(world)).toEqual(["/home", "/new", "/other"]);
    expect(world.envoy.faults).toEqual([]);
  });

  test("a route that moves to a new cluster keeps its old one until the new one is ready", () => {
    const world = simpleWorld(delta);
    world.commit(world.put("cluster", cluster("b")), world.put("route", httpRoute("home", "web", "/home", ["b"])));
    world.settle();
    expect(world.envoy.routes.get("web")?.clusters).toEqual(["b"]);
    expect(world.envoy.faults).toEqual([]);
    expect(world.envoy.clusters.has("a")).toBe(true); // Its grace runs.
    world.pass(times.removalGraceMs + 1_000);
    expect(world.envoy.clusters.has("a")).toBe(false);
    expect(world.envoy.faults).toEqual([]);
  });

  test("a route that changes many times between two looks, or while an answer is out, is never without its form", () => {
    const world = simpleWorld(delta);
    const move = (name: string) => [
      world.put("cluster", cluster(name)),
      world.put("route", httpRoute("home", "web", "/home", [name])),
    ];
    world.commitTogether(...["b", "c", "d", "e", "f", "g"].map(move));
    for (const name of ["h", "i", "j", "k", "l", "m"]) world.commit(...move(name));
    do expect(paths(world)).toEqual(["/home"]);
    while (world.envoy.step(world.now));
    expect(world.envoy.routes.get("web")?.clusters).toEqual(["m"]);
    expect(world.envoy.faults).toEqual([]);
  });

  test("a TCP route gets its listener after its cluster", () => {
    const world = simpleWorld(delta);
    world.commit(world.put("listener", tcpListener("tcp", 90)), world.put("route", tcpRoute("echo", "tcp", ["a"])));
    world.settle();
    expect(world.envoy.listeners.get("tcp")?.clusters).toEqual(["tcp/echo"]);
    expect(world.envoy.faults).toEqual([]);
  });

  test("has one response in flight per type, and the latest wins", () => {
    const world = simpleWorld(delta);
    world.written.length = 0;
    for (let port = 10; port < 20; port++) world.commit(world.put("endpoint", endpoint("a", port)));
    expect(world.written).toHaveLength(1);
    world.settle();
    expect(world.written).toHaveLength(2);
    expect(world.stream.ackedRevision("endpoint")).toBe(11);
  });

  test("a missing ack holds the next response back for no longer than the override", () => {
    const world = simpleWorld(delta);
    world.written.length = 0;
    world.commit(world.put("endpoint", endpoint("a", 10)));
    world.commit(world.put("endpoint", endpoint("a", 11)));
    expect(world.stream.wakeAt(world.now)).toBe(world.now + times.inFlightOverrideMs);
    world.now += times.inFlightOverrideMs;
    world.stream.pump(world.now);
    expect(world.written).toHaveLength(2);
  });

  test("a peer that does not read gets nothing more, and the newest when it reads again", () => {
    const world = simpleWorld(delta);
    world.written.length = 0;
    world.block(true);
    for (let port = 10; port < 15; port++) world.commit(world.put("endpoint", endpoint("a", port)));
    expect(world.written).toHaveLength(0);
    world.block(false);
    expect(world.written).toHaveLength(1);
  });

  test("a reconnect with the same content sends nothing again", () => {
    const world = simpleWorld(delta);
    for (const again of [() => world.reconnect(), () => world.restart()]) {
      world.written.length = 0;
      again();
      world.settle();
      expect(world.written).toEqual([]);
      expect(world.stream.ackedRevision("cluster")).toBe(1);
    }
  });

  // Mutants tried and caught: acked by the table's revision alone, which knows nothing of such a removal; what is in flight, or is still to
  // be said, not minded.
  test.each(["reconnect", "restart"] as const)(
    "what a drained Envoy has is unsettled after a %s until it has let go of it",
    (again) => {
      const world = simpleWorld(delta);
      world.drainNode("withdrawn");
      world.block(true); // It reads nothing: what it is to let go of has not been said.
      world[again]();
      world.pass(10_000);
      expect([world.envoy.listeners.size, world.stream.isUnsettled("listener")]).toEqual([1, true]);
      world.block(false);
      let steps = 0;
      while (world.envoy.listeners.size > 0 && steps++ < 100) {
        expect(world.stream.isUnsettled("listener")).toBe(true);
        if (!world.envoy.step(world.now)) world.pass(100);
      }
      world.settle();
      expect([world.envoy.listeners.size, world.stream.isUnsettled("listener"), world.envoy.clusters.size]).toEqual([
        0,
        false,
        1,
      ]);
      world.drainNode(undefined);
      world[again]();
      world.settle();
      expect([[...world.envoy.listeners.keys()], paths(world), world.envoy.faults]).toEqual([["web"], ["/home"], []]);
    },
  );

  test("a reconnect brings only what changed meanwhile, and takes no route away", () => {
    const world = simpleWorld(delta);
    world.commit(world.put("cluster", cluster("b")), world.put("route", httpRoute("new", "web", "/new", ["b"])));
    world.restart(); // Nothing of that had arrived.
    world.settle();
    expect(paths(world)).toEqual(["/home", "/new"]);
    expect(world.envoy.faults).toEqual([]);
  });
});

describe.each([{ delta: true }, { delta: false }])("a refusal, delta $delta", ({ delta }) => {
  test("of one cluster among good ones leaves the good ones live, and is told with Envoy's words", () => {
    const world = simpleWorld(delta);
    world.commit(
      world.put("cluster", cluster("b")),
      world.put("route", httpRoute("new", "web", "/new", ["b"])),
      world.put("cluster", cluster("bad", refusedWholeMs)),
      world.put("route", httpRoute("worse", "web", "/worse", ["bad"])),
    );
    world.settle();
    expect(paths(world)).toEqual(["/home", "/new"]);
    expect(refused(world)).toMatchObject([
      { type: "cluster", name: "bad", detail: "proto constraint validation failed", revision: 2 },
    ]);
    expect(world.envoy.faults).toEqual([]);
    expect(Math.max(...world.envoy.refusals.values())).toBe(2); // Once with the others, once alone.
  });

  test("of a cluster that fails when it is made, alone, takes it out of Envoy and lets the next one in", () => {
    const world = simpleWorld(delta);
    world.commit(
      world.put("cluster", cluster("bad", failsWhenMadeMs)),
      world.put("route", httpRoute("worse", "web", "/worse", ["bad"])),
    );
    world.settle();
    expect(refused(world)).toMatchObject([{ type: "cluster", name: "bad" }]);
    expect(world.envoy.clusters.has("bad")).toBe(false);
    world.commit(world.put("cluster", cluster("b")), world.put("route", httpRoute("new", "web", "/new", ["b"])));
    world.settle();
    expect(paths(world)).toEqual(["/home", "/new"]);
    expect(world.stream.ackedRevision("cluster")).toBe(3);
  });

  test("that Envoy withholds is found by the endpoints that it does not ask for, within the time for that", () => {
    const world = simpleWorld(delta);
    world.commit(
      world.put("cluster", cluster("b")),
      world.put("route", httpRoute("new", "web", "/new", ["b"])),
      world.put("cluster", cluster("bad", failsWhenMadeMs)),
      world.put("route", httpRoute("worse", "web", "/worse", ["bad"])),
    );
    world.settle();
    world.pass(times.unseenClusterMs + 100);
    expect(world.envoy.clusters.has("bad")).toBe(false);
    expect(paths(world)).toEqual(["/home", "/new"]);
    expect(refused(world)).toMatchObject([{ type: "cluster", name: "bad", detail: expect.stringContaining("Error adding") }]);
    expect(world.envoy.faults).toEqual([]);
  });

  test("of a changed cluster puts its last form back, and the new form goes again when it is mended", () => {
    const world = simpleWorld(delta);
    world.commit(world.put("cluster", cluster("a", failsWhenMadeMs)));
    world.settle();
    world.pass(20_000);
    expect(world.envoy.clusters.get("a")?.state).toBe("active");
    expect(refused(world)).toMatchObject([{ type: "cluster", name: "a" }]);
    world.commit(world.put("cluster", cluster("a", 3_000)));
    world.settle();
    expect([...world.stream.exceptions()]).toEqual([]);
    expect(world.stream.ackedRevision("cluster")).toBe(3);
  });

  test("of one endpoint set leaves the others live", () => {
    const world = simpleWorld(delta);
    world.commit(world.put("cluster", cluster("b")), world.put("route", httpRoute("new", "web", "/new", ["b"])));
    world.settle();
    world.commit(world.put("endpoint", endpoint("a", badPort)), world.put("endpoint", endpoint("b", 7)));
    world.settle();
    expect(refused(world)).toMatchObject([{ type: "endpoint", name: "a" }]);
    expect(world.stream.ackedRevision("endpoint")).toBe(3);
    expect(Math.max(...world.envoy.refusals.values())).toBe(2);
  });

  test("of one new endpoint set holds the route to another new cluster until that has its own", () => {
    // Mutant: a cluster is ready by its own ack. Seen on a real Envoy: acks of clusters leave before the refusal of endpoints, and the route went out.
    const world = simpleWorld(delta);
    world.commit(
      world.put("cluster", cluster("bad")),
      world.put("endpoint", endpoint("bad", badPort)),
      world.put("route", httpRoute("bad", "web", "/bad", ["bad"])),
      world.put("cluster", cluster("good")),
      world.put("endpoint", endpoint("good", 7)),
      world.put("route", httpRoute("good", "web", "/good", ["good"])),
    );
    world.settle();
    expect(paths(world)).toEqual(expect.arrayContaining(["/good", "/home"]));
    expect(refused(world)).toMatchObject([{ type: "endpoint", name: "bad" }]);
    expect(world.envoy.faults).toEqual([]);
  });

  test("of a listener is tried again after a while, doubling, as its port may be free by then", () => {
    const world = simpleWorld(delta);
    world.commit(world.put("listener", httpListener("taken", badPort)), world.put("listener", httpListener("free", 81)));
    world.settle();
    expect([...world.envoy.listeners.keys()].sort()).toEqual(["free", "web"]);
    const first = Math.max(...world.envoy.refusals.values());
    world.pass(times.refusalRetryMs - 1_000);
    expect(Math.max(...world.envoy.refusals.values())).toBe(first);
    world.pass(2_000);
    expect(Math.max(...world.envoy.refusals.values())).toBe(first + 1);
    world.pass(times.refusalRetryMs + 2_000);
    expect(Math.max(...world.envoy.refusals.values())).toBe(first + 1); // The second wait is twice as long.
  });

  test("of one route of many leaves every other route live, and that one in its last form", () => {
    const world = simpleWorld(delta);
    const good = Array.from({ length: 9 }, (_, i) => world.put("route", httpRoute(`good-${i}`, "web", `/good-${i}`, ["a"])));
    world.commit(...good, world.put("route", httpRoute("home", "web", badPath, ["a"])));
    world.settle();
    expect(paths(world)).toEqual(["/home", ...Array.from({ length: 9 }, (_, i) => `/good-${i}`)].sort());
    expect(refused(world)).toMatchObject([{ type: "route", name: "web", parts: ["home"] }]);
    world.commit(world.put("route", httpRoute("later", "web", "/later", ["a"])));
    world.settle();
    expect(paths(world)).toContain("/later");
    expect(paths(world)).toContain("/home");
    world.commit(world.put("route", httpRoute("home", "web", "/mended", ["a"])));
    world.settle();
    expect(paths(world)).toContain("/mended");
    expect([...world.stream.exceptions()]).toEqual([]);
  });

  test("is remembered over a reconnect: the same bytes do not go out again", () => {
    const world = simpleWorld(delta);
    world.commit(
      world.put("cluster", cluster("bad", failsWhenMadeMs)),
      world.put("route", httpRoute("worse", "web", "/worse", ["bad"])),
    );
    world.settle();
    const before = Math.max(...world.envoy.refusals.values());
    world.reconnect();
    world.settle();
    world.pass(10_000);
    expect(Math.max(...world.envoy.refusals.values())).toBe(before);
  });

  test("of a route lets the others go on after the control plane restarted", () => {
    const world = simpleWorld(delta);
    world.commit(world.put("route", httpRoute("other", "web", "/other", ["a"])));
    world.commit(world.put("route", httpRoute("home", "web", badPath, ["a"])));
    world.commit(world.put("route", httpRoute("later", "web", "/later", ["a"])));
    world.settle();
    const served = ["/home", "/later", "/other"];
    expect(paths(world)).toEqual(served);
    world.restart();
    world.settle();
    world.pass(2_000);
    expect(paths(world)).toEqual(served);
    world.commit(world.put("route", httpRoute("new", "web", "/new", ["a"])));
    world.settle();
    expect(paths(world)).toEqual(["/home", "/later", "/new", "/other"]);
    expect(refused(world)).toMatchObject([{ type: "route", name: "web", parts: ["home"] }]);
    expect(world.envoy.faults).toEqual([]);
  });

  test("in an Envoy that lost its control plane does not keep new clusters away", () => {
    const world = simpleWorld(delta);
    world.commit(
      world.put("cluster", cluster("bad", failsWhenMadeMs)),
      world.put("route", httpRoute("worse", "web", "/worse", ["bad"])),
    );
    world.envoy.step(world.now); // The broken cluster is in, its refusal on the way, the repair not yet read.
    world.commit(world.put("cluster", cluster("b")), world.put("route", httpRoute("new", "web", "/new", ["b"])));
    world.restart();
    world.settle();
    world.pass(20_000);
    expect(paths(world)).toEqual(["/home", "/new"]);
    expect(world.envoy.faults).toEqual([]);
  });
});

test("a stale nonce in state of the world still brings new names", () => {
  const world = simpleWorld(false);
  world.commit(world.put("cluster", cluster("b")), world.put("route", httpRoute("new", "web", "/new", ["b"])));
  world.settle();
  expect([...world.envoy.endpoints.keys()].sort()).toEqual(["a", "b"]);
});
