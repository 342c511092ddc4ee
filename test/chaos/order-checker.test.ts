// The judge of what Envoys got finds each fault that it is there for, and lets pass what is right.
import { expect, test } from "vitest";
import { findRegressions, type SeenVersion, type Timeline } from "./order-checker.js";

/** revision → what `a` was set to. */
const timeline = (fork: number, values: Readonly<Record<number, number>>): Timeline => ({
  fork,
  changes: new Map(
    Object.entries(values).map(([revision, after]) => [Number(revision), [{ name: "a", before: undefined, after }]]),
  ),
});
const first = timeline(0, { 1: 10, 3: 30, 5: 50, 7: 70 });
/** The standby had 1 to 4; 5 and 7 are lost, and their numbers were taken again. */
const second = timeline(4, { 1: 10, 3: 30, 5: 51, 6: 61 });

const numbers = (...seen: number[]) => ({ node: "n", numbers: new Map([["a", seen]]), versions: new Map() });
const versions = (...seen: readonly (readonly [string, number])[]) => ({
  node: "n",
  numbers: new Map(),
  versions: new Map([["cluster a", seen.map(([hash, revision]): SeenVersion => ({ hash, revision }))]]),
});

test.each([
  ["everything", [10, 30, 50, 70]],
  ["the latest of several", [10, 70]],
  ["some of it", [30, 50]],
])("%s in order is right", (_, seen) => {
  expect(findRegressions([numbers(...seen)], [first])).toEqual([]);
});

test.each([
  ["back to what holds there", [10, 30, 50, 70, 30, 51, 61]],
  ["on to what came after", [70, 51]],
  ["and its newest at once", [50, 61]],
  ["from where the two are one", [30, 51]],
])("over to another history: %s is right", (_, seen) => {
  expect(findRegressions([numbers(...seen)], [first, second])).toEqual([]);
});

test.each([
  [
    "older after newer, as of a paused replica that does not ask how new it is",
    [first],
    [10, 50, 30],
    "30 came after 50, which is newer",
  ],
  ["older than what holds in the other history", [first, second], [70, 10], "10 came after 70, which is newer"],
  ["back to the history that was left", [first, second], [30, 51, 70], "70 came after 51, which is newer"],
  ["what nobody committed", [first], [10, 31], "31 was never committed"],
] as const)("%s is found", (_, histories, seen, text) => {
  expect(findRegressions([numbers(...seen)], histories)).toEqual([`n, a: ${text}`]);
});

test("versions: what is encoded later, or the same, is right; over a fork one step back is", () => {
  expect(findRegressions([versions(["x", 1], ["y", 5], ["z", 5], ["w", 9])], [first])).toEqual([]);
  expect(findRegressions([versions(["x", 1], ["y", 7], ["z", 5], ["w", 6])], [first, second])).toEqual([]);
});

test.each([
  [
    "older bytes after newer ones",
    [first],
    [
      ["x", 5],
      ["y", 3],
    ],
    1,
  ],
  [
    "a step back over a fork to before it",
    [first, second],
    [
      ["x", 7],
      ["y", 3],
    ],
    1,
  ],
  [
    "two steps back over one fork",
    [first, second],
    [
      ["x", 7],
      ["y", 5],
      ["z", 7],
      ["w", 5],
    ],
    1,
  ],
] as const)("versions: %s is found", (_, histories, seen, count) => {
  expect(findRegressions([versions(...seen)], histories)).toHaveLength(count);
});
