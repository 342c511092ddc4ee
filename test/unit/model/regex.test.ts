// Regular expressions: Envoy's syntax, and Envoy's limit on their size.
import { expect, test } from "vitest";
import { regexFault } from "../../../src/model/regex.js";

// Sizes as Envoy 1.40.0 gave them when it refused these, and "ok" where it took them.
test.each([
  ["[a-z0-9-]{1,63}", 255],
  ["(bar|baz){40}", 244],
  ["\\d{1,60}", 123],
  ["\\w{1,30}", 123],
  ["[a-zA-Z0-9_.-]{1,25}", 128],
  [".{1,40}", 123],
  ["(a|b|c|d|e|f|g|h){40}", 124],
  ["\\p{L}{1,15}", 123],
  ["(?i)[a-z]{1,60}", 123],
  ["\\W{1,25}", 153],
  ["[[:alnum:]_-]{1,30}", 153],
  ["(?:(?:(?:by)+)*?){5,20}", 119],
  ["(?:(c|(?i)k)){5,20}", 119],
  ["(?:y{0,7}(?:/+?){0,7}){1,40}", 1763],
])("%s is too large by Envoy's own count of %i", (pattern, size) => {
  expect(regexFault(pattern)).toContain(`has ${size} instructions`);
});

test.each([
  "[a-z]{1,40}",
  "a{90}",
  "[^/]{1,20}",
  "\\x{ff}",
  "\\\\x{50}",
  "\\p{L}+",
  "[a-fA-F0-9]{40}",
  "^/u/(\\d+)/(.*)$",
  "(a+)+$",
  "^/api/v[0-9]+/users/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
])("%s is taken, as Envoy takes it", (pattern) => {
  expect(regexFault(pattern)).toBeUndefined();
});

test.each([
  ["(", "missing closing"],
  ["a{1001}", "repeat"],
  ["(?=a)", "RE2 can't read it"],
  ["(?<=a)b", "RE2 can't read it"],
  ["\\1", "RE2 can't read it"],
  ["", "1–1000"],
  ["a".repeat(1001), "1–1000"],
  ["é", "ASCII"],
  ["\\x{100}", "bytes"],
  ["[\\x{0}-\\x{10ffff}]", "\\x{10ffff}"],
])("%j is refused, and the text says why", (pattern, why) => {
  expect(regexFault(pattern)).toContain(why);
});

test("the largest regexes are judged within milliseconds", () => {
  for (const pattern of [
    "(a?){1000}",
    "(?:(a?b?c?){0,30}){0,33}",
    "(?:a|b|){1000}",
    `${"(?:x?|y)*".repeat(100)}`,
    "(?:|){1000}",
  ]) {
    const startedAt = performance.now();
    regexFault(pattern);
    expect(performance.now() - startedAt, pattern).toBeLessThan(400);
  }
});
