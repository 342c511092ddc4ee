// JSON as the admin API takes it: valid UTF-8, no key twice in one object (JSON.parse keeps the last in silence), no
// `__proto__`, no text that Postgres can't store, and bounded depth and size. In: the bytes of a body. Out: its value.
// Called by server.ts as the parser of application/json.
import { AppError, type Problem } from "../errors.js";
import { escapePointer, problem } from "../model/problem-codes.js";

/** Deeper than any body that a schema takes, and shallow enough for every recursion over it. */
export const maxJsonDepth = 32;
/** Values in one body: 10,000 endpoints with all their fields. Beyond, even the list of its problems would be a burden. */
export const maxJsonValues = 100_000;

/** An object or array that is open at one place of the text. */
interface Level {
  /** Keys of an object; undefined: an array. */
  readonly keys: Set<string> | undefined;
  segment: string;
  index: number;
  /** In an object: the next string is a key. */
  keyNext: boolean;
}

const token = /"(?:[^"\\]|\\.)*"|[{}[\],]|[^\s"{}[\],:]+/g;

/** Walks text that JSON.parse has accepted, so every token is known to be well formed. */
class Scan {
  readonly problems: Problem[] = [];
  readonly #levels: Level[] = [];
  #values = 0;

  run(text: string): readonly Problem[] {
    for (const [found] of text.matchAll(token)) this.#take(found);
    return this.problems;
  }

  #pointer(): string {
    return this.#levels.map(({ segment }) => `/${escapePointer(segment)}`).join("");
  }

  #take(found: string): void {
    const level = this.#levels.at(-1);
    if (found === "}" || found === "]") return void this.#levels.pop();
    if (found === ",") {
      if (level?.keys) level.keyNext = true;
      else if (level) level.segment = String(++level.index);
      return;
    }
    if (found.startsWith('"') && level?.keyNext) return this.#key(level, found);
    if (++this.#values > maxJsonValues) throw new AppError("too_large", { maxValues: maxJsonValues });
    if (found.startsWith('"')) return this.#text(found);
    if (found === "{" || found === "[") this.#open(found);
  }

  #open(found: string): void {
    if (this.#levels.length >= maxJsonDepth) {
      throw new AppError("malformed_body", {}, [problem("", "malformed_json", `nested deeper than ${maxJsonDepth} levels`)]);
    }
    const isObject = found === "{";
    this.#levels.push({ keys: isObject ? new Set() : undefined, segment: isObject ? "" : "0", index: 0, keyNext: isObject });
  }

  #key(level: Level, found: string): void {
    const key = String(JSON.parse(found));
    level.segment = key;
    level.keyNext = false;
    if (level.keys?.has(key))
      this.problems.push(problem(this.#pointer(), "duplicate_key", `the key ${JSON.stringify(key)} is there twice`));
    else if (key === "__proto__") this.problems.push(problem(this.#pointer(), "forbidden_key", "no field is called __proto__"));
    level.keys?.add(key);
    this.#text(found);
  }

  /** Postgres stores no NUL, and UTF-8 has no half of a surrogate pair. Neither can come without an escape. */
  #text(found: string): void {
    if (!found.includes("\\u")) return;
    const value = String(JSON.parse(found));
    if (value.includes("\0") || /\p{Surrogate}/u.test(value)) {
      this.problems.push(problem(this.#pointer(), "not_storable", "the text holds U+0000 or half of a surrogate pair"));
    }
  }
}

/**
 * @throws malformed_body with where and why
 * @throws too_large when the body holds more than `maxJsonValues` values
 */
export function parseStrictJson(body: Uint8Array): unknown {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch (error) {
    throw new AppError("malformed_body", {}, [problem("", "malformed_json", "the body is not valid UTF-8")], error);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new AppError(
      "malformed_body",
      {},
      [problem("", "malformed_json", text.trim() === "" ? "the body is empty" : why.slice(0, 200))],
      error,
    );
  }
  const problems = new Scan().run(text);
  if (problems.length > 0) throw new AppError("malformed_body", {}, problems.slice(0, 100));
  return value;
}
