// Promises about shares: uneven ones become even, even ones stay, and nobody is let go when it does not help or nothing is known.
// Mutants that were tried, and are caught: no look at the one with the least; no slack of one Envoy; letting go without an end; a storm
// that is not waited for.
import { describe, expect, test } from "vitest";
import type { Shares } from "../../../src/status/fleet.js";
import { createLogger } from "../../../src/telemetry/logger.js";
import { Balance, surplusOf } from "../../../src/xds/balance.js";

const shares = (own: number, ...others: readonly number[]): Shares => ({
  own,
  others: new Map(others.map((count, at) => [`r${at}`, count])),
});

test("a surplus is what is above the mean, and only where shares are uneven", () => {
  expect(surplusOf(shares(100))).toBe(0);
  expect(surplusOf(shares(100, 0))).toBe(50);
  expect(surplusOf(shares(0, 100))).toBe(0);
  expect(surplusOf(shares(110, 90))).toBe(0);
  expect(surplusOf(shares(113, 87))).toBe(13);
  expect(surplusOf(shares(107, 107, 80))).toBe(9); // Nobody is above 1.1, and the third is below 0.85.
  expect([surplusOf(shares(1, 0)), surplusOf(shares(2, 1)), surplusOf(shares(2, 0))]).toEqual([0, 0, 0]);
});

/** A fleet whose Envoys come back to any replica, the same one among them; one round is a second. */
function settle(counts: number[], maxPerSecond: number, rounds: number): { readonly at: number; readonly moves: number } {
  let seed = 7;
  const random = (): number => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
  const log = createLogger("silent");
  let now = 0;
  // Others are seen as they were two rounds ago: a beat is that old.
  const seen = [counts.slice(), counts.slice()];
  const balances = counts.map(
    (_, me) =>
      new Balance({
        maxPerSecond,
        log,
        now: () => now,
        turnedAwayAt: () => Number.NEGATIVE_INFINITY,
        shares: () => shares(counts[me] ?? 0, ...(seen[0] ?? []).filter((__, at) => at !== me)),
      }),
  );
  let moves = 0;
  let evenAt = -1;
  for (let round = 0; round < rounds; round++) {
    now += 1_000;
    for (const [me, balance] of balances.entries()) {
      for (let due = balance.due(); due > 0; due--) {
        moves += 1;
        const to = Math.floor(random() * counts.length);
        counts[me] = (counts[me] ?? 0) - 1;
        counts[to] = (counts[to] ?? 0) + 1;
      }
    }
    seen.shift();
    seen.push(counts.slice());
    const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
    const isEven = counts.every((count) => count <= 1.15 * mean + 1 && count >= 0.85 * mean - 1);
    if (!isEven) evenAt = -1;
    else if (evenAt < 0) evenAt = round;
  }
  return { at: evenAt, moves };
}

describe("a replica that is added", () => {
  test.each([
    { counts: [2_500, 2_500, 0] },
    { counts: [5_000, 0] },
    { counts: [50, 50, 0] },
    { counts: [1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 0] },
  ])("$counts are within 15 % of the mean in 120 s, and stay", ({ counts }) => {
    const { at, moves } = settle([...counts], 50, 300);
    expect([at >= 0 && at <= 120, at]).toEqual([true, at]);
    expect(moves).toBeLessThan(2 * counts.reduce((sum, count) => sum + count, 0));
  });
});

test("where those who are let go come back, it is given up for half an hour, or until the replicas are others", () => {
  let now = 0;
  let others = shares(100, 0);
  let turnedAwayAt = Number.NEGATIVE_INFINITY;
  const balance = new Balance({
    maxPerSecond: 50,
    log: createLogger("silent"),
    now: () => now,
    shares: () => others,
    turnedAwayAt: () => turnedAwayAt,
  });
  const letGoIn = (seconds: number): number => {
    let sum = 0;
    for (let second = 0; second < seconds; second++) {
      now += 1_000;
      sum += balance.due();
    }
    return sum;
  };
  expect(letGoIn(1_000)).toBe(300);
  others = shares(100, 0, 0);
  expect([letGoIn(10), letGoIn(5)]).toEqual([0, 10]); // Who has just come may change it.
  turnedAwayAt = now;
  expect([letGoIn(9), letGoIn(5)]).toEqual([0, 10]); // In a storm, everybody is moving anyway.
  others = shares(100, 0);
  expect(letGoIn(500)).toBe(300);
  expect(letGoIn(1_800)).toBe(300);
});

test("nobody is let go while the database is away, or where it is switched off", () => {
  const of = (maxPerSecond: number, read: () => Shares | undefined): number => {
    let now = 0;
    const options = { maxPerSecond, log: createLogger("silent"), now: () => now, shares: read, turnedAwayAt: () => -1e9 };
    const balance = new Balance(options);
    balance.due();
    now = 10_000;
    return balance.due();
  };
  expect(of(50, () => shares(100, 0))).toBe(2);
  expect(of(50, () => undefined)).toBe(0);
  expect(of(0, () => shares(100, 0))).toBe(0);
});
