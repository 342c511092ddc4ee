// Regular expressions of users: compiled by re2js, which takes Envoy's syntax and is linear. Never by JavaScript's own
// RegExp, where `(a+)+$` took 52 s on 31 characters. Pure.
// One regex that Envoy refuses takes a whole RouteConfiguration with it, so its size is reckoned as Envoy reckons it (regex-size.ts).
// The Envoy remains the judge: what passes here and is refused there is told by validation, `?wait=acked` and `GET /v1/nodes`.
import { RE2JS } from "re2js";
import { programSize } from "./regex-size.js";

/** Envoy's default `re2.max_program_size.error_level`. */
export const maxProgramSize = 100;
/** Our count may be this much below Envoy's. */
const margin = 3;
/** Larger programs are not counted to the end. */
const enough = 1000;
export const maxRegexLength = 1000;

/** Why Envoy would not take this regex, in words for its author; undefined when nothing is known against it. */
export function regexFault(pattern: string): string | undefined {
  if (pattern.length === 0 || pattern.length > maxRegexLength) return `a regex has 1–${maxRegexLength} characters`;
  // Envoy compares bytes: a character beyond ASCII in a class would be several wrong ones.
  if (!/^[\x20-\x7e]*$/.test(pattern)) return "a regex is printable ASCII: Envoy compares bytes, written \\xHH";
  const beyond = codePointBeyondBytes(pattern);
  if (beyond !== undefined)
    return `Envoy compares bytes, so ${beyond} is nothing that it could match: write it as UTF-8, \\xHH\\xHH`;
  try {
    const compiled = RE2JS.compile(pattern);
    const size = programSize(compiled, enough) ?? compiled.programSize() + margin;
    if (size <= maxProgramSize - margin) return undefined;
    return `its compiled form has ${size} instructions, and Envoy takes at most ${maxProgramSize}, of which ${margin} are kept in reserve: use smaller repetition counts, or fewer alternatives`;
  } catch (error) {
    // RE2JS throws for syntax that RE2 does not have, too: look-around, back references, counts above 1,000.
    return `RE2 can't read it: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** The first `\x{…}` beyond one byte, which re2js would take. */
function codePointBeyondBytes(pattern: string): string | undefined {
  // Pairs of backslashes are read as such, so that `\\x{100}` is seen to be a backslash and then text.
  for (const [written, digits] of pattern.matchAll(/\\(?:x\{([0-9A-Fa-f]+)\}|.)/g))
    if (digits !== undefined && Number.parseInt(digits, 16) > 0xff) return written;
  return undefined;
}
