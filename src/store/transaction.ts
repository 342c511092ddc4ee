// One transaction on one connection of a pool. In: a pool and the work. Out: the work's value, committed, or nothing done.
// Server timeouts are set inside (SET LOCAL), so that a pooler in transaction mode can stand in between. A connection that did not
// answer in time is thrown away, never used again. Called by store.ts (writes), desired-state.ts (full loads).
import type pg from "pg";
import { type Prepared, toQuery } from "./prepared.js";
import { QueryFailure } from "./sqlstate.js";

/** How the transaction begins, and its time limit per statement. */
export interface TransactionOptions {
  readonly begin: "begin" | "begin isolation level serializable" | "begin isolation level repeatable read read only";
  /** The client's own limit; the server's are set shorter, so that its answer comes first and the connection lives on. */
  readonly queryTimeoutMs: number;
  /** A question that goes with BEGIN in one message. */
  readonly ask?: string | undefined;
}

/** Statements of one transaction, one after the other, also when asked for at once. All throw QueryFailure. */
export class Transaction {
  #tail: Promise<unknown> = Promise.resolve();
  #state: "open" | "committing" | "ended" = "open";
  #unusable = false;
  /** Statements that have not been sent yet. */
  #deferred: { readonly text: string; readonly values: readonly unknown[] }[] = [];
  #isDeferring = true;

  constructor(
    private readonly client: pg.PoolClient,
    private readonly pool: pg.Pool,
  ) {}

  /** True once COMMIT has been sent: from then on a lost connection leaves the outcome unknown. */
  get commitWasSent(): boolean {
    return this.#state !== "open";
  }
  /** The connection must not go back into the pool. */
  get isUnusable(): boolean {
    return this.#unusable;
  }

  /** `ask`: a question that goes with it, answered by its rows; without parameters. */
  async begin<Row extends pg.QueryResultRow>({ begin, queryTimeoutMs, ask }: TransactionOptions): Promise<Row[]> {
    const settings = {
      lock_timeout: queryTimeoutMs * 0.6, // Shorter than the statement's: else a long wait could not be told from a slow statement.
      statement_timeout: queryTimeoutMs * 0.8,
      idle_in_transaction_session_timeout: queryTimeoutMs,
    };
    const sets = Object.entries(settings).map(([name, ms]) => `set local ${name} = ${Math.max(1, Math.trunc(ms))}`);
    const results = await this.#sendAll<Row>([begin, ...sets, ...(ask === undefined ? [] : [ask])].join("; "));
    return ask === undefined ? [] : (results.at(-1)?.rows ?? []);
  }

  /**
   * A write that only whoever looks could tell from one that has been done: it is sent before the next statement. Where none comes but the
   * last one, which does the same (`takeDeferred`), it is never sent.
   */
  defer(text: string, values: readonly unknown[]): void {
    this.#deferred.push({ text, values });
  }

  /**
   * To be called before the last statement. True: nothing that was deferred has been sent, nor will be. Otherwise all of it has been: some
   * went before a statement that might have looked.
   */
  async takeDeferred(): Promise<boolean> {
    await this.#tail;
    if (!this.#isDeferring) await this.#sendDeferred();
    this.#deferred = [];
    return this.#isDeferring;
  }

  async query<Row extends pg.QueryResultRow>(text: string | Prepared, values: readonly unknown[] = []): Promise<Row[]> {
    const before = this.#tail;
    const result = (async () => {
      await before.catch(() => {});
      if (this.#state !== "open") throw new Error("a statement was sent after its transaction had ended");
      await this.#sendDeferred();
      return this.#send<Row>(text, values);
    })();
    this.#tail = result.catch(() => {});
    return result;
  }

  /**
   * Commits. `last`, a statement whose values are literals, travels together with COMMIT, so that the lock which it takes is held
   * for one round trip (one statement in place of two: 889 writes/s against 461).
   */
  async commit<Row extends pg.QueryResultRow>(last?: string): Promise<Row[]> {
    await this.#tail;
    this.#state = "committing";
    const rows = await this.#send<Row>(last === undefined ? "commit" : `${last}; commit`);
    this.#state = "ended";
    return rows;
  }

  /** Ends what is still open; a connection on which that fails is unusable. */
  async rollBack(): Promise<void> {
    await this.#tail;
    const wasEnded = this.#state === "ended";
    this.#state = "ended";
    if (wasEnded || this.#unusable) return;
    await this.#send("rollback").catch(() => {
      this.#unusable = true;
    });
  }

  async #sendDeferred(): Promise<void> {
    for (const { text, values } of this.#deferred.splice(0)) {
      this.#isDeferring = false;
      await this.#send(text, values);
    }
  }

  /** Of several statements, the first one's rows. */
  async #send<Row extends pg.QueryResultRow>(text: string | Prepared, values?: readonly unknown[]): Promise<Row[]> {
    return (await this.#sendAll<Row>(text, values))[0]?.rows ?? [];
  }

  async #sendAll<Row extends pg.QueryResultRow>(
    text: string | Prepared,
    values?: readonly unknown[],
  ): Promise<pg.QueryResult<Row>[]> {
    try {
      // Several statements in one text give an array of results.
      const result: pg.QueryResult<Row> | pg.QueryResult<Row>[] = await this.client.query<Row>(toQuery(this.pool, text, values));
      return Array.isArray(result) ? result : [result];
    } catch (error) {
      const failure = new QueryFailure(error);
      // Without the server's answer, or with its goodbye (57P01 and the like), the connection is no good any more.
      if (failure.isUnanswered || failure.kind === "unavailable") this.#unusable = true;
      throw failure;
    }
  }
}

/** @throws QueryFailure of the connection or of BEGIN, or what `work` throws. */
export async function inTransaction<T>(
  pool: pg.Pool,
  options: TransactionOptions,
  work: (transaction: Transaction, answer: readonly pg.QueryResultRow[]) => Promise<T>,
): Promise<T> {
  const { client, transaction, answer, ignore } = await begun(pool, options);
  try {
    const value = await work(transaction, answer);
    if (!transaction.commitWasSent) await transaction.commit();
    return value;
  } catch (error) {
    await transaction.rollBack();
    throw error;
  } finally {
    client.release(transaction.isUnusable);
    client.off("error", ignore);
  }
}

interface Begun {
  readonly client: pg.PoolClient;
  readonly transaction: Transaction;
  /** To what was asked with BEGIN. */
  readonly answer: readonly pg.QueryResultRow[];
  readonly ignore: () => void;
}

/**
 * A server that was restarted leaves dead connections in the pool, which learns it a moment later. One that is found dead at BEGIN has done
 * nothing, so another is taken; when the database is away, connecting fails.
 */
async function begun(pool: pg.Pool, options: TransactionOptions): Promise<Begun> {
  for (let taken = 1; ; taken++) {
    const client = await pool.connect().catch((error: unknown) => {
      throw new QueryFailure(error);
    });
    // The pool listens only while a connection is idle: an 'error' between two statements would end the process.
    const ignore = (): void => {};
    client.on("error", ignore);
    const transaction = new Transaction(client, pool);
    const startedAt = performance.now();
    try {
      const answer = await transaction.begin(options);
      return { client, transaction, answer, ignore };
    } catch (error) {
      client.release(true);
      client.off("error", ignore);
      // What took long was no dead connection but a database that does not answer.
      const wasDead =
        error instanceof QueryFailure && error.kind === "unavailable" && performance.now() - startedAt < deadWithinMs;
      if (!wasDead || taken > pool.options.max) throw error;
    }
  }
}

/** A connection that is dead says so sooner. */
const deadWithinMs = 250;
