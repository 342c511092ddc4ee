// Promises about who is let in. Mutants that were tried, and are caught: a stream that takes too long keeps its place; a token taken from the rate by who is
// turned away for another reason.
import { expect, test } from "vitest";
import { Admission } from "../../../src/xds/admission.js";

const limits = { newStreamsPerSecond: 10, newStreamBurst: 5, maxFirstPushes: 2 };

test("so many are on their first configuration at once; one that has it, has gone or takes too long makes room", () => {
  const admission = new Admission<string>(limits);
  const enter = (stream: string, now: number): string | undefined => {
    const limit = admission.turnsAway(now);
    if (!limit) admission.opened(stream, now);
    return limit;
  };
  expect([enter("a", 0), enter("b", 5_000), enter("c", 5_000)]).toEqual([undefined, undefined, "xds_max_first_pushes"]);
  admission.settled("b");
  expect(admission.onFirst()).toEqual(["a"]);
  expect([enter("c", 5_000), enter("d", 9_999), enter("d", 10_000)]).toEqual([undefined, "xds_max_first_pushes", undefined]);
  expect(admission.onFirst()).toEqual(["c", "d"]);
});

test("who is turned away because others are being served costs the rate nothing", () => {
  const admission = new Admission<string>(limits);
  for (const stream of ["a", "b"]) admission.opened(stream, 0);
  for (let turn = 0; turn < 100; turn++) expect(admission.turnsAway(0)).toBe("xds_max_first_pushes");
  for (const stream of ["a", "b"]) admission.settled(stream);
  expect([1, 2, 3, 4, 5, 6].map(() => admission.turnsAway(0))).toEqual([
    ...Array(5).fill(undefined),
    "xds_new_streams_per_second",
  ]);
});

test("the advice differs from stream to stream", () => {
  const advice = Array.from({ length: 100 }, () => Admission.retryMs());
  expect(new Set(advice).size).toBeGreaterThan(50);
  expect(advice.every((ms) => ms >= 500 && ms <= 2_500)).toBe(true);
});
