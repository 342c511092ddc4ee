// What a JSON Schema found, as problems with JSON pointers, stable codes and words for people.
// In: Ajv's errors (with `verbose`, so that they carry the value and its schema). Out: Problem[]. Called by problem-details.ts.
import type { Problem } from "../errors.js";
import { escapePointer, problem } from "../model/problem-codes.js";
import { formatFault } from "./formats.js";

/** The parts of Ajv's error object that are read here. */
export interface SchemaError {
  readonly instancePath: string;
  readonly keyword: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly message?: string | undefined;
  /** Set where a key is at fault, and not what it holds. */
  readonly propertyName?: string | undefined;
  readonly data?: unknown;
  readonly parentSchema?: unknown;
}

/** Answers list at most this many; `problemsTotal` tells how many there were. */
export const maxProblems = 100;

export function schemaProblems(errors: readonly SchemaError[]): readonly Problem[] {
  return errors.slice(0, maxProblems * 2).flatMap((error) => schemaProblem(error) ?? []);
}

function schemaProblem(error: SchemaError): Problem | undefined {
  const { instancePath: at, params, parentSchema } = error;
  if (error.propertyName !== undefined)
    return problem(child(at, error.propertyName), "wrong_format", `its key ${error.message ?? "has a wrong form"}`);
  switch (error.keyword) {
    case "required":
      return problem(
        child(at, params["missingProperty"]),
        "missing_field",
        `the field ${String(params["missingProperty"])} is missing`,
      );
    case "additionalProperties":
      return unknownField(at, String(params["additionalProperty"]), parentSchema);
    case "discriminator":
      return wrongTag(at, params, error.data, parentSchema);
    case "exactlyOneOf":
      return exactlyOne(at, params);
    case "type":
      return problem(at, "wrong_type", `must be ${article(String(params["type"]))}, and is ${typeOf(error.data)}`);
    case "const":
      return problem(at, "not_one_of", `must be ${JSON.stringify(params["allowedValue"])}`);
    case "enum":
      return notOneOf(at, error.data, params["allowedValues"]);
    case "minimum":
    case "maximum":
      return problem(at, "out_of_range", rangeText(parentSchema, error.message));
    case "minLength":
    case "maxLength":
      return problem(at, "wrong_length", `${error.message ?? "has a wrong length"}`);
    case "propertyNames": // What is wrong with the key is an error of its own.
      return undefined;
    case "minItems":
    case "maxItems":
    case "minProperties":
    case "maxProperties":
      return problem(at, "wrong_count", `${error.message ?? "has a wrong number of members"}`);
    case "uniqueItems": {
      const [one, other] = [Number(params["i"]), Number(params["j"])];
      return problem(child(at, Math.max(one, other)), "duplicate", `equals the one at ${Math.min(one, other)}`);
    }
    case "format":
      return problem(
        at,
        "wrong_format",
        formatFault(String(params["format"]), String(error.data)) ?? `${error.message ?? "has a wrong form"}`,
      );
    case "pattern":
      return problem(at, "wrong_format", `must match ${String(params["pattern"])}`);
    default:
      return problem(at, "wrong_format", error.message ?? `breaks the rule ${error.keyword}`);
  }
}

function child(pointer: string, segment: unknown): string {
  return `${pointer}/${escapePointer(String(segment))}`;
}

function article(type: string): string {
  return type === "integer" || type === "object" || type === "array" ? `an ${type}` : `a ${type}`;
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "number") return Number.isInteger(value) ? "an integer" : "a number";
  return article(typeof value);
}

function member(schema: unknown, key: string): unknown {
  return typeof schema === "object" && schema !== null ? Reflect.get(schema, key) : undefined;
}

function rangeText(schema: unknown, message: string | undefined): string {
  const [minimum, maximum] = [member(schema, "minimum"), member(schema, "maximum")];
  return typeof minimum === "number" && typeof maximum === "number"
    ? `must be ${minimum}–${maximum}`
    : (message ?? "is out of range");
}

function notOneOf(at: string, value: unknown, allowed: unknown): Problem {
  const words = Array.isArray(allowed) ? allowed.map(String) : [];
  // Not String(value): an object may hold a "toString" of its own that is no function.
  const hint = typeof value === "string" ? didYouMean(value, words) : "";
  return problem(at, "not_one_of", `must be one of ${words.join(", ")}${hint}`);
}

function unknownField(at: string, key: string, schema: unknown): Problem {
  const properties = member(schema, "properties");
  const known = typeof properties === "object" && properties !== null ? Object.keys(properties) : [];
  const tail = known.length > 0 && known.length <= 24 ? `; its fields are ${known.join(", ")}` : "";
  const near = didYouMean(key, known);
  return problem(
    child(at, key),
    "unknown_field",
    `there is no field ${JSON.stringify(key.slice(0, 64))}${near === "" ? tail : near}`,
  );
}

/** A tag that is missing is told by `required`; only a wrong one is told here. */
function wrongTag(at: string, params: SchemaError["params"], value: unknown, schema: unknown): Problem | undefined {
  const tag = String(params["tag"]);
  const given = member(value, tag);
  if (given === undefined) return undefined;
  const branches = member(schema, "oneOf");
  const words = (Array.isArray(branches) ? branches : []).map((branch: unknown) =>
    String(member(member(member(branch, "properties"), tag), "const")),
  );
  return notOneOf(child(at, tag), given, words);
}

function exactlyOne(at: string, params: SchemaError["params"]): Problem {
  const { keys, given } = params;
  const all = (Array.isArray(keys) ? keys : []).join(", ");
  const have = Array.isArray(given) && given.length > 0 ? given.join(" and ") : "none";
  return problem(at, "exactly_one", `must have exactly one of ${all}, and has ${have}`);
}

/** `; did you mean x?` for the nearest candidate within two typing mistakes, or "". */
export function didYouMean(given: string, candidates: readonly string[]): string {
  if (given.length > 40) return "";
  const wanted = given.toLowerCase();
  let best: { readonly candidate: string; readonly mistakes: number } | undefined;
  for (const candidate of candidates) {
    const mistakes = distance(wanted, candidate.toLowerCase());
    if (mistakes <= Math.min(2, candidate.length - 1) && (!best || mistakes < best.mistakes)) best = { candidate, mistakes };
  }
  return best ? `; did you mean ${best.candidate}?` : "";
}

/** Levenshtein's, with a swap of neighbours as one mistake. Both texts are short. */
function distance(one: string, other: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let i = 1; i <= one.length; i++) {
    const row = [i];
    for (let j = 1; j <= other.length; j++) {
      const replaced = (last[j - 1] ?? 0) + (one[i - 1] === other[j - 1] ? 0 : 1);
      let least = Math.min((row[j - 1] ?? 0) + 1, (last[j] ?? 0) + 1, replaced);
      if (i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1])
        least = Math.min(least, (beforeLast[j - 2] ?? 0) + 1);
      row.push(least);
    }
    [beforeLast, last] = [last, row];
  }
  return last[other.length] ?? 0;
}
