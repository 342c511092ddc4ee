// Promises of a diff: the smallest places that tell it all, and enough to get from one side to the other.
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Difference, difference } from "../../../src/plan/diff.js";

test("names the smallest places that differ", () => {
  expect(difference({ a: 1, b: { c: [1, 2], d: "x" } }, { a: 1, b: { c: [1, 3], d: "x" } })).toEqual([
    { pointer: "/b/c/1", before: 2, after: 3 },
  ]);
});

test("a field that comes has no before, one that goes has no after", () => {
  expect(difference({ a: 1 }, { b: [] })).toEqual([
    { pointer: "/a", before: 1 },
    { pointer: "/b", after: [] },
  ]);
  expect(difference({ a: undefined }, {})).toEqual([]);
});

test("an object that comes or goes is one difference", () => {
  expect(difference(undefined, { a: 1 })).toEqual([{ pointer: "", after: { a: 1 } }]);
  expect(difference({ a: 1 }, undefined)).toEqual([{ pointer: "", before: { a: 1 } }]);
});

test("lists that grow or shrink differ at their end", () => {
  expect(difference([1], [1, 2])).toEqual([{ pointer: "/1", after: 2 }]);
  expect(difference([1, 2], [1])).toEqual([{ pointer: "/1", before: 2 }]);
});

test("keys with slashes and tildes are escaped", () => {
  expect(difference({ "a/b~c": 1 }, { "a/b~c": 2 })).toEqual([{ pointer: "/a~1b~0c", before: 1, after: 2 }]);
});

/** What JSON keeps of it. */
const plain = (value: unknown): unknown => (value === undefined ? undefined : JSON.parse(JSON.stringify(value)));

function patched(before: unknown, differences: readonly Difference[]): unknown {
  let root: unknown = plain(before);
  // From the end, so that members of a list go before those that they follow.
  for (const { pointer, after } of [...differences].reverse()) {
    const path = pointer
      .split("/")
      .slice(1)
      .map((segment) => segment.replaceAll("~1", "/").replaceAll("~0", "~"));
    const last = path.pop();
    if (last === undefined) {
      root = plain(after);
      continue;
    }
    const parent = path.reduce<unknown>((value, key) => Reflect.get(Object(value), key), root);
    if (after !== undefined) Reflect.set(Object(parent), last, plain(after));
    else if (Array.isArray(parent)) parent.length = Math.min(parent.length, Number(last));
    else Reflect.deleteProperty(Object(parent), last);
  }
  return root;
}

test("applied to one side, it gives the other, and of equal sides it is empty", () => {
  // Mutants: a diff that forgets removed keys, or the tail of a longer list.
  const json = fc.jsonValue({ maxDepth: 3 });
  fc.assert(
    fc.property(json, json, (one, other) => {
      const [before, after] = [plain(one), plain(other)];
      expect(patched(before, difference(before, after))).toEqual(after);
      expect(difference(before, plain(before))).toEqual([]);
    }),
    { numRuns: 500 },
  );
});
