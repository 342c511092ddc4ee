// One write from begin to its revision: the transaction, the retries, and what is known when the answer is lost.
// In: an author and the work. Out: the work's value and the revision, or an AppError. Called by store.ts.
import { randomUUID } from "node:crypto";
import type pg from "pg";
import { AppError, Interruption, reasonOf } from "../errors.js";
import type { Guard } from "../model/guard.js";
import type { Author, Change, Revision } from "../model/revision.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import { checkDraining } from "./drain-guard.js";
import { checkGuards, isSingleRemoval } from "./guards.js";
import { claimKey, type Idempotency, rememberAnswer } from "./idempotency.js";
import { commitStatement, findCommitted, otherBase, type RevisionMark, refuseOtherBase } from "./revisions.js";
import { QueryFailure, sqlState, toAppError } from "./sqlstate.js";
import { inTransaction, type Transaction } from "./transaction.js";
import { ObjectWrites, type RowChange, type WriteTx } from "./write-tx.js";

/** Runs of one write, the first included: it may lose against other writers, who may go on coming. */
const maxRuns = 10;
/** The same where every write that meets another one loses: then the time is what bounds it. */
const maxPortableRuns = 200;
/** Waits between runs: 0 to this, doubled each time (full jitter). */
const firstRetryMs = 5;
const maxRetryMs = 200;

