// The running server of one data folder, as its postmaster.pid tells it: found, started, waited for, stopped.
// A server outlives a killed Node (it is in a process group of its own, so that Ctrl-C reaches only us, who then stop it in order);
// `owner` beside the data says which process will stop it. In: folders and programs. Out: pids and ports. Called by embedded-postgres.ts.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { link, mkdtemp, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import type { PostgresBinaries } from "./postgres-binaries.js";
import type { Account } from "./postgres-folders.js";

const pollMs = 15;
/** Longest start, recovery after a crash included. */
const startTimeoutMs = 60_000;
/** Longest orderly stop; then without a last checkpoint, which the next start makes good. */
const stopTimeoutMs = 15_000;
const shownLogLines = 12;

/** One embedded Postgres on disk, and whom it runs as. */
export interface DataFolder {
  /** What is handed back as dataDir; holds cluster/, password, owner, server.log. */
  readonly root: string;
  readonly cluster: string;
  readonly account: Account;
}

/** What postmaster.pid says of a living server; `isReady`: it takes connections. */
export interface RunningServer {
  readonly pid: number;
  readonly port: number;
  readonly isReady: boolean;
}

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** Whether there is a process of this number, ours or not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/** Whether `pid` is a postgres, and not a dead one: after a reboot the number may be anybody's. Only Linux can tell; elsewhere it is believed. */
async function isPostgres(pid: number): Promise<boolean> {
  if (process.platform !== "linux") return true;
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  const [, name, state] = /\((.*)\) (\w)/.exec(text) ?? [];
  return name === "postgres" && state !== "Z" && state !== "X";
}

/** The file may say "ready" for a moment after the server was killed. */
async function takesConnections(port: number): Promise<boolean> {
  return new Promise((answer) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      answer(true);
    });
    socket.once("error", () => answer(false));
  });
}

/** https://www.postgresql.org/docs/current/storage-file-layout.html: pid, folder, start time, port, socket folder, address, memory key, state. */
export async function findServer(folder: DataFolder): Promise<RunningServer | undefined> {
  const text = await readFile(join(folder.cluster, "postmaster.pid"), "utf8").catch(() => "");
  const lines = text.split("\n").map((line) => line.trim());
  const [pid, port] = [Number(lines[0]), Number(lines[3])];
  if (!Number.isInteger(pid) || pid <= 0 || !Number.isInteger(port) || !isAlive(pid) || !(await isPostgres(pid)))
    return undefined;
  return { pid, port, isReady: lines[7] === "ready" };
}

/** Waits for a server that is starting (or stopping) to be one or the other. */
export async function settledServer(folder: DataFolder): Promise<RunningServer | undefined> {
  const deadline = performance.now() + startTimeoutMs;
  for (;;) {
    const server = await findServer(folder);
    if (!server || (server.isReady && (await takesConnections(server.port)))) return server;
    if (performance.now() > deadline)
      throw new Error(`Postgres (pid ${server.pid}) in ${folder.root} is neither ready nor gone after ${startTimeoutMs} ms`);
    await pause(pollMs);
  }
}

/** Binds as Postgres will. @throws Error when the port is taken */
export async function probePort(port: number): Promise<number> {
  return new Promise((found, failed) => {
    const server = createServer();
    server.once("error", () => failed(new Error(`port ${port} on 127.0.0.1 is taken by another program`)));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => {
      const address = server.address();
      server.close(() => (address && typeof address === "object" ? found(address.port) : failed(new Error("no port"))));
    });
  });
}

/** What differs from start to start; the rest is fixed in `startServer`. */
export interface ServerSettings {
  readonly port: number;
  /** Survive a crash of the machine. Off only for tests. */
  readonly fsync: boolean;
}

