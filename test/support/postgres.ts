// A database of one's own for a test file, cloned in about 50 ms from the migrated template, and gone when the file ends.
// In: the server that postgres-setup.ts started. Out: a URL. Also a proxy that stands between a store and Postgres and can fail.
import { randomUUID } from "node:crypto";
import { connect, createServer, type Socket } from "node:net";
import pg from "pg";
import { inject } from "vitest";
import { onCleanup } from "./cleanup.js";
import type {} from "./postgres-setup.js";

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
  return { url: url.href, drop };
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

export interface DatabaseProxy {
  /** The database's URL, through the proxy. */
  readonly url: string;
  /** pass: as if it were not there. silent: nothing comes back any more, connections stay. closed: connections are cut and refused. */
  become(state: "pass" | "silent" | "closed"): void;
  /** Calls back once, before `text` goes to the server: to fail at one statement. */
  whenSent(text: string, callback: () => void): void;
}

/** A TCP proxy in front of the database. Closed when the test file ends. */
export async function databaseProxy(databaseUrl: string): Promise<DatabaseProxy> {
  const target = new URL(databaseUrl);
  let state: "pass" | "silent" | "closed" = "pass";
  let watched: { text: string; callback: () => void } | undefined;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    if (state === "closed") return void client.destroy();
    const upstream = connect(Number(target.port), target.hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (bytes) => {
      if (watched && bytes.includes(watched.text)) {
        const { callback } = watched;
        watched = undefined;
        callback();
      }
      upstream.write(bytes);
    });
    upstream.on("data", (bytes) => {
      if (state === "pass") client.write(bytes);
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  if (!address || typeof address === "string") throw new Error("the proxy has no port");
  const become = (next: typeof state): void => {
    state = next;
    if (next === "closed") for (const socket of sockets) socket.destroy();
  };
  onCleanup("database proxy", async () => {
    become("closed");
    await new Promise<void>((closed) => server.close(() => closed()));
  });
  const url = new URL(databaseUrl);
  url.port = String(address.port);
  return { url: url.href, become, whenSent: (text, callback) => void (watched = { text, callback }) };
}
