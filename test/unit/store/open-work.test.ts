// What jobs believe of the feed's word that nothing is open: only while it is young, and never against what it says later.
import { expect, test } from "vitest";
import { OpenWork } from "../../../src/store/open-work.js";

const none = { drains: false, rebalances: false, leases: false, rollouts: false };

test("a job asks for itself until the feed has said that there is nothing, and again when that is a second old", () => {
  // Mutants: a feed that was never heard has said "none" when the clock began; an answer that never ages.
  let now = 500;
  const work = new OpenWork(() => now);
  expect(work.mayBe("drains")).toBe(true);
  work.note(none, now);
  expect(work.mayBe("drains")).toBe(false);
  now += 1_000;
  expect(work.mayBe("drains")).toBe(false);
  now += 1;
  expect(work.mayBe("drains")).toBe(true);
});

test("an answer is as old as its question: what was committed after that is not in it", () => {
  // Mutant: the time of the answer counts.
  let now = 5_000;
  const work = new OpenWork(() => now);
  now += 3_000; // So long the database took.
  work.note(none, 5_000);
  expect(work.mayBe("leases")).toBe(true);
});

test("whoever waits for work is told once when some comes, and each kind apart", () => {
  // Mutants: told at each answer; told of other kinds.
  const work = new OpenWork(() => 0);
  const told: string[] = [];
  work.onCame("drains", () => told.push("drains"));
  const stop = work.onCame("rollouts", () => told.push("rollouts"));
  work.note(none, 0);
  work.note({ ...none, drains: true }, 0);
  work.note({ ...none, drains: true }, 0);
  expect(told).toEqual(["drains"]);
  expect([work.mayBe("drains"), work.mayBe("rollouts")]).toEqual([true, false]);
  stop();
  work.note({ ...none, drains: true, rollouts: true }, 0);
  work.note(none, 0);
  work.note({ ...none, drains: true }, 0);
  expect(told).toEqual(["drains", "drains"]);
});
