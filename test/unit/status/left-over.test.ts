// What load reports don't account for, and when a report was made. Mutants that they caught: a sample paired with the interval before it;
// requests that began in the interval taken for steady; the moment of a change counted as after it; a burst at the start taken for fresh.
import { describe, expect, test } from "vitest";
import { LeftOver } from "../../../src/status/left-over.js";
import { ReportClock } from "../../../src/status/report-clock.js";

const gauges = (requests: number, pending = 0, membershipChanged = false) => ({
  connections: requests,
  requests,
  pending,
  membershipChanged,
});
const interval = (second: number, steady: number) => ({ beganAt: second * 1_000, madeAt: (second + 1) * 1_000, steady });

describe("what is left over", () => {
  test("is what the gauges count beyond what was steady in the interval of the sample, once that has been reported", () => {
    const leftOver = new LeftOver();
    leftOver.interval(interval(0, 5));
    leftOver.sample(gauges(7), 1_500);
    expect(leftOver.bound(0)).toBe(7);
    leftOver.interval(interval(1, 4));
    expect(leftOver.bound(0)).toBe(3);
    leftOver.sample(gauges(4), 2_500);
    leftOver.interval(interval(2, 4));
    expect(leftOver.bound(0)).toBe(0);
  });

  test("a sample near the border of two intervals counts against the lesser of both", () => {
    const leftOver = new LeftOver();
    leftOver.interval(interval(0, 5));
    leftOver.sample(gauges(7), 2_000);
    leftOver.interval(interval(1, 5));
    expect(leftOver.bound(0)).toBe(7);
    leftOver.interval(interval(2, 3));
    expect(leftOver.bound(0)).toBe(4);
  });

  test("what waits for a connection is left over, too", () => {
    const leftOver = new LeftOver();
    leftOver.sample(gauges(0, 2), 1_000);
    expect([leftOver.bound(0), leftOver.quietSince(0)]).toEqual([2, undefined]);
    leftOver.sample(gauges(2, 0), 2_000);
    leftOver.sample(gauges(3, 1), 3_000);
    expect([leftOver.bound(0), leftOver.quietSince(0), leftOver.quietSince(2_500)]).toEqual([2, 2_000, undefined]);
  });

  test("counts from the last change of membership on, when workers have taken it over", () => {
    const leftOver = new LeftOver();
    leftOver.sample(gauges(0), 1_000);
    leftOver.sample(gauges(0, 0, true), 2_000);
    leftOver.sample(gauges(0), 3_000);
    expect(leftOver.bound(undefined)).toBeUndefined();
    leftOver.sample(gauges(1), 3_600);
    expect(leftOver.bound(undefined)).toBe(1);
  });

  test("or from the first change after the host was last replaced, as the control plane knows", () => {
    const leftOver = new LeftOver();
    leftOver.sample(gauges(0, 0, true), 2_000);
    leftOver.sample(gauges(4), 4_000);
    leftOver.sample(gauges(3), 5_000);
    leftOver.sample(gauges(5, 0, true), 20_000);
    leftOver.sample(gauges(6), 22_000);
    expect([leftOver.bound(undefined), leftOver.bound(1_000), leftOver.bound(2_500), leftOver.bound(20_500)]).toEqual([
      6, 3, 6, 6,
    ]);
    expect(leftOver.bound(22_500)).toBeUndefined();
  });
});

describe("when a report was made", () => {
  const readings = (clock: ReportClock, reports: readonly (readonly [number, number])[]) =>
    reports.map(([step, at]) => clock.received(step, at));

  test("when it came, if reports come evenly", () => {
    expect(
      readings(new ReportClock(0), [
        [1_000, 1_010],
        [1_000, 2_010],
        [1_000, 3_010],
      ]),
    ).toEqual([1_010, expect.closeTo(2_010, 0), expect.closeTo(3_010, 0)]);
  });

  test("long before it came, if reports of some seconds come at once", () => {
    const clock = new ReportClock(0);
    readings(clock, [
      [1_000, 1_010],
      [1_000, 2_010],
    ]);
    const burst = readings(
      clock,
      Array.from({ length: 5 }, () => [1_000, 7_100] as const),
    );
    for (const [index, at] of burst.entries()) expect(at).toBeCloseTo(3_010 + index * 1_000, -1);
  });

  test("not known of a burst at the start, until one comes by itself", () => {
    const clock = new ReportClock(0);
    const burst = readings(
      clock,
      Array.from({ length: 4 }, () => [1_000, 5_000] as const),
    );
    expect(burst).toEqual([undefined, undefined, undefined, undefined]);
    expect(clock.received(1_000, 6_000)).toBeCloseTo(6_000, -1);
  });

  test("a clock that runs 50 ppm slow does not make reports look old, however long the stream lasts", () => {
    const clock = new ReportClock(0);
    let last: number | undefined;
    for (let second = 1; second <= 100_000; second++) last = clock.received(999.95, second * 1_000);
    expect(last).toBeCloseTo(100_000_000, -2);
  });

  test("a clock that was set back, or a machine that slept, is found out by even reports", () => {
    const clock = new ReportClock(0);
    let last: number | undefined;
    for (let second = 1; second <= 5; second++) last = clock.received(1_000, second * 1_000);
    last = clock.received(-3_600_000, 6_000);
    expect(last).toBeLessThan(-3_000_000);
    for (let second = 7; second <= 30; second++) last = clock.received(1_000, second * 1_000);
    expect(last).toBeCloseTo(30_000, -2);
  });
});
