// Brings the database's schema to this binary's: the plain SQL files of migrations/, in order, forward only, all in one transaction.
// In: a direct URL (not a pooler in transaction mode: the runner's lock lives in its session). Out: nothing, or an error.
// Called by `chancery migrate`, by `serve` when told to, by the demo and by tests. Replicas that start at once wait for one another.
import { fileURLToPath } from "node:url";
import { runner } from "node-pg-migrate";
import pg from "pg";
import type { Logger } from "../telemetry/logger.js";
import { QueryFailure, toAppError } from "./sqlstate.js";

const directory = fileURLToPath(new URL("../../migrations", import.meta.url));
const connectTimeoutMs = 10_000;

/** @throws database_unavailable when it can't be reached; the database's own error when a migration fails (nothing is changed then) */
export async function migrate(databaseUrl: string, log: Logger): Promise<void> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    application_name: "chancery-migrate",
    connectionTimeoutMillis: connectTimeoutMs,
  });
  client.on("error", (error) => log.warn({ reason: error.message }, "the database connection of the migrations was lost"));
  try {
    await client.connect().catch((error: unknown) => {
      throw toAppError(new QueryFailure(error));
    });
    const done = await runner({
      dbClient: client,
      dir: directory,
      direction: "up",
      migrationsTable: "migrations",
      advisoryLockMode: "wait",
      singleTransaction: true,
      logger: {
        debug: () => {},
        info: (message) => log.debug({}, message),
        warn: (message) => log.warn({}, message),
        error: (message) => log.error({}, message),
      },
    });
    if (done.length > 0) log.info({ migrations: done.map(({ name }) => name) }, "database schema brought up to date");
  } finally {
    await client.end().catch(() => {});
  }
}
