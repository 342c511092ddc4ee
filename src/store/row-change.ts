// A change as its rows tell it, in the model's terms. In: specs, as JSON holds them. Out: objects. Called by write-tx.ts.
import type { Change, Kind, ObjectKinds } from "../model/revision.js";
import { objectTables, type RowKinds } from "./objects.js";

/** One object before and after; specs were written by us, or read from our own tables. */
export interface SpecChange {
  readonly kind: Kind;
  readonly name: string;
  readonly before: unknown;
  readonly after: unknown;
}

/** The same change, of objects. */
export function toChange({ kind, name, before, after }: SpecChange): Change {
  switch (kind) {
    case "cluster":
      return { kind, name, before: fromSpec(kind, before), after: fromSpec(kind, after) };
    case "endpoint":
      return { kind, name, before: fromSpec(kind, before), after: fromSpec(kind, after) };
    case "listener":
      return { kind, name, before: fromSpec(kind, before), after: fromSpec(kind, after) };
    case "route":
      return { kind, name, before: fromSpec(kind, before), after: fromSpec(kind, after) };
  }
}

/** The way back: specs as a row holds them. */
export function toSpecChange(change: Change): SpecChange {
  const { kind, name } = change;
  switch (change.kind) {
    case "cluster":
      return { kind, name, before: toSpec(change.kind, change.before), after: toSpec(change.kind, change.after) };
    case "endpoint":
      return { kind, name, before: toSpec(change.kind, change.before), after: toSpec(change.kind, change.after) };
    case "listener":
      return { kind, name, before: toSpec(change.kind, change.before), after: toSpec(change.kind, change.after) };
    case "route":
      return { kind, name, before: toSpec(change.kind, change.before), after: toSpec(change.kind, change.after) };
  }
}

function toSpec<K extends Kind>(kind: K, object: ObjectKinds[K] | undefined): unknown {
  return object === undefined ? null : objectTables[kind].toRow(object).spec;
}

function fromSpec<K extends Kind>(kind: K, spec: unknown): ObjectKinds[K] | undefined {
  if (spec === undefined || spec === null) return undefined;
  return objectTables[kind].fromRow({ spec: spec as RowKinds[K]["spec"] }); // Of the kind's own table, or about to go there.
}
