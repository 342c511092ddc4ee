// Single values for generated bodies: mostly what the admin API takes, now and then what it must refuse. Test only.
import * as fc from "fast-check";

const ascii = fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code));
const printable = (minLength: number, maxLength = 24) => fc.string({ minLength, maxLength, unit: ascii });
const odd = fc.constantFrom(
  "",
  " ",
  "é",
  "\u0000",
  "\u007f",
  "😀",
  "%",
  "%00",
  "%zz",
  "*",
  "/",
  "//",
  "\\",
  "a".repeat(1024),
  "{}",
  "{x}",
);
export const mostly = <T>(usual: fc.Arbitrary<T>, rare: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  fc.oneof({ weight: 30, arbitrary: usual }, { weight: 1, arbitrary: rare });
export const maybe = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined, freq: 2 });
export const text = (minLength: number) => mostly(printable(minLength), odd);
export const token = mostly(
  fc.string({ minLength: 1, maxLength: 16, unit: fc.constantFrom(..."abXYZ019!#$%&'*+.^_`|~-") }),
  fc.constantFrom(
    ":path",
    "Host",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "a b",
    "",
    "x-envoy-retry-on",
    "é",
  ),
);
export const path = mostly(
  fc.string({ maxLength: 24, unit: fc.constantFrom(..."ab/.%20;=@:!$&'()*+,~-_\"<>[]{}|\\^`") }).map((rest) => `/${rest}`),
  fc.constantFrom("", "a", "/a?b", "/a#b", "/é", "/ ", "/%", "//", "/../..", `/${"x".repeat(1023)}`, "/{a}/*", "/**"),
);
export const prefix = path.map((one) => one.replace(/\/+$/, "") || "/");
export const host = mostly(
  fc.constantFrom(
    "a.org",
    "*.a.org",
    "*.b.a.org",
    "A.ORG",
    "localhost",
    "*.org",
    "10.0.0.1",
    "x_y.org",
    "*",
    "xn--nxasmq6b.org",
    `${"a".repeat(63)}.org`,
  ),
  fc.constantFrom(
    "*-a.org",
    "a.*",
    "[::1]",
    "::1",
    "a.org:80",
    "a..org",
    ".a.org",
    "a.org.",
    "-a.org",
    "*.",
    "*a.org",
    "a b.org",
    "",
  ),
);
export const milliseconds = (min: number, max: number) =>
  mostly(
    fc.oneof(fc.constantFrom(min, max), fc.integer({ min, max: Math.min(max, 100_000) })),
    fc.constantFrom(min - 1, max + 1),
  );
export const whole = (min: number, max: number) =>
  mostly(fc.oneof(fc.constantFrom(min, max), fc.integer({ min, max })), fc.constantFrom(min - 1, max + 1));

// One in nine is what RE2 can't read, or reads otherwise than other libraries.
const regexPieces = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom(
      ...[
        "a",
        "xyz",
        "/",
        "-",
        "[a-z]",
        "[^/]+",
        "[a-zA-Z0-9_-]",
        "\\d+",
        "\\w",
        "\\s",
        "\\D",
        "[[:alpha:]]",
        ".",
        ".*",
        "\\pL",
        "[\\p{L}\\d]",
      ],
      ...[
        "\\p{Greek}",
        "\\x41",
        "\\x{ff}",
        "(?i:abc)",
        "(?i)k",
        "(?s:.)",
        "\\Q.*\\E",
        "\\b",
        "^",
        "$",
        "[k-s]",
        "[aeiou]",
        "(?m:^)",
        "\\z",
      ],
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "\\x{100}",
      "(?=a)",
      "\\1",
      "\\C",
      "[z-a]",
      "(?<n>a)",
      "(?P<n>a)",
      "(",
      "a**",
      "\\e",
      "\\u0041",
      "\\pX",
      "(?#c)",
    ),
  },
);
const repetition = fc.constantFrom(
  "",
  "",
  "*",
  "+",
  "?",
  "*?",
  "{2}",
  "{3,}",
  "{1,5}",
  "{5,20}",
  "{10}",
  "{1,25}",
  "{1,63}",
  "{40}",
);
export const regex: fc.Arbitrary<string> = fc.letrec<{ regex: string }>((tie) => ({
  regex: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    fc.tuple(regexPieces, repetition).map(([piece, again]) => (again === "" ? piece : `(?:${piece})${again}`)),
    fc.tuple(tie("regex"), tie("regex")).map(([one, other]) => one + other),
    fc.tuple(tie("regex"), tie("regex"), repetition).map(([one, other, again]) => `(${one}|${other})${again}`),
    fc.tuple(tie("regex"), repetition).map(([one, again]) => `(?:${one})${again}`),
  ),
})).regex;
