// The embedded Postgres: set up once, started fast, taken over when it was left running, stopped by whoever owns it, and clear when
// it can't be had. Each test has its own data folder, below the temporary one.
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, expect, test } from "vitest";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../src/demo/embedded-postgres.js";
import { reachableFolder } from "../../src/demo/postgres-folders.js";
import { onCleanup } from "../support/cleanup.js";
import { sql } from "../support/postgres.js";
import { waitFor } from "../support/wait.js";

/** A new folder that any account may enter. */
async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "chancery-embedded-"));
  await chmod(folder, 0o755);
  onCleanup("data folder", () => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Set up by the first start, which takes most of a second, and used by most tests. */
let folder: string;
let dataDir: string;
beforeAll(async () => {
  folder = await newFolder();
  dataDir = join(folder, "made", "data");
});
const started: EmbeddedPostgres[] = [];
afterEach(() => {
  for (const server of started.splice(0)) if (isAlive(server.pid)) process.kill(server.pid, "SIGQUIT");
});

async function start(dataDir: string, more: { port?: number } = {}): Promise<EmbeddedPostgres & { lines: string[] }> {
  const lines: string[] = [];
  const server = await startEmbeddedPostgres({ dataDir, fsync: false, log: (line) => lines.push(line), ...more });
  started.push(server);
  return { ...server, lines };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("data survives a stop, the second start is fast, and nothing is left running", async () => {
  const first = await start(dataDir);
  expect(first).toMatchObject({ reused: false, dataDir });
  await sql(first.url, "create table kept as select 42 as answer");
  await first.stop();
  expect(isAlive(first.pid)).toBe(false);
  const startedAt = performance.now();
  const second = await start(dataDir);
  expect(performance.now() - startedAt).toBeLessThan(3_000);
  expect(await sql(second.url, "select answer from kept")).toEqual([{ answer: 42 }]);
  expect(second.reused).toBe(false);
  await second.stop();
  await second.stop(); // Twice is once.
  expect(isAlive(second.pid)).toBe(false);
});

test("a server in use is shared and left to who started it; one whose owner is gone is taken over", async () => {
  const owner = await start(dataDir);
  const guest = await start(dataDir);
  expect(guest).toMatchObject({ reused: true, pid: owner.pid, url: owner.url });
  await guest.stop();
  expect(isAlive(owner.pid)).toBe(true);

  await writeFile(join(dataDir, "owner"), "999999999 1"); // As after kill -9 of the process that started it.
  const heir = await start(dataDir);
  expect(heir).toMatchObject({ reused: true, pid: owner.pid });
  await sql(heir.url, "select 1");
  await heir.stop();
  expect(isAlive(owner.pid)).toBe(false);
});

test("after a crash of the server its leftover pid file is no obstacle", async () => {
  const first = await start(dataDir);
  process.kill(first.pid, "SIGKILL");
  await waitFor("its death", () => !isAlive(first.pid));
  const second = await start(dataDir);
  expect(second.pid).not.toBe(first.pid);
  await sql(second.url, "select 1");
  await second.stop();
});

test("two that start on the same data at once end with one server", async () => {
  const fresh = await newFolder();
  await chmod(fresh, 0o700); // As mkdtemp leaves it: empty, and closed to the account that root's Postgres runs as.
  const [one, other] = await Promise.all([start(fresh), start(fresh)]);
  expect(one.pid).toBe(other.pid);
  expect(one.dataDir).toBe(fresh);
  expect([one.reused, other.reused].sort()).toEqual([false, true]);
  await one.stop();
  await other.stop();
  expect(isAlive(one.pid)).toBe(false);
});

test("a port that is taken is said so, and a wanted one is used", async () => {
  const blocker = createServer();
  await new Promise<void>((listening) => blocker.listen(0, "127.0.0.1", listening));
  const address = blocker.address();
  const port = address && typeof address === "object" ? address.port : 0;
  await expect(start(dataDir, { port })).rejects.toThrow(`port ${port} on 127.0.0.1 is taken`);
  await new Promise((closed) => blocker.close(closed));
  const server = await start(dataDir, { port });
  expect(new URL(server.url).port).toBe(String(port));
  await server.stop();
});

test("data of another version, or a folder with something else in it, is refused in words", async () => {
  await mkdir(join(folder, "old", "cluster"), { recursive: true });
  await writeFile(join(folder, "old", "cluster", "PG_VERSION"), "9\n");
  await expect(start(join(folder, "old"))).rejects.toThrow(/made by Postgres 9, and the one found here is \d+/);
  await mkdir(join(folder, "strange", "cluster"), { recursive: true });
  await writeFile(join(folder, "strange", "cluster", "letters.txt"), "dear diary");
  await expect(start(join(folder, "strange"))).rejects.toThrow("holds something that is not a Postgres");
});

test("only who knows the password gets in, and only from this machine", async () => {
  const server = await start(dataDir);
  const url = new URL(server.url);
  expect(url.hostname).toBe("127.0.0.1");
  url.password = "guess";
  await expect(sql(url.href, "select 1")).rejects.toMatchObject({ code: "28P01" });
  expect(((await stat(join(dataDir, "password"))).mode & 0o077).toString(8)).toBe("0");
  expect(await sql(server.url, "show listen_addresses")).toEqual([{ listen_addresses: "127.0.0.1" }]);
  await server.stop();
});

test.runIf(process.getuid?.() === 0)(
  "below a folder that only root may enter, root's Postgres lives elsewhere, in a place of that path's own",
  async () => {
    const closed = join(folder, "closed");
    await mkdir(closed, { mode: 0o700 });
    const server = await start(join(closed, "data"));
    onCleanup("data elsewhere", () => rm(server.dataDir, { recursive: true, force: true }));
    expect(server.dataDir.startsWith(folder)).toBe(false);
    expect(server.lines.join()).toContain(server.dataDir);
    expect(await readdir(closed)).toEqual([]);
    await sql(server.url, "create table mine ()");
    await server.stop();
    const again = await start(join(closed, "data"));
    expect(again.dataDir).toBe(server.dataDir);
    await sql(again.url, "select from mine");
    await again.stop();

    const nested = await reachableFolder(join(closed, "nested", "data"), { uid: 65_534, gid: 65_534 });
    onCleanup("folder elsewhere", () => rm(nested, { recursive: true, force: true }));
    expect(nested).not.toBe(server.dataDir);
  },
);
