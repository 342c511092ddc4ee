// A primary and its standby, by streaming replication, behind one address: what a virtual address, a DNS name or a proxy is in production.
// The standby is a base backup made through SQL (pg_backup_start, a copy of the files, pg_backup_stop): the embedded package has no
// pg_basebackup. Between the two is a proxy, so that the standby can be made to lag.
// In: whether commits wait for the standby. Out: the address, and failover. Called by faulty-world.ts.

import { execFile, spawn } from "node:child_process";
import { appendFile, chown, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { findPostgres } from "../../src/demo/postgres-binaries.js";
import { type DataFolder, serverEnvironment } from "../../src/demo/postgres-process.js";
import { freePort } from "../support/ports.js";
import { sql } from "../support/postgres.js";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.js";
import { waitFor } from "../support/wait.js";
import { alterSystem, freshFolder, startKillablePostgres } from "./killable-postgres.js";
import { type PostgresServer, watchServer } from "./postgres-server.js";

const run = promisify(execFile);

/** What a failover left behind. */
export interface LeftHistory {
  /** Of the old primary, started again where nobody finds it. */
  readonly url: string;
  /** Removes it. */
  remove(): Promise<void>;
}

export interface PostgresPair {
  /** The address that replicas have; what stands behind it changes. */
  readonly url: string;
  /** Of it: to break it. */
  readonly address: TcpProxy;
  /** The primary's own, past the address. */
  directUrl(): string;
  standbyUrl(): string;
  readonly primary: PostgresServer;
  /** What the standby streams through: stalled, it lags. */
  readonly replication: TcpProxy;
  /** Kills the primary, promotes the standby, and leads the address there; a new standby is made meanwhile, see `settled`. */
  failover(): Promise<LeftHistory>;
  /** Resolves when there is a standby again. */
  settled(): Promise<void>;
}

/** Kept by a primary, so that a standby that was cut off finds all that it missed. */
const primarySettings = { wal_keep_size: "128MB", wal_retrieve_retry_interval: "100ms" } as const;

/** `synchronous`: a commit is acknowledged when the standby has it. `dataDir`: of the first primary. */
export async function startPostgresPair(options: {
  readonly synchronous: boolean;
  readonly dataDir?: string;
}): Promise<PostgresPair> {
  return Pair.start(options.synchronous, options.dataDir);
}

class Pair implements PostgresPair {
  #settling: Promise<void> = Promise.resolve();

  private constructor(
    readonly url: string,
    readonly address: TcpProxy,
    readonly replication: TcpProxy,
    private readonly synchronous: boolean,
    public primary: PostgresServer,
    private standby: PostgresServer,
  ) {}

  static async start(synchronous: boolean, dataDir?: string): Promise<Pair> {
    const { url, ...primary } = await startKillablePostgres(primarySettings, dataDir);
    const own = { host: "127.0.0.1", port: primary.port };
    const address = await startTcpProxy("address of the database", own);
    const replication = await startTcpProxy("replication", own);
    const standby = await makeStandby(url, primary, replication.port);
    const pair = new Pair(at(url, address.port), address, replication, synchronous, primary, standby);
    await pair.#settle();
    return pair;
  }

  directUrl(): string {
    return at(this.url, this.primary.port);
  }
  standbyUrl(): string {
    return at(this.url, this.standby.port);
  }

  async failover(): Promise<LeftHistory> {
    await this.settled();
    const old = this.primary;
    await old.crash();
    this.replication.cut(); // What it held back is lost.
    this.replication.become("pass");
    await sql(this.standbyUrl(), "select pg_promote(true, 30)");
    this.primary = this.standby;
    this.address.leadTo(this.primary.port);
    this.replication.leadTo(this.primary.port);
    await this.#alter(this.directUrl(), { synchronous_standby_names: "" }); // Nobody is there to wait for yet.
    this.#settling = this.#addStandby();
    this.#settling.catch(() => {}); // Thrown where it is waited for.
    await old.start();
    return { url: at(this.url, old.port), remove: () => old.remove() };
  }

  settled(): Promise<void> {
    return this.#settling;
  }

  async #addStandby(): Promise<void> {
    this.standby = await makeStandby(this.directUrl(), this.primary, this.replication.port);
    await this.#settle();
  }

  /** Waits until the standby streams, and lets commits wait for it from then on. */
  async #settle(): Promise<void> {
    const streams = async (): Promise<boolean> =>
      (await sql(this.directUrl(), "select 1 from pg_stat_replication where state = 'streaming'")).length > 0;
    await waitFor("the standby streams", streams, { timeoutMs: 30_000 });
    await this.#alter(this.directUrl(), { synchronous_standby_names: this.synchronous ? "*" : "" });
  }

  async #alter(url: string, settings: Readonly<Record<string, string>>): Promise<void> {
    const admin = new pg.Client({ connectionString: url });
    await admin.connect();
    await alterSystem(admin, settings).finally(() => admin.end());
  }
}

function at(url: string, port: number): string {
  const moved = new URL(url);
  moved.port = String(port);
  return moved.href;
}

/** Of a running server its own files, or its log, are not copied. With owners: by a program, as it is some thousand files. */
const copy = `tar -C "$0" --exclude './postmaster.*' --exclude './pg_wal/[0-9]*' --exclude './pg_replslot/*' -cf - . | tar -C "$1" -xpf -`;

async function makeStandby(primaryUrl: string, primary: PostgresServer, replicationPort: number): Promise<PostgresServer> {
  const { account, cluster: from } = primary.folder;
  const root = freshFolder();
  const folder: DataFolder = { root, cluster: join(root, "cluster"), account };
  await mkdir(folder.cluster, { recursive: true, mode: 0o755 });
  const admin = new pg.Client({ connectionString: primaryUrl });
  await admin.connect();
  try {
    await admin.query("select pg_backup_start('standby', true)");
    await run("sh", ["-c", copy, from, folder.cluster]);
    const { rows } = await admin.query<{ labelfile: string }>("select labelfile from pg_backup_stop(false)");
    await writeFile(join(folder.cluster, "backup_label"), rows[0]?.labelfile ?? "");
  } finally {
    await admin.end();
  }
  const source = new URL(primaryUrl);
  const conninfo = `host=127.0.0.1 port=${replicationPort} user=postgres password=${source.password} application_name=standby`;
  await appendFile(
    join(folder.cluster, "postgresql.auto.conf"),
    `primary_conninfo = '${conninfo}'\nsynchronous_standby_names = ''\nwal_receiver_timeout = '5s'\n`,
  );
  await writeFile(join(folder.cluster, "standby.signal"), "");
  if (account)
    for (const name of ["backup_label", "standby.signal"]) await chown(join(folder.cluster, name), account.uid, account.gid);
  const port = await freePort();
  const server = await watchServer(folder, port, await launch(folder, port));
  const url = at(primaryUrl, port);
  await waitFor("the standby takes connections", () => sql(url, "select 1"), { timeoutMs: 60_000, everyMs: 50 });
  return server;
}

/** Not startServer: that waits for a primary. */
async function launch(folder: DataFolder, port: number): Promise<number> {
  const { postgres } = await findPostgres(folder.account);
  const settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", `port=${port}`, "max_connections=200"];
  const child = spawn(postgres, ["-D", folder.cluster, ...settings.flatMap((setting) => ["-c", setting])], {
    cwd: folder.cluster,
    detached: true,
    stdio: "ignore",
    env: serverEnvironment(),
    ...(folder.account ?? {}),
  });
  if (child.pid === undefined) throw new Error("the standby could not be started");
  child.unref();
  return child.pid;
}