/** Starts a server and waits until it takes connections. @throws Error with the last lines of its log */
export async function startServer(
  folder: DataFolder,
  binaries: PostgresBinaries,
  { port, fsync }: ServerSettings,
): Promise<RunningServer> {
  const logPath = join(folder.root, "server.log");
  await rename(logPath, `${logPath}.1`).catch(() => {}); // The run before's log is kept; the first run has none.
  const log = await open(logPath, "a", 0o600);
  const settings = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    `port=${port}`,
    "max_connections=200",
    "logging_collector=off",
  ];
  if (!fsync) settings.push("fsync=off", "synchronous_commit=off", "full_page_writes=off");
  const child = spawn(binaries.postgres, ["-D", folder.cluster, ...settings.flatMap((setting) => ["-c", setting])], {
    cwd: folder.cluster,
    detached: true,
    stdio: ["ignore", log.fd, log.fd],
    env: serverEnvironment(),
    ...(folder.account ?? {}),
  });
  let ended: string | undefined;
  child.once("error", (error) => (ended = error.message));
  child.once("exit", (code, signal) => (ended = `ended with ${signal ?? `code ${code}`}`));
  child.unref();
  await log.close();
  const deadline = performance.now() + startTimeoutMs;
  for (;;) {
    const server = await findServer(folder);
    if (server?.isReady && server.pid === child.pid) return server;
    if (ended !== undefined || performance.now() > deadline) {
      if (ended === undefined) child.kill("SIGQUIT");
      const lines = (await readFile(logPath, "utf8").catch(() => "")).trim().split("\n").slice(-shownLogLines);
      throw new Error(
        `Postgres did not start (${ended ?? `not ready after ${startTimeoutMs} ms`}). ${logPath} ends with:\n  ${lines.join("\n  ")}`,
      );
    }
    await pause(pollMs);
  }
}

/** Makes the cluster in a folder beside its place and moves it there when whole, so that a killed initdb leaves nothing half done. */
export async function createCluster(
  folder: DataFolder,
  initdb: (target: string) => Promise<void>,
  give: (path: string) => Promise<void>,
): Promise<void> {
  await removeAbandoned(folder);
  const fresh = await mkdtemp(`${folder.cluster}.${process.pid}.`);
  try {
    await give(fresh);
    await initdb(fresh);
    await rename(fresh, folder.cluster);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

/** What killed processes left beside the cluster, 40 MB each. */
async function removeAbandoned(folder: DataFolder): Promise<void> {
  for (const name of await readdir(folder.root)) {
    const maker = Number(/^cluster\.(\d+)\./.exec(name)?.[1]);
    if (maker > 0 && !isAlive(maker)) await rm(join(folder.root, name), { recursive: true, force: true });
  }
}

/** Writes a file unless it is there; whoever sees it sees all of it. False: it was there. */
export async function writeOnce(path: string, text: string): Promise<boolean> {
  const fresh = `${path}.${randomUUID()}`;
  await writeFile(fresh, text, { mode: 0o600 });
  try {
    await link(fresh, path);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  } finally {
    await rm(fresh, { force: true });
  }
}

/** Nothing of this process's environment may change what the server does (PGPORT, PGDATA, LD_PRELOAD, TZ). */
export function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };
}

/** SIGINT is Postgres's fast shutdown: it cuts connections, makes a checkpoint, and ends. */
export async function stopServer(pid: number): Promise<void> {
  for (const signal of ["SIGINT", "SIGQUIT", "SIGKILL"] as const) {
    if (!isAlive(pid)) return;
    process.kill(pid, signal);
    const deadline = performance.now() + stopTimeoutMs;
    while (isAlive(pid) && performance.now() < deadline) await pause(pollMs);
  }
  if (isAlive(pid)) throw new Error(`Postgres (pid ${pid}) can't be stopped`);
}

// ---- Who stops it ----------------------------------------------------------------------------------------------------

/** A pid alone may be another process after a reboot; on Linux its start time tells. */
async function processMark(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return `${pid} ${text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? "-"}`;
}

/** True when this process is the one to stop the server from now on; false when another that lives (or an earlier call here) is. */
export async function claimServer(folder: DataFolder): Promise<boolean> {
  const path = join(folder.root, "owner");
  const mark = await processMark(process.pid);
  if (await writeOnce(path, mark)) return true;
  const owner = (await readFile(path, "utf8").catch(() => "")).trim();
  const pid = Number(owner.split(" ")[0]);
  if (pid > 0 && isAlive(pid) && owner === (await processMark(pid))) return false;
  await rm(path, { force: true });
  return writeOnce(path, mark);
}

/** Forgets who owns the server, once it is stopped. */
export async function releaseServer(folder: DataFolder): Promise<void> {
  await rm(join(folder.root, "owner"), { force: true });
}
