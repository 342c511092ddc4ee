// What differs between two revisions, object by object, from the changes that lie between: O(changes in between), never O(configuration).
// In: two revisions. Out: each object that differs, as it is at the one and at the other. Called by history.ts and write-tx.ts.
import { AppError } from "../errors.js";
import { type Change, type Kind, kinds, type Revision } from "../model/revision.js";
import { space } from "./objects.js";
import { type SpecChange, toChange } from "./row-change.js";

/** From the configuration at one revision to that at another, which may be the earlier one. */
export interface Span {
  readonly from: Revision;
  readonly to: Revision;
}

/** Revisions between the two of a span: reading more would take too long. */
export const maxSpan = 100_000;
/** Objects that one write may put back. */
export const maxDifferences = 200_000;

/** Where a page of differences begins, and how long it is. By kind, then name. */
export interface DifferencePage {
  readonly after?: { readonly kind: string; readonly name: string } | undefined;
  readonly limit: number;
}

interface DifferenceRow extends Record<string, unknown> {
  readonly kind: string;
  readonly name: string;
  readonly before: unknown;
  readonly after: unknown;
}

/** Both pool.ts and Transaction run it. */
export type Query = <Row extends Record<string, unknown>>(text: string, values: readonly unknown[]) => Promise<Row[]>;

// The first change after the earlier revision says what was there; the last one up to the later revision what is there then. An object
// is changed once per revision at most. Laterals with a limit, so that both are looked up by index: two sets joined by kind and name
// were compared each with each where the estimates were off (1,500 changes of 700 objects: 100 ms, so: 9–15 ms; 100,000 revisions of
// 20,000 objects: 0.6–0.7 s).
const differencesQuery = `
  with ends as materialized (
    select kind, name, min(revision) as earliest, max(revision) as latest from changes
     where space = $1 and revision > $2 and revision <= $3 group by kind, name
  )
  select ends.kind, ends.name, first.before, last.after
    from ends
   cross join lateral (select before from changes as change
     where change.space = $1 and change.kind = ends.kind and change.name = ends.name and change.revision = ends.earliest limit 1) as first
   cross join lateral (select after from changes as change
     where change.space = $1 and change.kind = ends.kind and change.name = ends.name and change.revision = ends.latest limit 1) as last
   where first.before is distinct from last.after and (ends.kind, ends.name) > ($4, $5)
   order by ends.kind, ends.name limit $6`;

/** Sorted by kind and name. `before` is the object at `from`, `after` at `to`. Kinds that this binary does not know are left out. */
export async function readDifferences(
  query: Query,
  { from, to }: Span,
  { after, limit }: DifferencePage,
): Promise<readonly Change[]> {
  const [earlier, later] = from < to ? [from, to] : [to, from];
  const rows = await query<DifferenceRow>(differencesQuery, [space, earlier, later, after?.kind ?? "", after?.name ?? "", limit]);
  return rows.flatMap((row) => {
    const kind = kinds.find((one): one is Kind => one === row.kind);
    if (!kind) return [];
    const change: SpecChange = { kind, name: row.name, before: row.before, after: row.after };
    return toChange(from < to ? change : { ...change, before: row.after, after: row.before });
  });
}

/** @throws beyond_history */
export function checkSpan({ from, to }: Span): void {
  const revisions = Math.abs(to - from);
  if (revisions <= maxSpan) return;
  const detail = `${revisions} revisions lie between ${from} and ${to}, and ${maxSpan} are the most that are looked through`;
  throw new AppError("beyond_history", { maxSpan, detail });
}
