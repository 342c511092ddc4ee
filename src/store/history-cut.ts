// Where the history begins: what was pruned, as one row says it, and whether that row can be believed.
// In: the row. Out: the cut, or what is wrong with it. Called by audit.ts, history.ts, retention.ts and write-tx.ts.
import { createHash } from "node:crypto";
import { AppError } from "../errors.js";
import type { Revision } from "../model/revision.js";
import type { Query } from "./differences.js";

/** Everything up to `revision` was pruned; 0: nothing was. */
export interface HistoryCut {
  readonly revision: Revision;
  /** Of that revision; "" for 0. */
  readonly id: string;
  /** Of that revision, hexadecimal; for 0 the hash of nothing. */
  readonly hash: string;
}

/** The cut with what it says of itself. Times are ISO 8601, the database's clock. */
export interface RecordedCut extends HistoryCut {
  readonly cutAt: string;
  /** The rule that it was made by: older than so many days, and not among the newest `least`. */
  readonly days: number;
  readonly least: number;
  /** The newest revision when it was made, and its hash. */
  readonly head: Revision;
  readonly headHash: string;
  /** Why nobody who keeps to the rules can have made it; undefined: they can. */
  readonly fault: string | undefined;
}

/** What the seal is made over, as an expression over the columns of `history_cut`. */
export const sealExpression = `sha256(convert_to(jsonb_build_array(revision, id, encode(hash, 'hex'), (extract(epoch from at) * 1000000)::bigint,
  (extract(epoch from cut_at) * 1000000)::bigint, days, least, head, encode(head_hash, 'hex'))::text, 'UTF8'))`;

/** The columns of a CutRow; a table that is not there yet, or has no row, can't be read: the schema is older. */
const cutQuery = `
  select revision, coalesce(id::text, '') as id, encode(hash, 'hex') as hash, coalesce(cut_at, clock_timestamp()) as cut_at,
         days, least, head, encode(head_hash, 'hex') as head_hash, seal = ${sealExpression} as sealed,
         at <= cut_at - make_interval(days => days) as is_old, cut_at <= clock_timestamp() as is_past,
         (select min(kept.revision) from revisions as kept) as first
    from history_cut`;

interface CutRow extends Record<string, unknown> {
  readonly revision: Revision;
  readonly id: string;
  readonly hash: string;
  readonly cut_at: Date;
  readonly days: number;
  readonly least: number;
  readonly head: Revision;
  readonly head_hash: string;
  readonly sealed: boolean;
  readonly is_old: boolean | null;
  readonly is_past: boolean | null;
  readonly first: Revision | null;
}

const nothingHash = createHash("sha256").digest("hex");
const lost: RecordedCut = {
  ...{ revision: 0, id: "", hash: nothingHash, head: 0, headHash: nothingHash },
  ...{ cutAt: new Date(0).toISOString(), days: 0, least: 0, fault: "the row that says where the history begins is not there" },
};

/** One look-up. @throws database_unavailable */
export async function readCut(query: Query): Promise<RecordedCut> {
  const [row] = await query<CutRow>(cutQuery, []);
  if (!row) return lost;
  const { revision, id, hash, days, least, head } = row;
  const cut = { revision, id, hash, cutAt: row.cut_at.toISOString(), days, least, head, headHash: row.head_hash };
  return { ...cut, fault: revision === 0 ? undefined : faultOf(row) };
}

function faultOf({ revision, days, least, head, sealed, is_old, is_past, first }: CutRow): string | undefined {
  if (!sealed) return "the row of the cut is not the one that was written";
  if (first !== null && first <= revision) return `revision ${first} is there, although it is said to be pruned`;
  if (days < 1 || least < 1 || head - revision < least)
    return `a cut by the rule of ${least} revisions at least does not leave ${head - revision}`;
  if (!is_old) return `a cut by the rule of ${days} days does not take what was younger`;
  return is_past ? undefined : "it was made in the future";
}

/** What lies at or before a cut can't be told from what is kept. `revision` itself is where what is kept begins. @throws beyond_history */
export function refuseBeyond(cut: HistoryCut, ...revisions: readonly Revision[]): void {
  const gone = revisions.find((revision) => revision < cut.revision);
  if (gone !== undefined) throw beyondCut(gone, cut);
}

/** `revision` was there, and was pruned. */
export function beyondCut(revision: Revision, cut: HistoryCut): AppError {
  const keptFrom = cut.revision + 1;
  const detail = `the history is kept from revision ${keptFrom} on; revision ${revision} was pruned`;
  return new AppError("beyond_history", { keptFrom, detail });
}
