// What load reports don't account for, and when a report was made. Mutants that they caught: a sample paired with the interval before it;
// requests that began in the interval taken for steady; the moment of a change counted as after it; a burst at the start taken for fresh;
// the oldest minimum forgotten first; a change that is not explained forgotten; a cluster that was there taken for new; a cluster
// whose coming is not told taken for known.
import { describe, expect, test } from "vitest";
import { LeftOver } from "../../../src/status/left-over.js";
import { ReportClock } from "../../../src/status/report-clock.js";

const gauges = (requests: number, pending = 0, membershipChanges = 0) => ({
  connections: requests,
  requests,
  pending,
  membershipChanges,
});
const interval = (second: number, steady: number) => ({ beganAt: second * 1_000, madeAt: (second + 1) * 1_000, steady });
const nothing = () => false;
/** A host that was never replaced, as far as is known. */
const known = { since: 0, replacedAt: undefined };
const replacedAt = (at: number) => ({ since: 0, replacedAt: at });
/** Seen for the first time long ago, when it was busy, and so not known from its beginning. */
function busy(): LeftOver {
  const leftOver = new LeftOver(undefined);
  leftOver.sample(gauges(99), -9_000, nothing);
  return leftOver;
}

describe("what is left over", () => {
  test("is what the gauges count beyond what was steady in the interval of the sample, once that has been reported", () => {
    const leftOver = busy();
    leftOver.interval(interval(0, 5));
    leftOver.sample(gauges(7), 1_500, nothing);
    expect(leftOver.bound(known)).toBe(7);
    leftOver.interval(interval(1, 4));
    expect(leftOver.bound(known)).toBe(3);
    leftOver.sample(gauges(4), 2_500, nothing);
    leftOver.interval(interval(2, 4));
    expect(leftOver.bound(known)).toBe(0);
  });

  test("a sample near the border of two intervals counts against the lesser of both", () => {
    const leftOver = busy();
    leftOver.interval(interval(0, 5));
    leftOver.sample(gauges(7), 2_000, nothing);
    leftOver.interval(interval(1, 5));
    expect(leftOver.bound(known)).toBe(7);
    leftOver.interval(interval(2, 3));
    expect(leftOver.bound(known)).toBe(4);
  });

  test("what waits for a connection is left over, too", () => {
    const leftOver = busy();
    leftOver.sample(gauges(0, 2), 1_000, nothing);
    expect([leftOver.bound(known), leftOver.quietSince(0)]).toEqual([2, undefined]);
    leftOver.sample(gauges(2, 0), 2_000, nothing);
    leftOver.sample(gauges(3, 1), 3_000, nothing);
    expect([leftOver.bound(known), leftOver.quietSince(0), leftOver.quietSince(2_500)]).toEqual([2, 2_000, undefined]);
  });

  test("of hosts of which nothing is known counts from the last change of membership on, when workers have taken it over", () => {
    const leftOver = busy();
    leftOver.sample(gauges(0), 1_000, nothing);
    leftOver.sample(gauges(0, 0, 1), 2_000, nothing);
    leftOver.sample(gauges(0), 3_000, nothing);
    expect(leftOver.bound(undefined)).toBeUndefined();
    leftOver.sample(gauges(1), 3_600, nothing);
    expect(leftOver.bound(undefined)).toBe(1);
  });
});

describe("a cluster that is never quiet", () => {
  const everything = () => true;

  test("leaves nothing over when the Envoy did not have it before, however many hosts came and went for a reason", () => {
    const leftOver = new LeftOver(500);
    for (let at = 1_000; at <= 60_000; at += 1_000) leftOver.sample(gauges(at / 1_000, 0, 1), at, everything);
    expect(leftOver.bound(known)).toBe(0);
    expect(leftOver.bound({ since: 1_001, replacedAt: undefined })).toBeGreaterThan(0);
  });

  test("is bounded from the first sample on when it was there already", () => {
    const leftOver = new LeftOver(undefined);
    for (let at = 1_000; at <= 9_000; at += 1_000) leftOver.sample(gauges(9), at, everything);
    expect(leftOver.bound(known)).toBe(9);
    expect(new LeftOver(undefined).bound(known)).toBeUndefined();
  });

  test("a change that nothing explains within seconds may have replaced any host; until it is known, too", () => {
    const leftOver = new LeftOver(500);
    leftOver.sample(gauges(5, 0, 1), 1_000, nothing);
    expect(leftOver.bound(known)).toBe(0);
    leftOver.sample(gauges(6, 0, 1), 2_000, nothing);
    expect(leftOver.bound(known)).toBeUndefined();
    leftOver.sample(gauges(7), 4_000, everything);
    expect(leftOver.bound(known)).toBe(0);
    leftOver.sample(gauges(7, 0, 1), 5_000, nothing);
    leftOver.sample(gauges(7), 8_500, nothing);
    leftOver.sample(gauges(8), 9_000, everything);
    expect(leftOver.bound(known)).toBe(7);
  });

  test("an Envoy whose settings leave out that hosts come and go proves nothing", () => {
    const leftOver = new LeftOver(500);
    for (let at = 1_000; at <= 9_000; at += 1_000) leftOver.sample(gauges(5), at, everything);
    expect(leftOver.bound(known)).toBe(5);
  });

  test("a second change in the sample in which the cluster came is one that has to be explained", () => {
    const leftOver = new LeftOver(500);
    leftOver.sample(gauges(5, 0, 2), 1_000, nothing);
    expect(leftOver.bound(known)).toBeUndefined();
  });

  test("more changes than are looked at are not forgotten for known", () => {
    const leftOver = new LeftOver(0);
    leftOver.sample(gauges(5), 0, nothing);
    for (let at = 1; at <= 100; at++) leftOver.sample(gauges(5, 0, 1), at, nothing);
    leftOver.sample(gauges(5), 101, (at) => at > 50);
    expect(leftOver.unexplainedAt).toBe(84);
  });
});

describe("a host that was replaced", () => {
  test("counts from the last change that the Envoy told within the time that it may take for it", () => {
    const leftOver = busy();
    const all = () => true;
    leftOver.sample(gauges(1), 1_000, all);
    leftOver.sample(gauges(2, 0, 1), 2_000, all);
    leftOver.sample(gauges(3, 0, 1), 5_000, all);
    leftOver.sample(gauges(4), 7_000, all);
    leftOver.sample(gauges(5, 0, 1), 20_000, all);
    leftOver.sample(gauges(6), 22_000, all);
    expect(
      [replacedAt(-10_000), replacedAt(1_500), replacedAt(6_000), replacedAt(9_000)].map((steady) => leftOver.bound(steady)),
    ).toEqual([1, 4, 5, 5]);
    expect(leftOver.bound(replacedAt(19_900))).toBe(6);
    expect(leftOver.bound(replacedAt(21_900))).toBeUndefined();
  });

  test("counts from the end of that time where the changes within it are forgotten", () => {
    const leftOver = busy();
    for (let at = 1_000; at <= 30_000; at += 1_000) leftOver.sample(gauges(at / 1_000, 0, 1), at, () => true);
    expect(leftOver.bound(replacedAt(500))).toBe(12);
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
