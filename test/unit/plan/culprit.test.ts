// Promises of the search for who is at fault: the one that is refused alone is found, in few questions; nobody is blamed otherwise.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type Answer, findCulprit } from "../../../src/plan/culprit.js";

const range = (length: number): number[] => Array.from({ length }, (_, at) => at);

test("one guilty of any number is found, with at most two questions for each halving", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 3000 }).chain((count) => fc.tuple(fc.constant(count), fc.nat(count - 1))),
      async ([count, guilty]) => {
        let questions = 0;
        const found = await findCulprit(range(count), async (some) => {
          questions++;
          return some.includes(guilty) ? "refused" : "accepted";
        });
        expect(found).toBe(guilty);
        expect(questions).toBeLessThanOrEqual(Math.max(1, 2 * Math.ceil(Math.log2(count))));
      },
    ),
    { numRuns: 300 },
  );
});

test("of several guilty ones, one is found", async () => {
  const guilty = [3, 700, 999];
  const found = await findCulprit(range(1000), async (some) =>
    guilty.some((one) => some.includes(one)) ? "refused" : "accepted",
  );
  expect(guilty).toContain(found);
});

test("two that are refused only together are not blamed", async () => {
  const ask = async (some: readonly number[]): Promise<Answer> => (some.includes(0) && some.includes(9) ? "refused" : "accepted");
  expect(await findCulprit(range(10), ask)).toBeUndefined();
});

test("the only suspect is asked about, and not blamed for what it did not do", async () => {
  expect(await findCulprit([7], async () => "accepted")).toBeUndefined();
  expect(await findCulprit([7], async () => "refused")).toBe(7);
  expect(await findCulprit([], async () => "refused")).toBeUndefined();
});

test("a question without an answer ends the search", async () => {
  let questions = 0;
  const ask = async (): Promise<Answer> => (++questions === 3 ? "unknown" : "refused");
  expect(await findCulprit(range(64), ask)).toBeUndefined();
  expect(questions).toBe(3);
});
