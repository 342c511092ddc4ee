// Pieces that the schemas of several nouns share. Every field says its bound and its default in its description, because
// /openapi.json and /docs are made of them. Called by the noun files of api/.
import { type Static, type TSchema, type TUnion, Type } from "typebox";
import type { Labels } from "../model/endpoint.js";
import type { Format } from "./formats.js";

const namePattern = "^[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?$";
const nameExpression = new RegExp(namePattern);

/** True for names that objects may have. */
export function isName(text: string): boolean {
  return nameExpression.test(text);
}

/** The name of an object; `of` is its noun. */
export function name(of: string) {
  return Type.String({
    pattern: namePattern,
    description: `Name of the ${of}: 1–64 of a–z, 0–9, "-" and ".", starting and ending with a letter or digit.`,
  });
}

/** An integer with its bounds; `standard` is its default. */
export function integer(minimum: number, maximum: number, what: string, standard?: number) {
  const tail = standard === undefined ? "" : ` Default ${standard}.`;
  return Type.Integer({
    minimum,
    maximum,
    ...(standard === undefined ? {} : { default: standard }),
    description: `${what} ${minimum}–${maximum}.${tail}`,
  });
}

/** A time in ms. */
export function milliseconds(minimum: number, maximum: number, what: string, standard?: number) {
  return integer(minimum, maximum, `${what} In ms,`, standard);
}

/** A text with its bounds and its form. */
export function text(minLength: number, maxLength: number, format: Format, what: string) {
  return Type.String({ minLength, maxLength, format, description: `${what} ${minLength}–${maxLength} characters.` });
}

/** Labels of one endpoint. */
export const maxLabels = 16;
const labelKey = "^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$";
const labelValue = "^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$";

/** Labels, or those that are asked for. */
export function labels(least: number, most: number, what: string) {
  return Type.Unsafe<Labels>({
    type: "object",
    propertyNames: { pattern: labelKey },
    additionalProperties: { type: "string", pattern: labelValue },
    ...(least > 0 ? { minProperties: least } : {}),
    maxProperties: most,
    description: `${what} ${least}–${most} of them. Keys: 1–63 of letters, digits, ".", "_", "-" and "/", values: 0–63 of the same without "/"; both begin and end with a letter or digit.`,
  });
}

/** A list with its bounds. */
export function list<T extends TSchema>(
  items: T,
  minItems: number,
  maxItems: number,
  what: string,
  options: { unique?: boolean } = {},
) {
  return Type.Array(items, {
    minItems,
    maxItems,
    ...(options.unique ? { uniqueItems: true } : {}),
    description: `${what} ${minItems}–${maxItems} of them.`,
  });
}

/** One of these words. An enum and not `anyOf`, so that a wrong word gives one problem. */
export function word<const T extends readonly string[]>(words: T, what: string, standard?: T[number]) {
  return Type.Unsafe<T[number]>({
    type: "string",
    enum: [...words],
    ...(standard === undefined ? {} : { default: standard }),
    description: `${what} One of ${words.join(", ")}.${standard === undefined ? "" : ` Default ${standard}.`}`,
  });
}

/** A closed object: a field that it does not have is refused. */
export function object<T extends Record<string, TSchema>>(properties: T, options: Readonly<Record<string, unknown>> = {}) {
  return Type.Object(properties, { additionalProperties: false, ...options });
}

/**
 * One of several closed objects, told apart by the field `tag`. Only the chosen one is validated, so that its problems come
 * without those of all the others. `outer`: fields by which this choice is itself told apart from others.
 */
export function oneOf<const T extends TSchema[]>(tag: string, branches: T, what: string, outer: Record<string, TSchema> = {}) {
  const isInner = Object.keys(outer).length > 0;
  return Type.Unsafe<Static<TUnion<T>>>({
    type: "object",
    required: [...Object.keys(outer), tag],
    ...(isInner ? { properties: outer } : {}),
    discriminator: { propertyName: tag },
    oneOf: branches,
    description: what,
  });
}

type OptionalKeys<T> = { [K in keyof T]-?: undefined extends T[K] ? K : never }[keyof T];
type Compact<T> = { [K in Exclude<keyof T, OptionalKeys<T>>]: T[K] } & { [K in OptionalKeys<T>]?: Exclude<T[K], undefined> };

/** The object without its undefined fields, as a body leaves them out. */
export function compact<T extends object>(fields: T): Compact<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Compact<T>;
}
