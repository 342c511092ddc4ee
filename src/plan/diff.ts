// What differs between two JSON values, place by place. In: an object before and after. Out: JSON pointers with both values.
// Lists are compared by place: their order means something in every object that we have. Pure.
import { escapePointer } from "../model/problem-codes.js";

/** One place that differs. A missing `before`: it was not there; a missing `after`: it is not there any more. */
export interface Difference {
  /** RFC 6901; empty: all of it. */
  readonly pointer: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

/** undefined is "not there", as JSON has it. The smallest places that tell it all, in the order of the fields. */
export function difference(before: unknown, after: unknown, pointer = ""): readonly Difference[] {
  if (Object.is(before, after)) return [];
  if (isRecord(before) && isRecord(after)) {
    const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
    // A name like "toString" that only one of them has must not find what every object inherits.
    const own = (record: Readonly<Record<string, unknown>>, key: string): unknown =>
      Object.hasOwn(record, key) ? record[key] : undefined;
    return [...keys].flatMap((key) => difference(own(before, key), own(after, key), `${pointer}/${escapePointer(key)}`));
  }
  if (Array.isArray(before) && Array.isArray(after)) {
    const length = Math.max(before.length, after.length);
    return Array.from({ length }, (_, at) => difference(before[at], after[at], `${pointer}/${at}`)).flat();
  }
  return [{ pointer, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) }];
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