/** What a write needs besides its author and work. */
export interface WriteOptions {
  readonly pool: pg.Pool;
  readonly queryTimeoutMs: number;
  /** Let Postgres send the hint. */
  readonly notify: boolean;
  /** Serializable transactions, tried again as long as there is time: what distributed engines offer (ADR 0035). */
  readonly portable: boolean;
  /** Told of each revision before its writer is. */
  readonly onCommitted?: ((mark: RevisionMark) => void) | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** How a write is to be done, other than as usual. */
export interface WriteChoices {
  /** Do it all, tell what it comes to, and undo it. */
  readonly dryRun?: boolean | undefined;
  /** Commit only as the revision that follows this one. */
  readonly baseRevision?: Revision | undefined;
  /** Guards that are to let it pass. */
  readonly overrides?: readonly Guard[] | undefined;
  /** A write under a key that is known already is not done: it gets the first one's answer, as JSON holds it. A dry run has no key. */
  readonly idempotency?: Idempotency | undefined;
  /** Not at all where a gateway has a policy for rollouts: it may have to be staged. Then MayBeStaged is thrown. */
  readonly unlessStaged?: boolean | undefined;
  /** The drain whose own step it is: it may take its endpoints, and no guard stands in its way, as they looked when it began. */
  readonly drain?: string | undefined;
}

/** A gateway has a policy for rollouts, so the write has not been done; costs no round trip where there is none. */
export class MayBeStaged extends Interruption {
  constructor() {
    super("a gateway has a policy for rollouts");
  }
}

const policiesQuery = "select exists (select from gateway_policies) as stages";

/** What a write came to. */
export interface Written<T> {
  readonly value: T;
  /** undefined: nothing changed, or it was a dry run, so no revision was made. */
  readonly committed: RevisionMark | undefined;
  /** What it changed, or would have changed; empty when it was not done again. */
  readonly changes: readonly Change[];
  /** True: it was done before, under the same key; value and revision are those of then. */
  readonly replayed: boolean;
}

/** The revision's id is made here, before the commit: with it a commit whose answer was lost can be looked up. */
interface Attempt {
  readonly id: string;
  commitWasSent: boolean;
}

/**
 * `work` may run several times; only the last run counts.
 * @throws database_unavailable (with `outcome: "unknown"` when COMMIT was sent and nobody can tell), write_contention, precondition_failed
 * (`baseRevision` is not the newest), idempotency_key_reused, MayBeStaged (`unlessStaged`), and `work`'s own
 */
export async function write<T>(
  options: WriteOptions,
  author: Author,
  work: (tx: WriteTx) => Promise<T>,
  choices: WriteChoices = {},
): Promise<Written<T>> {
  const startedAt = performance.now();
  const idempotency = choices.dryRun ? undefined : choices.idempotency;
  for (let run = 1; ; run++) {
    const attempt: Attempt = { id: randomUUID(), commitWasSent: false };
    let value: Omit<Written<T>, "committed"> | undefined;
    try {
      const committed = await inTransaction(
        options.pool,
        {
          begin: options.portable ? "begin isolation level serializable" : "begin",
          queryTimeoutMs: options.queryTimeoutMs,
          ask: choices.unlessStaged ? policiesQuery : undefined,
        },
        async (transaction, [policies]) => {
          if (policies?.["stages"] === true) throw new MayBeStaged();
          const objects = new ObjectWrites(transaction, attempt.id);
          const first = idempotency && (await claimKey(transaction, idempotency));
          if (first) {
            value = { value: first.value as T, changes: [], replayed: true }; // What work returned then, through JSON.
            return first.committed;
          }
          if (choices.baseRevision !== undefined) await refuseOtherBase(transaction, choices.baseRevision);
          value = { value: await work(objects), changes: objects.netChanges(), replayed: false };
          await checkAll(transaction, objects.changes(), choices);
          if (choices.dryRun) return void (await transaction.rollBack());
          if (idempotency)
            await rememberAnswer(transaction, idempotency, value.value, isChange(objects) ? attempt.id : undefined);
          return commit(options, transaction, objects, author, attempt, choices);
        },
      );
      if (value) return written(options, value, committed);
    } catch (error) {
      if (!(error instanceof QueryFailure || error instanceof Overtaken)) throw error;
      if (error instanceof QueryFailure && value && attempt.commitWasSent && leavesOutcomeOpen(error))
        return written(options, value, await resolve(options, attempt.id, error));
      if (
        !mayRunAgain(error, run, options.portable ? maxPortableRuns : maxRuns) ||
        performance.now() - startedAt > options.queryTimeoutMs
      )
        throw givenUp(error);
      const sqlstate = error instanceof QueryFailure ? (error.state ?? "none") : "overtaken";
      options.metrics.count("store_retries_total", { sqlstate });
      options.log.debug({ sqlstate, run }, "a write lost against another one and runs again");
    }
    await new Promise((done) => setTimeout(done, Math.random() * Math.min(maxRetryMs, firstRetryMs * 2 ** run)));
  }
}

function isChange(objects: ObjectWrites): boolean {
  return objects.changes().length + objects.otherChanges().length > 0;
}

async function checkAll(
  transaction: Transaction,
  changes: readonly RowChange[],
  { drain, overrides = [] }: WriteChoices,
): Promise<void> {
  if (drain === undefined) await checkGuards(transaction, changes, overrides);
  await checkDraining(transaction, changes, drain, overrides.includes("drain"));
}

function written<T>(
  { metrics, onCommitted }: WriteOptions,
  value: Omit<Written<T>, "committed">,
  committed: RevisionMark | undefined,
): Written<T> {
  if (committed) {
    metrics.count("store_revisions_total", {});
    onCommitted?.(committed);
  }
  return { ...value, committed };
}

async function commit(
  options: WriteOptions,
  transaction: Transaction,
  objects: ObjectWrites,
  author: Author,
  attempt: Attempt,
  { baseRevision, drain, overrides = [] }: WriteChoices,
): Promise<RevisionMark | undefined> {
  const changes = objects.changes();
  const others = objects.otherChanges();
  const applies = await transaction.takeDeferred();
  if (changes.length + others.length === 0) {
    await transaction.commit();
    return undefined;
  }
  const mayEmpty = drain !== undefined || overrides.includes("emptied") || isSingleRemoval(changes);
  const statement = commitStatement(attempt.id, author, [...changes, ...others], {
    overrides,
    mayEmpty,
    rollout: objects.rollouts.own,
    notify: options.notify,
    applies,
  });
  if (baseRevision !== undefined || objects.base !== undefined)
    return commitAfter(transaction, statement, attempt, { caller: baseRevision, work: objects.base });
  attempt.commitWasSent = true;
  const [row] = await transaction.commit<{ revision: Revision }>(statement);
  return row && { revision: row.revision, id: attempt.id };
}

/** Which revision the write must be the next one of: the caller said so, or its work has looked at the whole configuration. */
interface Bases {
  readonly caller: Revision | undefined;
  readonly work: Revision | undefined;
}

/** The number that it got says whether another revision came in between; that costs a round trip, with the counter held. */
async function commitAfter(transaction: Transaction, statement: string, attempt: Attempt, bases: Bases): Promise<RevisionMark> {
  const [row] = await transaction.query<{ revision: Revision }>(statement);
  const base = (row?.revision ?? 0) - 1;
  if (bases.caller !== undefined && bases.caller !== base) throw otherBase(bases.caller, base);
  if (!row || (bases.work !== undefined && bases.work !== base)) throw new Overtaken();
  attempt.commitWasSent = true;
  await transaction.commit();
  return { revision: row.revision, id: attempt.id };
}

/** Another writer has committed since the work looked at the whole configuration: run again, it sees what that one did. */
class Overtaken extends Error {
  constructor() {
    super("another revision was committed in between");
  }
}

/** A server that cancelled the statement has undone it; one that went away may have committed first. */
function leavesOutcomeOpen(failure: QueryFailure): boolean {
  return failure.kind === "unavailable" && failure.state !== sqlState.queryCanceled;
}

function mayRunAgain(failure: QueryFailure | Overtaken, run: number, most: number): boolean {
  if (failure instanceof Overtaken) return run < most;
  if (failure.state === sqlState.lockNotAvailable) return false; // It has waited its share already.
  return failure.kind === "contention" && run < most;
}

function givenUp(failure: QueryFailure | Overtaken): unknown {
  return failure instanceof Overtaken ? new AppError("write_contention") : toAppError(failure);
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
