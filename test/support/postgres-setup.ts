// One Postgres for a whole test run, and in it one migrated database, `template`, that postgres.ts clones for every test file.
// Vitest runs this once per project that names it as globalSetup; they share the server. In: nothing. Out: `postgresUrl`, provided.
// CHANCERY_TEST_DATABASE_URL, an administrator's URL of another server, is used in place of the embedded one.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import pg from "pg";
import type { TestProject } from "vitest/node";
import { startEmbeddedPostgres } from "../../src/demo/embedded-postgres.js";
import { migrate } from "../../src/store/migrate.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { injectFailures, isPooled, isPortable } from "./database-mode.js";
import { startPgbouncer } from "./pgbouncer.js";

declare module "vitest" {
  export interface ProvidedContext {
    postgresUrl: string;
    /** Where pgbouncer stands in for the server; 0: it does not. */
    poolerPort: number;
  }
}

interface SharedServer {
  readonly url: string;
  readonly poolerPort: number;
  stop(): Promise<void>;
}
/** The process's own: every project loads this module anew. */
const shared: { server?: Promise<SharedServer>; users: number } = ((globalThis as Record<symbol, unknown>)[
  Symbol.for("chancery.test.postgres")
] ??= {
  users: 0,
}) as { server?: Promise<SharedServer>; users: number };

const prefix = "chancery-test-postgres-";
/** A server without an owner for longer than this is not being started any more. */
const startingMs = 10 * 60_000;

/** Called by vitest before a project's tests. */
export async function setup(project: TestProject): Promise<void> {
  shared.users += 1;
  shared.server ??= startWithPooler();
  const { url, poolerPort } = await shared.server;
  project.provide("postgresUrl", url);
  project.provide("poolerPort", poolerPort);
}

/** Called by vitest after them; the last project to end stops the server. */
export async function teardown(): Promise<void> {
  shared.users -= 1;
  if (shared.users > 0) return;
  const { server } = shared;
  delete shared.server;
  await (await server)?.stop();
}

async function startWithPooler(): Promise<SharedServer> {
  const server = await start();
  if (!isPooled) return server;
  const pooler = await startPgbouncer(server.url);
  const stop = async (): Promise<void> => {
    await pooler.stop();
    await server.stop();
  };
  return { url: server.url, poolerPort: pooler.port, stop };
}

async function start(): Promise<SharedServer> {
  const given = process.env["CHANCERY_TEST_DATABASE_URL"];
  if (given) {
    await makeTemplate(given);
    return { url: given, poolerPort: 0, stop: async () => {} };
  }
  await removeLeftovers();
  const dataDir = join(tmpdir(), prefix + randomUUID()); // Not mkdtemp: its mode 0700 would shut out the account that runs Postgres.
  const server = await startEmbeddedPostgres({ dataDir, fsync: false, log: () => {} });
  const reaper = watch(server.pid);
  try {
    await makeTemplate(server.url);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return {
    url: server.url,
    poolerPort: 0,
    async stop() {
      await server.stop();
      reaper.end();
      await rm(server.dataDir, { recursive: true, force: true });
    },
  };
}

/** Ends the server when this process is gone without having stopped it: it lives in a process group of its own. */
function watch(pid: number): { end(): void } {
  const script = fileURLToPath(new URL("reaper.mjs", import.meta.url));
  const reaper = spawn(process.execPath, [script], { stdio: ["pipe", "ignore", "ignore"], detached: true });
  reaper.unref();
  reaper.stdin.on("error", () => {});
  reaper.stdin.write(`+${pid}\n`);
  return { end: () => reaper.stdin.end(`-${pid}\n`) };
}

/** Data of runs that were killed: nobody's once the process that owned it is gone, or when it never came to have an owner. */
async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(prefix)) continue;
    const folder = join(tmpdir(), name);
    const owner = Number((await readFile(join(folder, "owner"), "utf8").catch(() => "")).split(" ")[0]);
    const ageMs = Date.now() - (await stat(folder)).mtimeMs;
    if (owner ? isAlive(owner) : ageMs < startingMs) continue;
    await rm(folder, { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function makeTemplate(url: string): Promise<void> {
  const admin = new pg.Client({ connectionString: url });
  await admin.connect();
  try {
    await admin.query("drop database if exists template_chancery with (force)");
    await admin.query("create database template_chancery");
  } finally {
    await admin.end();
  }
  const template = new URL(url);
  template.pathname = "/template_chancery";
  await migrate(template.href, createLogger("silent"));
  if (!isPortable) return;
  const client = new pg.Client({ connectionString: template.href });
  await client.connect();
  await client.query(injectFailures).finally(() => client.end());
}
