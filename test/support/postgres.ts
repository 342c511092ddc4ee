// A database of one's own for a test file, cloned in about 50 ms from the migrated template, and gone when the file ends.
// In: the server that postgres-setup.ts started. Out: a URL. Also a proxy that stands between a store and Postgres and can fail.
import { randomUUID } from "node:crypto";
import pg from "pg";
import { inject } from "vitest";
import { onCleanup } from "./cleanup.js";
import { throughPooler } from "./pgbouncer.js";
import type {} from "./postgres-setup.js";
import { startTcpProxy, type TcpProxy } from "./tcp-proxy.js";

export interface TestDatabase {
  readonly url: string;
  /** Earlier than at the file's end. Connections to it are cut. */
  drop(): Promise<void>;
}

/** A migrated, empty database. */
export async function freshDatabase(): Promise<TestDatabase> {
  const name = `test_${randomUUID().replaceAll("-", "")}`;
  await administer(`create database ${name} template template_chancery`);
  const url = new URL(inject("postgresUrl"));
  url.pathname = `/${name}`;
  const drop = async (): Promise<void> => {
    forget();
    await administer(`drop database if exists ${name} with (force)`);
  };
  const forget = onCleanup(`database ${name}`, drop);
  const pooler = inject("poolerPort");
  return { url: pooler === 0 ? url.href : throughPooler(url.href, pooler), drop };
}

async function administer(statement: string): Promise<void> {
  const admin = new pg.Client({ connectionString: inject("postgresUrl") });
  await admin.connect();
  try {
    await admin.query(statement);
  } finally {
    await admin.end();
  }
}

/** Runs SQL in a database, behind the store's back. */
export async function sql<Row extends pg.QueryResultRow>(
  url: string,
  text: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(text, [...values])).rows;
  } finally {
    await client.end();
  }
}

export interface DatabaseProxy extends TcpProxy {
  /** The database's URL, through the proxy. */
  readonly url: string;
}

/** A TCP proxy in front of the database. Closed when the test file ends. */
export async function databaseProxy(databaseUrl: string): Promise<DatabaseProxy> {
  const url = new URL(databaseUrl);
  const proxy = await startTcpProxy("database proxy", { host: url.hostname, port: Number(url.port) });
  url.port = String(proxy.port);
  return Object.assign(proxy, { url: url.href });
}
