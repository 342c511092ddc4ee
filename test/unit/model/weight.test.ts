// Weights as shares of one fixed total: they add up, none that somebody asked for is rounded away, and a growing canary never shrinks.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { toTotal, weightTotal } from "../../../src/model/weight.js";

const weights = fc.array(fc.nat({ max: 10_000 }), { minLength: 1, maxLength: 40 });
const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

test("shares add up to the total, unless every weight is 0", () => {
  fc.assert(
    fc.property(weights, (given) => {
      expect(sum(toTotal(given))).toBe(sum(given) === 0 ? 0 : weightTotal);
    }),
  );
});

test("a share is 0 exactly where the weight is", () => {
  fc.assert(
    fc.property(weights, (given) => {
      expect(toTotal(given).map((share) => share > 0)).toEqual(given.map((weight) => weight > 0));
    }),
  );
});

test("a share is its weight's part of the total, to within 1, where no weight is too small for a share", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 50, max: 10_000 }), { minLength: 1, maxLength: 40 }), (given) => {
      for (const [at, share] of toTotal(given).entries()) {
        expect(Math.abs(share - ((given[at] ?? 0) * weightTotal) / sum(given))).toBeLessThan(1);
      }
    }),
  );
});

test("multiplying every weight changes nothing", () => {
  fc.assert(
    fc.property(weights, fc.integer({ min: 1, max: 9 }), (given, factor) => {
      expect(toTotal(given.map((weight) => weight * factor))).toEqual(toTotal(given));
    }),
  );
});

test("of two backends, the last one's share never shrinks while its weight grows: a sticky canary keeps its users", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000 }), fc.nat({ max: 9_999 }), (stable, canary) => {
      const before = toTotal([stable, canary])[1] ?? 0;
      const after = toTotal([stable, canary + 1])[1] ?? 0;
      expect(after).toBeGreaterThanOrEqual(before);
    }),
  );
});

test.each([
  [
    [95, 5],
    [9_500, 500],
  ],
  [
    [1, 1, 1],
    [3_334, 3_333, 3_333],
  ],
  [
    [1, 0, 2],
    [3_333, 0, 6_667],
  ],
  [
    [10_000, 10_000, 1],
    [4_999, 5_000, 1],
  ],
  [
    [0, 7],
    [0, 10_000],
  ],
  [
    [0, 0],
    [0, 0],
  ],
  [[], []],
])("%j becomes %j", (given, expected) => {
  expect(toTotal(given)).toEqual(expected);
});
