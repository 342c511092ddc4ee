// A Postgres of a chaos run's own, alone, which can be killed and started again.
// In: settings. Out: a URL that stays the same, crash() and start(). Called by world.ts.
import { randomUUID } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { startEmbeddedPostgres } from "../../src/demo/embedded-postgres.js";
import { accountFor } from "../../src/demo/postgres-folders.js";
import { type PostgresServer, quickRecovery, watchServer } from "./postgres-server.js";

export interface KillablePostgres extends PostgresServer {
  /** Of an empty database, `chaos`, on it. */
  readonly url: string;
}

/** Named as the test run's own server is: what a killed run leaves is removed by the next one. */
export const freshFolder = (): string => join(tmpdir(), `chancery-test-postgres-${randomUUID()}`);

/** `settings` are the server's: `{ synchronous_commit: "off" }`. */
export async function startKillablePostgres(
  settings: Readonly<Record<string, string>> = {},
  dataDir = freshFolder(),
): Promise<KillablePostgres> {
  const server = await startEmbeddedPostgres({ dataDir, log: () => {} });
  const cluster = join(server.dataDir, "cluster");
  const folder = { root: server.dataDir, cluster, account: await accountFor(cluster) };
  const watched = await watchServer(folder, Number(new URL(server.url).port), server.pid);
  await prepare(server.url, { ...quickRecovery, ...settings });
  const url = new URL(server.url);
  url.pathname = "/chaos";
  return { ...watched, url: url.href };
}

async function prepare(url: string, settings: Readonly<Record<string, string>>): Promise<void> {
  const admin = new pg.Client({ connectionString: url });
  await admin.connect();
  await alterSystem(admin, settings);
  await admin.query("create database chaos");
  await admin.end();
}

/** Takes effect at once, where a setting can. */
export async function alterSystem(admin: pg.Client, settings: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, value] of Object.entries(settings))
    await admin.query(`alter system set ${pg.escapeIdentifier(name)} = ${pg.escapeLiteral(value)}`);
  await admin.query("select pg_reload_conf()");
}
