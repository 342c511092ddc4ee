// What a schema found, in words and codes. Whole bodies go through Ajv in test/api/.
import { expect, test } from "vitest";
import { didYouMean, schemaProblems } from "../../../src/api/schema-problems.js";

test.each([
  ["hots", "hosts"],
  ["timoutMs", "timeoutMs"],
  ["timeoutms", "timeoutMs"],
  ["backedns", "backends"],
  ["Listeners", "listeners"],
])("%s is near %s", (given, meant) => {
  expect(didYouMean(given, ["hosts", "timeoutMs", "backends", "listeners", "match"])).toBe(`; did you mean ${meant}?`);
});

test("what is near nothing gets no advice, and long words are not looked at", () => {
  expect(didYouMean("zzzzzz", ["hosts", "match"])).toBe("");
  expect(didYouMean("x", ["a", "b"])).toBe("");
  expect(didYouMean("h".repeat(100_000), ["hosts"])).toBe("");
});

test("a missing tag is told once, a wrong one with the words that it takes", () => {
  const oneOf = ["http", "tcp"].map((word) => ({ properties: { protocol: { const: word } } }));
  const error = (data: unknown) => ({
    instancePath: "",
    keyword: "discriminator",
    params: { tag: "protocol" },
    data,
    parentSchema: { oneOf },
  });
  expect(schemaProblems([error({})])).toEqual([]);
  expect(schemaProblems([error({ protocol: "htp" })])).toEqual([
    { pointer: "/protocol", code: "not_one_of", detail: "must be one of http, tcp; did you mean http?" },
  ]);
});

test("pointers are escaped", () => {
  const error = {
    instancePath: "/a~1b",
    keyword: "additionalProperties",
    params: { additionalProperty: "c/d~" },
    parentSchema: {},
  };
  expect(schemaProblems([error]).map(({ pointer }) => pointer)).toEqual(["/a~1b/c~1d~0"]);
});
