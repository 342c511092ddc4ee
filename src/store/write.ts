// One write from begin to its revision: the transaction, the retries, and what is known when the answer is lost.
// In: an author and the work. Out: the work's value and the revision, or an AppError. Called by store.ts.
import { randomUUID } from "node:crypto";
import type pg from "pg";
import { AppError, reasonOf } from "../errors.js";
import type { Author, Revision } from "../model/revision.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import { commitStatement, findCommitted, type RevisionMark } from "./revisions.js";
import { QueryFailure, sqlState, toAppError } from "./sqlstate.js";
import { inTransaction, type Transaction } from "./transaction.js";
import { ObjectWrites, type WriteTx } from "./write-tx.js";

/** Runs of one write, the first included: it may lose against other writers, who may go on coming. */
const maxRuns = 10;
/** Waits between runs: 0 to this, doubled each time (full jitter). */
const firstRetryMs = 5;
const maxRetryMs = 200;

/** What a write needs besides its author and work. */
export interface WriteOptions {
  readonly pool: pg.Pool;
  readonly queryTimeoutMs: number;
  /** Let Postgres send the hint. */
  readonly notify: boolean;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** What a write came to. */
export interface Written<T> {
  readonly value: T;
  /** undefined: nothing changed, so no revision was made. */
  readonly committed: RevisionMark | undefined;
}

/** The revision's id is made here, before the commit: with it a commit whose answer was lost can be looked up. */
interface Attempt {
  readonly id: string;
  commitWasSent: boolean;
}

/**
 * `work` may run several times; only the last run counts.
 * @throws database_unavailable (with `outcome: "unknown"` when COMMIT was sent and nobody can tell), write_contention, and `work`'s own
 */
export async function write<T>(options: WriteOptions, author: Author, work: (tx: WriteTx) => Promise<T>): Promise<Written<T>> {
  const startedAt = performance.now();
  for (let run = 1; ; run++) {
    const attempt: Attempt = { id: randomUUID(), commitWasSent: false };
    let value: { value: T } | undefined;
    try {
      const committed = await inTransaction(
        options.pool,
        { begin: "begin", queryTimeoutMs: options.queryTimeoutMs },
        async (transaction) => {
          const objects = new ObjectWrites(transaction);
          value = { value: await work(objects) };
          return commit(options, transaction, objects, author, attempt);
        },
      );
      if (value) return written(options, value.value, committed);
    } catch (error) {
      if (!(error instanceof QueryFailure)) throw error;
      if (value && attempt.commitWasSent && leavesOutcomeOpen(error))
        return written(options, value.value, await resolve(options, attempt.id, error));
      if (!mayRunAgain(error, run) || performance.now() - startedAt > options.queryTimeoutMs) throw toAppError(error);
      options.metrics.count("store_retries_total", { sqlstate: error.state ?? "none" });
      options.log.debug({ sqlstate: error.state, run }, "a write lost against another one and runs again");
    }
    await new Promise((done) => setTimeout(done, Math.random() * Math.min(maxRetryMs, firstRetryMs * 2 ** run)));
  }
}

function written<T>({ metrics }: WriteOptions, value: T, committed: RevisionMark | undefined): Written<T> {
  if (committed) metrics.count("store_revisions_total", {});
  return { value, committed };
}

async function commit(
  options: WriteOptions,
  transaction: Transaction,
  objects: ObjectWrites,
  author: Author,
  attempt: Attempt,
): Promise<RevisionMark | undefined> {
  const changes = objects.changes();
  if (changes.length === 0) {
    await transaction.commit();
    return undefined;
  }
  attempt.commitWasSent = true;
  const [row] = await transaction.commit<{ revision: Revision }>(commitStatement(attempt.id, author, changes, options.notify));
  return row && { revision: row.revision, id: attempt.id };
}

/** A server that cancelled the statement has undone it; one that went away may have committed first. */
function leavesOutcomeOpen(failure: QueryFailure): boolean {
  return failure.kind === "unavailable" && failure.state !== sqlState.queryCanceled;
}

function mayRunAgain(failure: QueryFailure, run: number): boolean {
  if (failure.state === sqlState.lockNotAvailable) return false; // It has waited its share already.
  return failure.kind === "contention" && run < maxRuns;
}

/** Found: committed, and the caller is told so. Not found: it may still be on its way, so nobody can tell. */
async function resolve(options: WriteOptions, id: string, failure: QueryFailure): Promise<RevisionMark> {
  const revision = await findCommitted(options.pool, id).catch(() => undefined);
  options.log.warn(
    { reason: reasonOf(failure), revision: revision ?? 0 },
    revision ? "the answer to a commit was lost; it had committed" : "the answer to a commit was lost; its outcome is unknown",
  );
  if (revision === undefined) throw new AppError("database_unavailable", { outcome: "unknown" }, [], failure);
  return { revision, id };
}
