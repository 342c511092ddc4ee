// The last step of many writes at once: what was staged and judged becomes rows. In: a ChangeView. Out: what became of each object.
// Called by changes.ts and undo.ts.
import type { Kind, ObjectKinds } from "../model/revision.js";
import type { PutOutcome, WriteTx } from "../store/store.js";
import type { ChangeView, Staged } from "./change-view.js";

/** What became of one object. */
export interface Done {
  readonly kind: Kind;
  readonly name: string;
  readonly change: PutOutcome | "deleted";
}

/** Writes everything, in an order in which no reference dangles between two statements. */
export async function writeAll(
  tx: WriteTx,
  { staged: { cluster, endpoint, listener, route } }: ChangeView,
): Promise<readonly Done[]> {
  return [
    ...(await removeAll(tx, "route", route)),
    ...(await putAll(tx, "cluster", cluster)),
    ...(await removeAll(tx, "endpoint", endpoint)),
    ...(await putAll(tx, "endpoint", endpoint)),
    ...(await putAll(tx, "listener", listener)),
    ...(await putAll(tx, "route", route)),
    ...(await removeAll(tx, "listener", listener)),
    ...(await removeAll(tx, "cluster", cluster)),
  ];
}

type StagedMap<K extends Kind> = ReadonlyMap<string, Staged<ObjectKinds[K], unknown>>;

async function putAll<K extends Kind>(tx: WriteTx, kind: K, staged: StagedMap<K>): Promise<readonly Done[]> {
  const puts = [...staged].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([name, { after }]) => (after ? [{ name, after }] : []));
  if (puts.length === 0) return [];
  const outcomes = await tx.putAll(
    kind,
    puts.map(({ after }) => after),
  );
  return puts.map(({ name }, at) => ({ kind, name, change: outcomes[at] ?? "unchanged" }));
}

async function removeAll<K extends Kind>(tx: WriteTx, kind: K, staged: StagedMap<K>): Promise<readonly Done[]> {
  const names = [...staged].flatMap(([name, { before, after }]) => (before && !after ? name : [])).sort();
  if (names.length > 0) await tx.deleteAll(kind, names);
  return names.map((name) => ({ kind, name, change: "deleted" }));
}
