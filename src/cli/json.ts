// Reads JSON of unknown shape: answers of the API, and documents of a file. In: unknown. Out: what was asked for, or a harmless nothing.
// A control plane that is newer than this command may send fields that it does not know; they pass through untouched.

/** An object whose fields nobody has looked at yet. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Neither null nor an array. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The object's field; undefined when there is no such field or no object. */
export function field(value: unknown, name: string): unknown {
  return isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}

/** The members; none when it is no list. */
export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** For people: text as it is, nothing for what is missing, JSON for what has parts. */
export function text(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** 0 when it is no number. */
export function number(value: unknown): number {
  return typeof value === "number" ? value : 0;
}

/** The texts of a list, one after the other. */
export function joined(value: unknown, separator = ", "): string {
  return list(value).map(text).join(separator);
}
