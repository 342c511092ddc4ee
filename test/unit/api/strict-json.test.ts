// JSON as the API takes it: what JSON.parse takes, less what it takes in silence.
import fc from "fast-check";
import { expect, test } from "vitest";
import { maxJsonDepth, maxJsonValues, parseStrictJson } from "../../../src/api/strict-json.js";
import { AppError } from "../../../src/errors.js";

const parse = (text: string): unknown => parseStrictJson(new TextEncoder().encode(text));

/** `code` of the error, and `code pointer` of each problem. */
function refusal(body: string | Uint8Array): readonly string[] {
  try {
    parseStrictJson(typeof body === "string" ? new TextEncoder().encode(body) : body);
    return [];
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return [error.code, ...error.problems.map(({ code, pointer }) => `${code} ${pointer}`)];
  }
}

test("every JSON value without odd keys and texts is read as JSON.parse reads it", () => {
  const key = fc.string().filter((text) => text !== "__proto__" && !/[\0\p{Surrogate}]/u.test(text));
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 6 },
      fc.boolean(),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.constant(null),
      key,
      fc.array(tie("any")),
      fc.dictionary(key, tie("any")),
    ),
  })).any;
  fc.assert(
    fc.property(value, fc.constantFrom(undefined, 2), (any, indent) => {
      const text = JSON.stringify(any, null, indent);
      expect(parse(text)).toEqual(JSON.parse(text));
    }),
    { numRuns: 500 },
  );
});

test("a key that is twice in one object is refused where it stands, whatever its spelling", () => {
  expect(refusal('{"a":1,"b":{"c":[0,{"d":1,"\\u0064":2}]},"a":3}')).toEqual([
    "malformed_body",
    "duplicate_key /b/c/1/d",
    "duplicate_key /a",
  ]);
  expect(refusal('{"a":{"x":1},"b":{"x":1},"c":["x","x"]}')).toEqual([]);
  expect(refusal('{"a/b":1,"a/b":2}')).toEqual(["malformed_body", "duplicate_key /a~1b"]);
});

test("a text that looks like JSON is still a text", () => {
  expect(parse('{"a":"{\\"a\\":1,\\"a\\":2}","b":"},{"}')).toEqual({ a: '{"a":1,"a":2}', b: "},{" });
});

test("__proto__ is refused, and constructor is a word like others", () => {
  expect(refusal('{"a":{"__proto__":{"x":1}}}')).toEqual(["malformed_body", "forbidden_key /a/__proto__"]);
  expect(refusal('{"\\u005f_proto__":1}')).toEqual(["malformed_body", "forbidden_key /__proto__"]);
  expect(parse('{"constructor":1}')).toEqual({ constructor: 1 });
});

test("texts that Postgres can't store are refused, in values and in keys", () => {
  expect(refusal('{"a":"\\u0000","b":["\\ud800"],"\\udc00":1}')).toEqual([
    "malformed_body",
    "not_storable /a",
    "not_storable /b/0",
    "not_storable /\udc00",
  ]);
  expect(parse('["\\ud83d\\ude00"]')).toEqual(["😀"]);
});

test("what is no JSON is refused", () => {
  for (const text of ["", " ", "{", "{a:1}", "[1,]", "nul", '{"a":1}}', "\u{feff}\u{feff}{}"])
    expect(refusal(text)).toEqual(["malformed_body", "malformed_json "]);
  expect(refusal(Uint8Array.of(0x22, 0xc3, 0x28, 0x22))).toEqual(["malformed_body", "malformed_json "]);
});

test("depth and size are bounded", () => {
  const nested = (depth: number): string => "[".repeat(depth) + "]".repeat(depth);
  expect(refusal(nested(maxJsonDepth))).toEqual([]);
  expect(refusal(nested(maxJsonDepth + 1))).toEqual(["malformed_body", "malformed_json "]);
  expect(refusal(nested(200_000))).toEqual(["malformed_body", "malformed_json "]);
  expect(
    refusal(
      `[${Array(maxJsonValues - 1)
        .fill("1")
        .join()}]`,
    ),
  ).toEqual([]);
  expect(refusal(`[${Array(maxJsonValues).fill("1").join()}]`)).toEqual(["too_large"]);
});
