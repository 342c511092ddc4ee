// The size of a regex as Envoy counts it: RE2's program, compiled for bytes and then flattened into lists. Pure.
// re2js compiles as RE2 does, so its program is taken and flattened by RE2's own algorithm (Prog::Flatten in re2/prog.cc).
// Against Envoy 1.40.0: of 5,500 generated regexes near the limit 4,800 got its very number, and 3 were reckoned more than 2 too small.
// Called by regex.ts.
import type { RE2JS } from "re2js";

/** re2js's instructions, by their `op`. */
const op = { alt: 1, altMatch: 2, fail: 5, match: 6, nop: 7, rune: 8, anyRune: 10, anyButNewline: 11 } as const;

/** The last character that is one byte in Envoy's programs. */
const lastByte = 0xff;
const [upperA, upperZ, toLower] = [65, 90, 32];

interface Instruction {
  readonly op: number;
  readonly out: number;
  /** Of an alternation: the second way out. */
  readonly arg: number;
  readonly runes: Int32Array | undefined;
}

/**
 * How many instructions Envoy's program has. Above `enough` a smaller number, which is still above `enough`, may be given: such a
 * program may be a million long. undefined: this version of re2js keeps its programs in another way.
 */
export function programSize(compiled: RE2JS, enough: number): number | undefined {
  const program = member(member(compiled, "re2Input"), "prog");
  const [instructions, start] = [member(program, "inst"), member(program, "start")];
  if (!Array.isArray(instructions) || typeof start !== "number" || !instructions.every(isInstruction)) return undefined;
  // Flattening repeats instructions and drops only what leads to others.
  const least = instructions.reduce((sum, instruction) => sum + (isPassage(instruction) ? 0 : weight(instruction)), 0);
  return least > enough ? least : new Program(instructions, start).flattenedSize();
}

/** Ids are places in the list of instructions; two more stand for the loop that looks for a match at any place. */
class Program {
  readonly #anyByte: number;
  readonly #loop: number;
  /** Instructions at which a list begins. */
  readonly #roots = new Set<number>();
  /** Instruction → alternations that lead to it. */
  readonly #alternations = new Map<number, number[]>();

  constructor(
    private readonly instructions: readonly Instruction[],
    private readonly start: number,
  ) {
    this.#anyByte = instructions.length;
    this.#loop = instructions.length + 1;
  }

  flattenedSize(): number {
    this.#markSuccessors();
    for (const root of [...this.#roots].sort((a, b) => b - a)) this.#markDominators(root);
    let size = 0;
    for (const root of this.#roots)
      for (const instruction of this.#list(root).members) size += instruction ? weight(instruction) : 1;
    return size;
  }

  #at(id: number): Instruction | undefined {
    if (id === this.#loop) return { op: op.alt, out: this.start, arg: this.#anyByte, runes: undefined };
    if (id === this.#anyByte) return { op: op.anyRune, out: this.#loop, arg: 0, runes: undefined };
    return this.instructions[id];
  }

  #markSuccessors(): void {
    for (const id of [0, this.#loop, this.start]) this.#roots.add(id);
    const seen = new Set<number>();
    const open = [this.#loop];
    for (let id = open.pop(); id !== undefined; id = open.pop()) {
      const instruction = this.#at(id);
      if (!instruction || seen.has(id)) continue;
      seen.add(id);
      const outs = outsOf(instruction);
      open.push(...outs.toReversed());
      if (isAlternation(instruction)) {
        for (const out of outs) {
          const leading = this.#alternations.get(out);
          if (leading) leading.push(id);
          else this.#alternations.set(out, [id]);
        }
      } else if (instruction.op !== op.nop) for (const out of outs) this.#roots.add(out);
    }
  }

  /** What can be reached without this root begins a list of its own. */
  #markDominators(root: number): void {
    if (root === this.#loop || root === this.start) return;
    const { seen } = this.#list(root);
    for (const id of seen) {
      if (this.#alternations.get(id)?.some((alternation) => !seen.has(alternation))) this.#roots.add(id);
    }
  }

  /** All that is reached from a root without reading; undefined stands for the jump to another list. */
  #list(root: number): { readonly seen: ReadonlySet<number>; readonly members: readonly (Instruction | undefined)[] } {
    const seen = new Set<number>();
    const members: (Instruction | undefined)[] = [];
    const open = [root];
    for (let id = open.pop(); id !== undefined; id = open.pop()) {
      const instruction = this.#at(id);
      if (!instruction || seen.has(id)) continue;
      seen.add(id);
      if (id !== root && this.#roots.has(id)) members.push(undefined);
      else if (isPassage(instruction)) open.push(...outsOf(instruction).toReversed());
      else members.push(instruction);
    }
    return { seen, members };
  }
}

function isAlternation(instruction: Instruction): boolean {
  return instruction.op === op.alt || instruction.op === op.altMatch;
}

function isPassage(instruction: Instruction): boolean {
  return isAlternation(instruction) || instruction.op === op.nop;
}

function outsOf(instruction: Instruction): readonly number[] {
  if (isAlternation(instruction)) return [instruction.out, instruction.arg];
  return instruction.op === op.match || instruction.op === op.fail ? [] : [instruction.out];
}

/** A character class takes an instruction for each of its ranges of bytes. */
function weight({ op: kind, runes }: Instruction): number {
  if (kind === op.anyButNewline) return 2;
  return kind === op.rune && runes && runes.length >= 4 ? byteRanges(runes) : 1;
}

function byteRanges(runes: Int32Array): number {
  const pairs: (readonly [number, number])[] = [];
  for (let at = 0; at + 1 < runes.length; at += 2) pairs.push([runes[at] ?? 0, runes[at + 1] ?? 0]);
  const has = (rune: number): boolean => pairs.some(([from, to]) => from <= rune && rune <= to);
  let ignoresCase = true;
  for (let rune = upperA; rune <= upperZ; rune++) ignoresCase &&= has(rune) === has(rune + toLower);
  const ranges = pairs.filter(([from, to]) => from <= lastByte && !(ignoresCase && from >= upperA && to <= upperZ));
  return Math.max(1, ranges.length);
}

function isInstruction(value: unknown): value is Instruction {
  return (["op", "out", "arg"] as const).every((key) => typeof member(value, key) === "number");
}

function member(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, key) : undefined;
}
