// When streams are looked at: at the time that one of them waits for, seldom when none does, and soon when something may happen that
// nothing announces. An idle replica's cost is these looks. Mutants that were tried, and are caught: the look without a reason comes every
// 25 ms; a wake that is due plans the look anew each time, so that it never comes; the wake is forgotten; nothing is urgent.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { GatewaySnapshot } from "../../../src/snapshot/gateway-snapshot.js";
import { createMetrics } from "../../../src/telemetry/metrics.js";
import { type PushedStream, PushLoop } from "../../../src/xds/push-loop.js";

const snapshot = {} as GatewaySnapshot;
const loops: PushLoop<PushedStream>[] = [];
beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  for (const loop of loops.splice(0)) loop.close();
  vi.useRealTimers();
});

/** A loop with one stream: what it was pumped and looked at, ms since its beginning. */
function start(isUrgent = false) {
  const began = Date.now();
  const pumped: number[] = [];
  const looked: number[] = [];
  const stream = {
    snapshot,
    isDirty: false,
    wakeAt: Number.POSITIVE_INFINITY,
    pump() {
      pumped.push(Date.now() - began);
      stream.wakeAt = Number.POSITIVE_INFINITY;
    },
  };
  const loop = new PushLoop<PushedStream>(createMetrics(), Date.now, () => {
    looked.push(Date.now() - began);
    return isUrgent;
  });
  loops.push(loop);
  loop.add(stream);
  const wakeIn = (ms: number): void => {
    stream.wakeAt = Date.now() + ms;
    loop.wake(stream.wakeAt, Date.now());
  };
  return { loop, pumped, looked, wakeIn };
}

test("an idle stream is looked at four times a second, and never pumped", () => {
  const { looked, pumped } = start();
  vi.advanceTimersByTime(1_000);
  expect(looked).toEqual([250, 500, 750, 1_000]);
  expect(pumped).toEqual([]);
});

test("one that waits for a time is pumped then, within the grain, and not again", () => {
  const { pumped, wakeIn, looked } = start();
  vi.advanceTimersByTime(100);
  wakeIn(40);
  vi.advanceTimersByTime(1_000);
  wakeIn(3);
  vi.advanceTimersByTime(1_000);
  expect(pumped).toEqual([140, 1_125]);
  expect(looked.length).toBeLessThan(12);
});

test("a later time does not move an earlier one, and what is due already does not put it off", () => {
  const { pumped, wakeIn, loop } = start();
  wakeIn(60);
  loop.wake(Date.now() + 10_000, Date.now());
  for (let at = 0; at < 10; at++) {
    vi.advanceTimersByTime(10);
    loop.wake(Date.now(), Date.now());
  }
  expect(pumped).toEqual([60]);
});

test("a time far off costs no looks of its own", () => {
  const { pumped, looked, wakeIn } = start();
  wakeIn(5_000);
  vi.advanceTimersByTime(5_250);
  expect(pumped).toEqual([5_000]);
  expect(looked).toHaveLength(21);
});

test("what may happen unannounced is looked for every 25 ms; after the end nothing is", () => {
  const { looked, loop } = start(true);
  vi.advanceTimersByTime(250 + 250);
  expect(looked).toHaveLength(11);
  loop.close();
  loop.wake(Date.now(), Date.now());
  vi.advanceTimersByTime(1_000);
  expect(looked).toHaveLength(11);
});
