// What is being drained stays until its drain has ended: removed in the middle, its connections would no longer be reported, and
// nobody could say when it is safe to stop. A changed cluster orphans its open connections in the same way (they vanish from load
// reports), so it waits too. In: the net changes of a transaction, before its commit. Out: nothing, or `draining`. Called by write.ts.
import { AppError } from "../errors.js";
import { drainIn } from "../model/endpoint.js";
import { fromEndpointRow } from "./endpoint-row.js";
import { space } from "./objects.js";
import { toChange } from "./row-change.js";
import type { Transaction } from "./transaction.js";
import type { RowChange } from "./write-tx.js";

/** Named in one refusal. */
const maxNamed = 100;

interface Held {
  readonly name: string;
  readonly drain: string;
}

/** `drain`: whose own step this is. @throws draining */
export async function checkDraining(
  transaction: Transaction,
  changes: readonly RowChange[],
  drain: string | undefined,
  isOverridden: boolean,
): Promise<void> {
  if (isOverridden) return;
  const held = [...changes.flatMap(takenFrom), ...(await reshaped(transaction, changes))].filter((one) => one.drain !== drain);
  if (held.length === 0) return;
  const named = held.slice(0, maxNamed);
  const drains = [...new Set(named.map((one) => one.drain))];
  const list = `${named
    .slice(0, 3)
    .map(({ name }) => name)
    .join(", ")}${held.length > 3 ? ` and ${held.length - 3} more` : ""}`;
  throw new AppError("draining", {
    drains,
    endpoints: named.map(({ name }) => name),
    override: ["drain"],
    detail: `${list}: being drained by ${drains.join(", ")}, whose end would no longer be known. Wait for it, cancel it, or override drain: it is recorded with the revision.`,
  });
}

/** The endpoint goes, or loses its mark. */
function takenFrom(row: RowChange): readonly Held[] {
  if (row.kind !== "endpoint") return [];
  const change = toChange(row);
  if (change.kind !== "endpoint") return [];
  const before = change.before && drainIn(change.before);
  return before && change.after?.drain?.id !== before.id ? [{ name: row.name, drain: before.id }] : [];
}

async function reshaped(transaction: Transaction, changes: readonly RowChange[]): Promise<readonly Held[]> {
  const clusters = changes.flatMap(({ kind, name, before, after }) =>
    kind === "cluster" && before !== undefined && after !== undefined ? name : [],
  );
  if (clusters.length === 0) return [];
  const rows = await transaction.query<{ name: string; spec: Parameters<typeof fromEndpointRow>[0]["spec"] }>(
    "select name, spec from endpoints where space = $1 and cluster = any($2) and jsonb_exists(spec, 'drain') order by name limit $3",
    [space, clusters, maxNamed],
  );
  return rows.flatMap(({ name, spec }) => {
    const mark = drainIn(fromEndpointRow({ spec }));
    return mark ? [{ name, drain: mark.id }] : [];
  });
}
