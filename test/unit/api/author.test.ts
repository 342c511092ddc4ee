// Who asks, and why, from headers.
import { expect, test } from "vitest";
import { readAuthor, requestIdOf } from "../../../src/api/author.js";

const latin1 = (text: string): string => Buffer.from(text, "utf8").toString("latin1");

test("author and reason are read as UTF-8, and have defaults", () => {
  expect(readAuthor({}, "r1")).toEqual({ author: "anonymous", requestId: "r1", reason: undefined });
  const headers = { "x-chancery-author": latin1("Zoë 😀"), "x-chancery-reason": "canary at 5 %" };
  expect(readAuthor(headers, "r1")).toEqual({ author: "Zoë 😀", requestId: "r1", reason: "canary at 5 %" });
  expect(readAuthor({ "x-chancery-author": "" }, "r1").author).toBe("anonymous");
});

test.each([
  { "x-chancery-author": "x".repeat(129) },
  { "x-chancery-author": "a\tb" },
  { "x-chancery-author": "\xff\xfe" },
  { "x-chancery-reason": "x".repeat(513) },
])("%j is refused", (headers) => {
  expect(() => readAuthor(headers, "r1")).toThrow("invalid_header");
});

test("a sane request id is taken, any other is not", () => {
  expect(requestIdOf({ "x-request-id": "deploy-42_a.b" })).toBe("deploy-42_a.b");
  for (const id of ["", "a b", "x".repeat(65), "a\nb", 'a"b']) expect(requestIdOf({ "x-request-id": id })).toBeUndefined();
});
