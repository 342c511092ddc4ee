// Which set of files an object belongs to, for `chancery apply --prune`. In: a set and objects. Out: rows of `applied`.
// Written in the transaction of the change itself; no part of the configuration, so it makes no revision. Called by write-tx.ts.
import { type Kind, kinds } from "../model/revision.js";
import { space } from "./objects.js";
import type { Transaction } from "./transaction.js";

/** An object by its kind and name. */
export interface ObjectKey {
  readonly kind: Kind;
  readonly name: string;
}

/** The set's objects, locked against other writers of the set's rows; by kind and name. */
export async function readApplied(transaction: Transaction, set: string): Promise<readonly ObjectKey[]> {
  const rows = await transaction.query<{ kind: string; name: string }>(
    "select kind, name from applied where space = $1 and set_name = $2 order by kind, name for update",
    [space, set],
  );
  return rows.flatMap(({ kind, name }) => {
    const known = kinds.find((one) => one === kind);
    return known ? { kind: known, name } : []; // A kind of a newer binary is not ours to delete.
  });
}

/** Makes the objects the set's, whosever they were. */
export async function writeApplied(transaction: Transaction, set: string, objects: readonly ObjectKey[]): Promise<void> {
  if (objects.length === 0) return;
  await transaction.query(
    `insert into applied as stored (space, kind, name, set_name)
     select $1, object.kind, object.name, $2 from jsonb_to_recordset($3::jsonb) as object (kind text, name text) order by object.kind, object.name
     on conflict (space, kind, name) do update set set_name = excluded.set_name where stored.set_name <> excluded.set_name`,
    [space, set, JSON.stringify(objects)],
  );
}

/** What is deleted belongs to nobody. */
export async function forgetApplied(transaction: Transaction, kind: Kind, names: readonly string[]): Promise<void> {
  await transaction.query("delete from applied where space = $1 and kind = $2 and name = any($3)", [space, kind, names]);
}
