// If-Match and If-None-Match, compared as opaque tags.
import { expect, test } from "vitest";
import { checkPreconditions, etag, readPreconditions, refusePreconditions } from "../../../src/api/preconditions.js";

const outcome = (headers: Record<string, string>, current: number | undefined): string => {
  try {
    checkPreconditions(readPreconditions(headers), current);
    return "goes on";
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : "?";
  }
};

test.each([
  [{}, undefined, "goes on"],
  [{}, 7, "goes on"],
  [{ "if-match": '"7"' }, 7, "goes on"],
  [{ "if-match": '"6", "7"' }, 7, "goes on"],
  [{ "if-match": "*" }, 7, "goes on"],
  [{ "if-match": '"6"' }, 7, "precondition_failed"],
  [{ "if-match": '"7"' }, undefined, "precondition_failed"],
  [{ "if-match": "*" }, undefined, "precondition_failed"],
  [{ "if-match": 'W/"7"' }, 7, "precondition_failed"],
  [{ "if-match": '"99999999999999999999"' }, 7, "precondition_failed"],
  [{ "if-match": '"07"' }, 7, "precondition_failed"],
  [{ "if-none-match": "*" }, undefined, "goes on"],
  [{ "if-none-match": "*" }, 7, "precondition_failed"],
  [{ "if-match": "7" }, 7, "invalid_header"],
  [{ "if-match": "" }, 7, "invalid_header"],
  [{ "if-match": '"7", *' }, 7, "invalid_header"],
  [{ "if-match": '"7' }, 7, "invalid_header"],
  [{ "if-match": Array(21).fill('"7"').join() }, 7, "invalid_header"],
  [{ "if-none-match": '"7"' }, 7, "invalid_header"],
] as const)("%j on an object at %s %s", (headers, current, expected) => {
  expect(outcome(headers, current)).toBe(expected);
});

test("the tag of a revision matches itself, however large it is", () => {
  for (const revision of [0, 1, Number.MAX_SAFE_INTEGER])
    expect(outcome({ "if-match": etag(revision) }, revision)).toBe("goes on");
});

test("sets of endpoints take no tag", () => {
  expect(() => refusePreconditions({})).not.toThrow();
  expect(() => refusePreconditions({ "if-match": "*" })).toThrow("invalid_header");
  expect(() => refusePreconditions({ "if-none-match": "*" })).toThrow("invalid_header");
});
