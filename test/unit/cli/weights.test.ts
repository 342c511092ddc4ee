// Weights as a command line has them.
import { expect, test } from "vitest";
import { readWeights } from "../../../src/cli/weights.js";

test("every word is a backend and its weight", () => {
  expect(readWeights(["a.b-c=95", "d=0"])).toEqual({ "a.b-c": 95, d: 0 });
});

test.each([["a"], ["a="], ["=5"], ["a=-1"], ["a=1.5"], ["a=five"]])("%j is none", (word) => {
  expect(() => readWeights([word])).toThrow(/<cluster>=<number>/);
});

test("a backend named twice is a mistake", () => {
  expect(() => readWeights(["a=1", "a=2"])).toThrow("a is named twice.");
});
