// What every measurement needs before it can begin: the load and the peer built, a Postgres, and which core is whose.
// In: folders. Out: programs and servers. Called by run.mjs and writes.mjs.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import pg from "pg";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const binaries = join(root, ".cache", "bench");

/** Builds programs of this folder. False where there is no Go: then nothing loads a server. */
export function build(names = ["xdsfleet", "gcp-server"]) {
  if (spawnSync("go", ["version"], { stdio: "ignore" }).status !== 0) return false;
  mkdirSync(binaries, { recursive: true });
  for (const name of names) {
    execFileSync("go", ["build", "-p", "2", "-trimpath", "-o", join(binaries, name), "."], {
      cwd: join(root, "bench", name),
      stdio: "inherit",
    });
  }
  return true;
}

/** The server's core, and everybody else's; undefined where the machine has one core or cannot pin. */
export function cores() {
  const canPin = availableParallelism() > 1 && spawnSync("taskset", ["-c", "0", "true"], { stdio: "ignore" }).status === 0;
  return canPin ? { server: 0, load: 1 } : { server: undefined, load: undefined };
}

/** A Postgres on the server's core (what ours stands on counts as ours), and databases in it by name: `database(name)` → URL. */
export async function startPostgres(folder, core) {
  const { startEmbeddedPostgres } = await import(join(root, "dist", "demo", "embedded-postgres.js"));
  const postgres = await startEmbeddedPostgres({ dataDir: join(folder, "postgres"), log: () => {} });
  if (core !== undefined) spawnSync("taskset", ["-a", "-c", "-p", String(core), String(postgres.pid)], { stdio: "ignore" });
  const database = async (name) => {
    const client = new pg.Client({ connectionString: postgres.url });
    await client.connect();
    await client.query(`create database ${name}`);
    await client.end();
    const url = new URL(postgres.url);
    url.pathname = `/${name}`;
    return url.href;
  };
  // It is in a process group of its own. SIGINT: a fast shutdown, which needs nobody to wait for it.
  const interrupt = () => process.kill(postgres.pid, "SIGINT");
  process.on("exit", interrupt);
  const stop = async () => {
    await postgres.stop();
    process.off("exit", interrupt);
    rmSync(folder, { recursive: true, force: true });
  };
  return { pid: postgres.pid, database, stop };
}
