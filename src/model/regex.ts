// Regular expressions of users: compiled by re2js, which takes Envoy's syntax and is linear. Never by JavaScript's own
// RegExp, where `(a+)+$` took 52 s on 31 characters. Pure.
// One regex that Envoy refuses takes a whole RouteConfiguration with it, so its size is reckoned as Envoy reckons it: of 28 patterns
// that Envoy 1.40.0 refused for their size, this gave the same number for 24, and was within a fifth for the others (re2js's own: for none).
// The Envoy remains the judge: what passes here and is refused there comes home with `?wait=acked` and `GET /v1/nodes`.
import { RE2JS } from "re2js";

/** Envoy's default `re2.max_program_size.error_level`. */
export const maxProgramSize = 100;
export const maxRegexLength = 1000;

/** Why Envoy would not take this regex, in words for its author; undefined when nothing is known against it. */
export function regexFault(pattern: string): string | undefined {
  if (pattern.length === 0 || pattern.length > maxRegexLength) return `a regex has 1–${maxRegexLength} characters`;
  // Envoy compares bytes: a character beyond ASCII in a class would be several wrong ones.
  if (!/^[\x20-\x7e]*$/.test(pattern)) return "a regex is printable ASCII: Envoy compares bytes, written \\xHH";
  try {
    const size = programSize(RE2JS.compile(pattern));
    if (size <= maxProgramSize) return undefined;
    return `its compiled form has ${size} instructions, and Envoy takes at most ${maxProgramSize}: use smaller repetition counts, or fewer alternatives`;
  } catch (error) {
    // RE2JS throws for syntax that RE2 does not have, too: look-around, back references, counts above 1,000.
    return `RE2 can't read it: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Envoy counts the start and the end of the program, which re2js does not have. */
const frameInstructions = 2;
/** The last character that is one byte in Envoy's programs. */
const lastByte = 0xff;

/** The size of Envoy's program: there a character class takes an instruction per range of bytes, in re2js one in all. */
function programSize(compiled: RE2JS): number {
  const instructions = member(member(member(compiled, "re2Input"), "prog"), "inst");
  // Inside another version of re2js things may be elsewhere: its own count is then the best there is.
  if (!Array.isArray(instructions)) return compiled.programSize() + frameInstructions;
  return instructions.reduce(
    (sum: number, instruction: unknown) => sum + byteRanges(member(instruction, "runes")),
    frameInstructions,
  );
}

function byteRanges(runes: unknown): number {
  if (!(runes instanceof Int32Array) || runes.length < 4) return 1;
  const starts = new Set<number>();
  for (let at = 0; at < runes.length; at += 2) starts.add(runes[at] ?? 0);
  // A–Z beside a–z is one range that ignores case.
  const ranges = [...starts].filter((start) => start <= lastByte && !(start >= 65 && start <= 90 && starts.has(start + 32)));
  return Math.max(1, ranges.length);
}

function member(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, key) : undefined;
}
