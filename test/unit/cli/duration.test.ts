// Times of the command line. Mutants: no bound; a unit that is not looked at.
import { expect, test } from "vitest";
import { toDurationMs } from "../../../src/cli/duration.js";

test.each([
  ["10s", 10_000],
  ["500ms", 500],
  ["500", 500],
  ["2m", 120_000],
  ["1h", 3_600_000],
])("%s is %d ms", (given, ms) => {
  expect(toDurationMs(given, { most: 86_400_000 })).toBe(ms);
});

test.each(["", "0", "121s", "-1", "3m", "1.5s", "1d"])("%j is no time of up to two minutes", (given) => {
  expect(() => toDurationMs(given, { least: 1, most: 120_000 })).toThrow("at most 2m");
});
