// Routes' references as rows with foreign keys: Postgres itself refuses a dangling one, whoever writes at the same time.
// In: what routes named before and name now. Out: rows of route_clusters and route_listeners. Called by write-tx.ts.
import { type References, space } from "./objects.js";
import type { Transaction } from "./transaction.js";

/** How one route's references change. */
export interface ReferenceChange {
  readonly route: string;
  readonly before: References | undefined;
  readonly after: References;
}

interface Pair {
  readonly route: string;
  readonly target: string;
}

/** A shift of weights changes no reference, and so costs no statement here. */
export async function writeReferences(transaction: Transaction, changes: readonly ReferenceChange[]): Promise<void> {
  for (const to of ["cluster", "listener"] as const) {
    const key = `${to}s` as const;
    const table = `route_${key}`;
    const gone = changes.flatMap(({ route, before, after }) => pairs(route, before?.[key] ?? [], after[key]));
    const added = changes.flatMap(({ route, before, after }) => pairs(route, after[key], before?.[key] ?? []));
    if (gone.length > 0) {
      await transaction.query(
        `delete from ${table} as reference using jsonb_to_recordset($2::jsonb) as gone (route text, target text)
          where reference.space = $1 and reference.route = gone.route and reference.${to} = gone.target`,
        [space, JSON.stringify(gone)],
      );
    }
    if (added.length > 0) {
      await transaction.query(
        `insert into ${table} (space, route, ${to})
         select $1, added.route, added.target from jsonb_to_recordset($2::jsonb) as added (route text, target text) order by added.target, added.route`,
        [space, JSON.stringify(added)],
      );
    }
  }
}

/** Pairs for what is in `these` and not in `others`. */
function pairs(route: string, these: readonly string[], others: readonly string[]): Pair[] {
  const known = new Set(others);
  return [...new Set(these)].filter((target) => !known.has(target)).map((target) => ({ route, target }));
}
