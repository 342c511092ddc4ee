// What a push and an answer cost one stream, counted and not timed: the types that are looked at, and what status/ is told to read. That it is
// told enough is held by every model test (support/stream-world.ts).
// Mutants that it caught: an Attention that needs every type; one that is never at rest; news of every push.
import { describe, expect, test, vi } from "vitest";
import { exceptionsBit, typeBits } from "../../../src/status/node-report.js";
import { TypeStream } from "../../../src/xds/type-stream.js";
import { cluster, endpoint, httpRoute, type StreamWorld, simpleWorld, times } from "../../support/stream-world.js";

/** An Envoy that has everything, long ago. */
function quietWorld(delta: boolean): StreamWorld {
  const world = simpleWorld(delta);
  world.pass(2 * times.removalGraceMs);
  world.takeNews();
  return world;
}

/** Types that were looked at by `step`. */
function looksOf(step: () => void): string[] {
  const pump = vi.spyOn(TypeStream.prototype, "pump");
  step();
  const types = pump.mock.contexts.map((stream) => (stream instanceof TypeStream ? stream.type : ""));
  pump.mockRestore();
  return types;
}

describe.each([{ delta: true }, { delta: false }])("of a healthy stream, delta $delta", ({ delta }) => {
  test("a push looks at what changed alone, and gives status nothing to read; the answer gives it that type", () => {
    const world = quietWorld(delta);
    expect(looksOf(() => void world.commit(world.put("endpoint", endpoint("a", 2))))).toEqual(["endpoint"]);
    expect(world.takeNews()).toBe(0);
    expect(looksOf(() => world.settle())).toEqual(["endpoint"]);
    expect(world.takeNews()).toBe(typeBits.endpoint);
    expect(looksOf(() => void world.commit(world.put("route", httpRoute("home", "web", "/new", ["a"]))))).toEqual(["route"]);
    expect(looksOf(() => world.settle())).toEqual(["route"]);
    expect(world.takeNews()).toBe(typeBits.route);
  });

  test("nothing is looked at when nothing happened, and it wants to be woken for nothing", () => {
    const world = quietWorld(delta);
    expect(looksOf(() => world.stream.pump(world.now))).toEqual([]);
    expect(world.stream.wakeAt(world.now)).toBe(Number.POSITIVE_INFINITY);
  });
});

test("what is held is told when it comes to be, and again when it has gone", () => {
  const world = quietWorld(true);
  world.commit(world.put("cluster", cluster("b")), world.put("route", httpRoute("other", "web", "/other", ["b"])));
  expect(world.takeNews() & exceptionsBit).toBe(exceptionsBit);
  world.settle();
  world.pass(times.removalGraceMs);
  expect(world.takeNews() & exceptionsBit).toBe(exceptionsBit);
  expect([...world.stream.exceptions()]).toEqual([]);
});
