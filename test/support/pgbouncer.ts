// A pgbouncer in transaction mode in front of Postgres: no session outlives a transaction, as behind every pooler of that kind.
// In: the server's URL. Out: the same URL through it. Ended by who started it.
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { freePort } from "./ports.js";
import { tellReaper } from "./reaper.js";
import { waitFor } from "./wait.js";

export interface Pooler {
  /** The port that stands for the server's. */
  readonly port: number;
  stop(): Promise<void>;
}

const fetched = fileURLToPath(new URL("../../.cache/pgbouncer/pgbouncer", import.meta.url));

/** PGBOUNCER_BIN, PATH, or what scripts/pgbouncer-binary.mjs has fetched; undefined: there is none. */
export function findPgbouncer(): string | undefined {
  const runs = (binary: string): boolean => spawnSync(binary, ["--version"], { stdio: "ignore" }).status === 0;
  return [process.env["PGBOUNCER_BIN"] ?? "", "pgbouncer", fetched].find((binary) => binary !== "" && runs(binary));
}

/** The URL of a database of the server, through the pooler. */
export function throughPooler(databaseUrl: string, port: number): string {
  const url = new URL(databaseUrl);
  url.host = `127.0.0.1:${port}`;
  return url.href;
}

/** @throws when there is no pgbouncer, or it does not start */
export async function startPgbouncer(serverUrl: string): Promise<Pooler> {
  const binary = findPgbouncer();
  if (!binary) throw new Error("no pgbouncer: run `node scripts/pgbouncer-binary.mjs`, or set PGBOUNCER_BIN");
  const { hostname, port: serverPort, username, password } = new URL(serverUrl);
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "pgbouncer-"));
  const settings = join(folder, "pgbouncer.ini");
  writeFileSync(
    settings,
    `[databases]
* = host=${hostname} port=${serverPort} user=${decodeURIComponent(username)} password='${decodeURIComponent(password)}'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 10
max_client_conn = 2000
server_idle_timeout = 5
`,
  );
  for (const path of [folder, settings]) chmodSync(path, 0o755); // As root it runs as somebody else.
  const child = spawn(binary, [...(process.getuid?.() === 0 ? ["-u", "nobody"] : []), settings], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  child.stderr.on("data", (bytes: Buffer) => (log = (log + bytes.toString()).slice(-4_000)));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  if (child.pid !== undefined) tellReaper(`+${child.pid}`);
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    await ended;
    if (child.pid !== undefined) tellReaper(`-${child.pid}`);
    rmSync(folder, { recursive: true, force: true });
  };
  await waitFor("pgbouncer answers", () => answers(throughPooler(serverUrl, port))).catch(async (error: unknown) => {
    await stop();
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${log}`);
  });
  return { port, stop };
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url });
  try {
    await client.connect();
    await client.query("select 1");
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => {});
  }
}
