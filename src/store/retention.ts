// One step of pruning the history: what is older than the rule keeps goes, a bounded piece at a time, by whichever replica comes first.
// In: the rule. Out: how far the history is cut now. Ages are reckoned on the database's clock. Called by history-pruner.ts.
// A piece is verified before it goes: what was edited behind our back is evidence, and stays.
import assert from "node:assert/strict";
import type pg from "pg";
import type { Revision } from "../model/revision.js";
import { auditAfter, type ChainBreak } from "./audit.js";
import { type HistoryCut, type RecordedCut, readCut, sealExpression } from "./history-cut.js";
import { read } from "./pool.js";
import { toAppError } from "./sqlstate.js";
import { inTransaction, type Transaction } from "./transaction.js";

/** What is kept: revisions younger than `days`, the one before them, which they go back to, and the newest `least` whatever their age. */
export interface RetentionRule {
  readonly days: number;
  readonly least: number;
}

/** The settings as a rule; undefined: everything is kept for ever. */
export function toRetentionRule({
  days,
  leastRevisions,
}: {
  readonly days: number;
  readonly leastRevisions: number;
}): RetentionRule | undefined {
  return days === 0 ? undefined : { days, least: leastRevisions };
}

/** What one step came to. */
export interface PruneStep {
  /** Revisions that went. */
  readonly pruned: number;
  /** Everything up to here is gone. */
  readonly cut: Revision;
  /** There may be more to prune. */
  readonly isMore: boolean;
  /** The history is not what was written: nothing is pruned until somebody has looked. */
  readonly break: ChainBreak | undefined;
}

/** Revisions of one step, and the changes after which it takes no further revision: one transaction of some 50 ms. */
const maxRevisions = 500;
const maxChanges = 5_000;

interface CandidateRow {
  readonly revision: Revision;
  readonly is_old: boolean;
  readonly changes: number;
}

/** @throws database_unavailable */
export async function pruneStep(pool: pg.Pool, rule: RetentionRule, queryTimeoutMs: number): Promise<PruneStep> {
  assert(rule.days >= 1 && rule.least >= 1, "a rule that keeps nothing is none");
  const cut = await readCut((text, values) => read(pool, text, values));
  const none = { pruned: 0, cut: cut.revision, isMore: false, break: undefined };
  const target = await findTarget(pool, rule, cut);
  if (target <= cut.revision) return none;
  const found = await auditPiece(pool, cut, target);
  if (found) return { ...none, break: found };
  const isDone = await inTransaction(pool, { begin: "begin", queryTimeoutMs }, (transaction) =>
    prune(transaction, rule, cut, target),
  ).catch((error: unknown) => {
    throw toAppError(error);
  });
  // Not done: another replica is at it, and goes on.
  return isDone ? { pruned: target - cut.revision, cut: target, isMore: true, break: undefined } : none;
}

/**
 * The newest revision that may go. The one after it is older than the rule, too: who goes back to any time within it finds what was
 * there then. Replicas that live still need the revision that they have, to know that the history is theirs.
 */
async function findTarget(pool: pg.Pool, { days, least }: RetentionRule, cut: HistoryCut): Promise<Revision> {
  const [bounds] = await read<{ n: Revision; needed: Revision | null }>(
    pool,
    `select n, (select min(revision) from replicas where lease_until > clock_timestamp() and revision > 0) as needed from revision_counter`,
  );
  const rows = await read<CandidateRow>(
    pool,
    `select revision, at < clock_timestamp() - make_interval(days => $2) as is_old,
            coalesce((select max(ordinal) from changes where changes.revision = revisions.revision), 0) as changes
       from revisions where revision > $1 order by revision limit $3`,
    [cut.revision, days, maxRevisions + 1],
  );
  let target = cut.revision;
  let changes = 0;
  for (const [index, { is_old, revision }] of rows.entries()) {
    const before = rows[index - 1];
    if (!is_old || (before && changes > 0 && changes + before.changes > maxChanges)) break;
    changes += before?.changes ?? 0;
    target = revision - 1;
  }
  return Math.min(target, (bounds?.n ?? 0) - least, (bounds?.needed ?? Number.POSITIVE_INFINITY) - 1);
}

async function auditPiece(pool: pg.Pool, cut: RecordedCut, target: Revision): Promise<ChainBreak | undefined> {
  const { mark, break: found } = await auditAfter(pool, cut, target - cut.revision);
  if (found || mark.revision === target) return found;
  return { revision: mark.revision + 1, kind: "missing", detail: `revision ${mark.revision + 1} is not there` };
}

/** False: another replica has the cut, or has moved it. */
async function prune(transaction: Transaction, rule: RetentionRule, cut: HistoryCut, target: Revision): Promise<boolean> {
  const claimed = await transaction.query("select from history_cut where revision = $1 for update skip locked", [cut.revision]);
  if (claimed.length === 0) return false;
  // A repeat under a key is told the revision of the first: where that goes, the key has long done its work.
  await transaction.query("delete from idempotency_keys where at <= (select at from revisions where revision = $1)", [target]);
  await transaction.query(
    `update history_cut as cut
        set revision = last.revision, id = last.id, hash = last.hash, at = last.at, cut_at = clock_timestamp(), days = $2, least = $3,
            head = newest.revision, head_hash = newest.hash
       from revisions as last, revision_counter as counter join revisions as newest on newest.revision = counter.n
      where last.revision = $1`,
    [target, rule.days, rule.least],
  );
  await transaction.query(`update history_cut set seal = ${sealExpression}`);
  await transaction.query("delete from changes where revision <= $1", [target]);
  await transaction.query("delete from revisions where revision <= $1", [target]);
  return true;
}
