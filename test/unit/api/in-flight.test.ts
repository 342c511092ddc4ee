// Requests under way: counted, and waited for.
import { expect, test } from "vitest";
import { InFlight } from "../../../src/api/in-flight.js";

test("with nothing under way there is nothing to wait for", async () => {
  await expect(new InFlight(() => {}).none()).resolves.toBeUndefined();
});

test("the last one to end is waited for, and every count is told", async () => {
  const counts: number[] = [];
  const inFlight = new InFlight((count) => counts.push(count));
  const [first, second] = [inFlight.begin(), inFlight.begin()];
  let over = false;
  const none = inFlight.none().then(() => {
    over = true;
  });
  first();
  await Promise.resolve();
  expect(over).toBe(false);
  second();
  await none;
  expect(counts).toEqual([1, 2, 1, 0]);
});
