// Connections to Postgres, each with its limits. In: a URL. Out: pools (feed, load, api) and one-statement reads.
// Behind a pooler in transaction mode nothing may live in a session: no start-up parameters beyond the name, no SET, and no prepared
// statements, which is why a pooler is looked for (prepared.ts). Server-side timeouts are therefore set per transaction (transaction.ts); these here are the client's own.
import pg from "pg";
import type { Logger } from "../telemetry/logger.js";
import { type Prepared, recognisePooler, toQuery } from "./prepared.js";
import { QueryFailure, refuseStandby, toAppError } from "./sqlstate.js";

/** One pool and its limits. */
export interface PoolOptions {
  /** For the log and pg_stat_activity: feed, load, api. */
  readonly name: string;
  readonly databaseUrl: string;
  readonly size: number;
  /** Longest wait for a connection, new or from the pool. */
  readonly connectTimeoutMs: number;
  /** Longest wait for the answer to one statement. A blackholed connection is noticed by this alone. */
  readonly queryTimeoutMs: number;
  /** A connection is made anew after this long: the address may lead to another server by then, although the old one still answers. */
  readonly connectionAgeMs: number;
  /** Hot statements may be prepared where connections end at Postgres itself. Default: false. */
  readonly prepares?: boolean | undefined;
  readonly log: Logger;
}

/** Runs one call and notes its time and its failure (observed.ts). `call` is a label: one of a few words. */
export type Observe = <T>(call: string, run: () => Promise<T>) => Promise<T>;

const int8 = 20;
const clientTypes = {
  /** bigint as a number: revisions and counts stay below 2^53. */
  getTypeParser: ((oid: number, format?: "text" | "binary") =>
    oid === int8 && format !== "binary"
      ? Number
      : pg.types.getTypeParser(oid, format ?? "text")) as typeof pg.types.getTypeParser,
};

/** What every connection is opened with, pooled or not. */
export function clientConfig(options: Omit<PoolOptions, "size" | "log" | "connectionAgeMs" | "prepares">): pg.ClientConfig {
  return {
    connectionString: options.databaseUrl,
    application_name: `chancery-${options.name}`,
    connectionTimeoutMillis: options.connectTimeoutMs,
    query_timeout: options.queryTimeoutMs,
    keepAlive: true,
    types: clientTypes,
  };
}

/**
 * A pool that connects when first used, and whose waits all end. A standby is not connected to: a primary becomes one only by a restart, so
 * that one look for each connection is enough, unless a pooler stands in between (then the feed's own look tells, revision-feed.ts).
 */
export function createPool(options: PoolOptions): pg.Pool {
  const pool: pg.Pool = new pg.Pool({
    ...clientConfig(options),
    max: options.size,
    maxLifetimeSeconds: options.connectionAgeMs / 1_000,
    onConnect: async (client) => {
      const look = {
        text: "select pg_is_in_recovery() as standby, pg_backend_pid() as pid",
        query_timeout: options.connectTimeoutMs,
      };
      const { rows } = await client.query<{ readonly standby: boolean; readonly pid: number }>(look);
      refuseStandby(rows[0]?.standby);
      if (options.prepares) recognisePooler(pool, client, rows[0]?.pid);
    },
  });
  // An idle connection that breaks is thrown away by the pool; without a listener it would end the process. That the database is away,
  // if it is, the feed tells, once. Not the error itself: pg hangs the whole client onto it.
  pool.on("error", (error) => {
    if (!pool.ending) options.log.debug({ pool: options.name, reason: error.message }, "an idle database connection was lost");
  });
  return pool;
}

/**
 * One statement on its own. On any failure the pool discards the connection: after a client-side timeout its answer may still come.
 * @throws database_unavailable
 */
export async function read<Row extends pg.QueryResultRow>(
  pool: pg.Pool,
  statement: string | Prepared,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  try {
    return (await pool.query<Row>(toQuery(pool, statement, values))).rows;
  } catch (error) {
    throw toAppError(new QueryFailure(error));
  }
}

/**
 * The same, and the answer of a standby is none: for what must not be old. The statement selects `pg_is_in_recovery() as standby`.
 * @throws database_unavailable
 */
export async function readPrimary<Row extends pg.QueryResultRow & { readonly standby: boolean }>(
  pool: pg.Pool,
  statement: string | Prepared,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  const rows = await read<Row>(pool, statement, values);
  try {
    refuseStandby(rows[0]?.standby);
  } catch (error) {
    throw toAppError(error);
  }
  return rows;
}
