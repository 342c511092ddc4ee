// Whether the history is what was written: every revision's hash is reckoned again from its row and its changes, and compared with the
// one stored and with the one that the next revision names (migrations: 0006_history). In: where to begin. Out: the first break, if any.
// A page at a time, so that a long history is no long transaction. Called by history.ts and retention.ts.
import { createHash } from "node:crypto";
import type pg from "pg";
import type { Revision } from "../model/revision.js";
import { type RecordedCut, readCut } from "./history-cut.js";
import { read } from "./pool.js";

/** Where the chain stands after a revision. `hash` is hexadecimal; before every write it is the hash of nothing. */
export interface ChainMark {
  readonly revision: Revision;
  readonly hash: string;
}

/**
 * edited: the row, or one of its changes, is not what was written. missing: no row has the number. unlinked: it follows another row than
 * the one before it: that was replaced, with all that depends on it. other: the revision is not the one whose hash the caller knows.
 * cut: the beginning is gone, and no control plane can have pruned it so. pruned: the caller's mark is of what was pruned since.
 */
export type BreakKind = "edited" | "missing" | "unlinked" | "other" | "cut" | "pruned";

/** Where the history is not what was written. */
export interface ChainBreak {
  readonly revision: Revision;
  readonly kind: BreakKind;
  readonly detail: string;
}

/** What a page of verifying came to. */
export interface AuditAnswer {
  /** Revisions that are as they were written, of this page. */
  readonly verified: number;
  /** The chain after the last one of them: give it for the next page, or keep it to verify against later. */
  readonly mark: ChainMark;
  /** The newest revision by the counter. */
  readonly head: Revision;
  /** What was pruned: the chain begins after it. */
  readonly cut: RecordedCut | undefined;
  readonly break: ChainBreak | undefined;
}

/** Revisions of one page. */
export const maxAuditPage = 1_000;
/** Changes of one statement: a revision may have many. */
const changesPerRead = 5_000;
/** Postgres' largest integer: after every change of a revision. */
const maxOrdinal = 2_147_483_647;

/** Before every write. */
export const firstMark: ChainMark = { revision: 0, hash: createHash("sha256").digest("hex") };

interface AuditRow {
  readonly revision: Revision;
  readonly line: string;
  readonly changes_hash: string;
  readonly previous_hash: string;
  readonly hash: string;
}

// The same expressions as in the migration, on purpose not its functions: what checks must not ask what is checked.
const revisionsQuery = `
  select revision, encode(changes_hash, 'hex') as changes_hash, encode(previous_hash, 'hex') as previous_hash, encode(hash, 'hex') as hash,
         jsonb_build_array(revision, id, author, request_id, reason, (extract(epoch from at) * 1000000)::bigint,
                           clusters, endpoints, listeners, routes, to_jsonb(overrides),
                           encode(changes_hash, 'hex'), encode(previous_hash, 'hex'))::text as line
    from revisions where revision > $1 order by revision limit $2`;
const changesQuery = `
  select revision, ordinal, jsonb_build_array(ordinal, space, kind, name, before, after)::text as line from changes
   where revision <= $3 and (revision, ordinal) > ($1, $2) order by revision, ordinal limit $4`;

/** Times that the cut may move while a page is read. */
const maxMoves = 100;

/** Verifies at most `limit` revisions after `from`, whose hash is believed; from the first one that is kept. @throws database_unavailable */
export async function auditAfter(pool: pg.Pool, from: ChainMark, limit: number): Promise<AuditAnswer> {
  for (let moves = 0; ; moves++) {
    const cut = await readCut((text, values) => read(pool, text, values));
    const answer = await auditFrom(pool, from, limit, cut);
    if (answer.break === undefined || moves === maxMoves) return answer;
    // What was pruned between two of our statements looks as if it were missing, or edited.
    const { revision } = await readCut((text, values) => read(pool, text, values));
    if (revision === cut.revision || answer.break.revision > revision) return answer;
  }
}

