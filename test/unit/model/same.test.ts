// Equality by content, as rows and bodies need it.
import { expect, test } from "vitest";
import { sameContent } from "../../../src/model/same.js";

test("key order and undefined keys do not matter", () => {
  expect(sameContent({ a: 1, b: { c: [1, 2], d: undefined } }, { b: { c: [1, 2] }, a: 1 })).toBe(true);
});

test.each([
  [{ a: 1 }, { a: 2 }],
  [{ a: 1 }, { a: 1, b: 1 }],
  [
    [1, 2],
    [2, 1],
  ],
  [[1], [1, undefined]],
  [[], {}],
  [null, {}],
  ["1", 1],
])("%j and %j differ", (one, other) => {
  expect(sameContent(one, other)).toBe(false);
});