async function auditFrom(pool: pg.Pool, from: ChainMark, limit: number, recorded: RecordedCut): Promise<AuditAnswer> {
  const [counter] = await read<{ n: Revision }>(pool, "select n from revision_counter");
  const head = counter?.n ?? 0;
  const cut = recorded.revision > 0 ? recorded : undefined;
  const isWhole = from.revision === 0 && from.hash === firstMark.hash;
  const start: ChainMark = cut && isWhole ? { revision: cut.revision, hash: cut.hash } : from;
  const answered = (mark: ChainMark, found?: ChainBreak): AuditAnswer => ({
    verified: mark.revision - start.revision,
    mark,
    head,
    cut,
    break: found,
  });
  const atStart = cutBreak(start, recorded) ?? startBreak(start, await knownHash(pool, start.revision, recorded));
  if (atStart) return answered(start, atStart);
  const rows = await read<AuditRow>(pool, revisionsQuery, [start.revision, limit]);
  const last = rows.at(-1)?.revision ?? start.revision;
  const hashes = await hashChanges(pool, start.revision, last);
  let mark = start;
  for (const row of rows) {
    const found = breakAt(row, mark, hashes.get(row.revision) ?? firstMark.hash) ?? headBreak(row, cut);
    if (found) return answered(mark, found);
    mark = { revision: row.revision, hash: row.hash };
  }
  // Fewer rows than asked for: this is the end, and the counter says where it must be. It is read before the rows, so never ahead of them.
  if (rows.length === limit || mark.revision >= head) return answered(mark);
  const detail = `the counter stands at ${head}, and ${mark.revision} is the last revision`;
  return answered(mark, { revision: mark.revision + 1, kind: "missing", detail });
}

function cutBreak({ revision }: ChainMark, cut: RecordedCut): ChainBreak | undefined {
  if (cut.fault !== undefined) return { revision: cut.revision, kind: "cut", detail: cut.fault };
  if (revision >= cut.revision) return undefined;
  const detail = `revision ${revision} was pruned: the history is kept from revision ${cut.revision + 1} on`;
  return { revision, kind: "pruned", detail };
}

/** The chain goes through the revision that was the newest when the cut was made. */
function headBreak({ revision, hash }: AuditRow, cut: RecordedCut | undefined): ChainBreak | undefined {
  if (revision !== cut?.head || hash === cut.headHash) return undefined;
  const detail = `revision ${revision} is another one than when the history was cut, or the cut was made up`;
  return { revision, kind: "cut", detail };
}

/** Of the revision after which the chain is followed; undefined: it is not there. */
async function knownHash(pool: pg.Pool, revision: Revision, cut: RecordedCut): Promise<string | undefined> {
  if (revision === cut.revision) return cut.hash;
  const [row] = await read<AuditRow>(pool, revisionsQuery, [revision - 1, 1]);
  return row?.revision === revision ? row.hash : undefined;
}

/** The caller's own mark is the anchor: that revision must have the hash that the caller knows. */
function startBreak(from: ChainMark, known: string | undefined): ChainBreak | undefined {
  const { revision } = from;
  if (known === from.hash) return undefined;
  if (revision === 0) return { revision, kind: "other", detail: "nothing comes before the first revision" };
  if (known === undefined) return { revision, kind: "missing", detail: `revision ${revision} is not there` };
  return { revision, kind: "other", detail: `revision ${revision} has the hash ${known}, and not ${from.hash}` };
}

function breakAt(row: AuditRow, mark: ChainMark, changesHash: string): ChainBreak | undefined {
  const { revision } = row;
  const next = mark.revision + 1;
  if (revision !== next)
    return { revision: next, kind: "missing", detail: `revision ${next} is not there; ${revision} is the next one` };
  if (changesHash !== row.changes_hash)
    return { revision, kind: "edited", detail: `the changes of revision ${revision} are not those that were written` };
  if (sha256(row.line) !== row.hash)
    return { revision, kind: "edited", detail: `the row of revision ${revision} is not the one that was written` };
  if (row.previous_hash !== mark.hash)
    return {
      revision,
      kind: "unlinked",
      detail: `revision ${revision} follows another revision ${mark.revision} than the one that is there`,
    };
  return undefined;
}

/** revision → hash over its changes; a revision without any is not in it. */
async function hashChanges(pool: pg.Pool, after: Revision, last: Revision): Promise<ReadonlyMap<Revision, string>> {
  const hashes = new Map<Revision, string>();
  let open: { revision: Revision; hash: ReturnType<typeof createHash> } | undefined;
  let at = { revision: after, ordinal: maxOrdinal };
  for (;;) {
    const rows = await read<{ revision: Revision; ordinal: number; line: string }>(pool, changesQuery, [
      at.revision,
      at.ordinal,
      last,
      changesPerRead,
    ]);
    for (const { revision, ordinal, line } of rows) {
      if (open?.revision === revision) open.hash.update(`\n${line}`);
      else {
        if (open) hashes.set(open.revision, open.hash.digest("hex"));
        open = { revision, hash: createHash("sha256").update(line) };
      }
      at = { revision, ordinal };
    }
    if (rows.length < changesPerRead) break;
  }
  if (open) hashes.set(open.revision, open.hash.digest("hex"));
  return hashes;
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
