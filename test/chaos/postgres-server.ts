// One Postgres on one data folder, which can be killed as by the machine's out-of-memory killer: all of its processes at once, with what
// they had in shared memory and not yet written. Kept by such a kill is what the kernel was given: it is no test of a power cut.
// In: a data folder. Out: crash(), start(), remove(). Called by killable-postgres.ts and postgres-pair.ts.
import { execFile } from "node:child_process";
import { readdir, readFile, rm } from "node:fs/promises";
import { promisify } from "node:util";
import { findPostgres, type PostgresBinaries } from "../../src/demo/postgres-binaries.js";
import { type DataFolder, releaseServer, startServer, stopServer } from "../../src/demo/postgres-process.js";
import { onCleanup } from "../support/cleanup.js";
import { tellReaper } from "../support/reaper.js";
import { waitFor } from "../support/wait.js";

/** One server on one data folder, at one port, however often it is killed. */
export interface PostgresServer {
  readonly folder: DataFolder;
  readonly port: number;
  /** SIGKILL to the postmaster and every process that it has; resolves when all of them are gone, with how many there were. */
  crash(): Promise<number>;
  /** Starts it on what is on disk; resolves when recovery is over and it takes connections. */
  start(): Promise<void>;
  /** Whether its postmaster is there. */
  isRunning(): Promise<boolean>;
  /** Stops it, and removes its data. Done at the end of the test file, if not before. */
  remove(): Promise<void>;
}

/**
 * After a crash Postgres has everything below its data folder synced before it replays its log: file by file that is 1.5 s of a busy
 * disk, by one call 0.4 s. The log itself is as in production: fsync and synchronous_commit are on.
 */
export const quickRecovery: Readonly<Record<string, string>> =
  process.platform === "linux" ? { recovery_init_sync_method: "syncfs" } : {};
const run = promisify(execFile);

/** Takes over a server that runs. */
export async function watchServer(folder: DataFolder, port: number, firstPid: number): Promise<PostgresServer> {
  const binaries = await findPostgres(folder.account);
  let pid = firstPid;
  tellReaper(`+${pid}`);
  const remove = async (): Promise<void> => {
    forget();
    await stopServer(pid);
    tellReaper(`-${pid}`);
    await releaseServer(folder);
    await rm(folder.root, { recursive: true, force: true });
  };
  const forget = onCleanup("Postgres of a chaos run", remove);
  return {
    folder,
    port,
    remove,
    isRunning: async () => (await processes()).some((one) => one.pid === pid && isLive(one)),
    async crash() {
      // Stopped first: what it forks between the look and the kill would live on, and hold its shared memory.
      signal(pid, "SIGSTOP");
      const isStopped = async (): Promise<boolean> =>
        !(await processes()).some((one) => one.pid === pid && isLive(one) && one.state !== "T");
      await waitFor("the postmaster has stopped", isStopped, { everyMs: 1 });
      const children = (await processes()).filter(({ parent }) => parent === pid);
      const victims = new Set([pid, ...children.map((child) => child.pid)]);
      for (const victim of victims) signal(victim, "SIGKILL");
      const live = async () => (await processes()).filter((one) => victims.has(one.pid) && isLive(one));
      await waitFor("all of Postgres is gone", async () => (await live()).length === 0, { everyMs: 5 });
      tellReaper(`-${pid}`);
      return victims.size;
    },
    async start() {
      pid = await startAgain(folder, binaries, port);
      tellReaper(`+${pid}`);
    },
  };
}

/** A zombie is gone, too: it has let go of everything. */
const isLive = ({ state }: ProcessStatus): boolean => state !== "Z" && state !== "X";

/** The kernel may take a moment to let go of a killed server's shared memory and port. */
async function startAgain(folder: DataFolder, binaries: PostgresBinaries, port: number): Promise<number> {
  let failure: unknown;
  const start = () =>
    startServer(folder, binaries, { port, fsync: true }).catch((error: unknown) => {
      failure = error;
      return undefined;
    });
  const started = await waitFor("Postgres starts again", start, { everyMs: 200 }).catch(() => undefined);
  if (!started) throw failure;
  return started.pid;
}

interface ProcessStatus {
  readonly pid: number;
  readonly parent: number;
  /** `T`: stopped, `Z` and `X`: dead; see proc(5). */
  readonly state: string;
}

/** All there are. Linux tells by files, without a process that must be started to ask. */
async function processes(): Promise<ProcessStatus[]> {
  if (process.platform !== "linux") {
    const { stdout } = await run("ps", ["-A", "-o", "pid=,ppid=,stat="]);
    const lines = stdout.trim().split("\n");
    return lines
      .map((line) => line.trim().split(/\s+/))
      .map(([pid, parent, state = ""]) => statusOf(pid, parent, state.slice(0, 1)));
  }
  const names = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    names.map(async (pid) => {
      const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
      const [, state, parent] = /\) (\S) (\d+)/.exec(text) ?? [];
      return state === undefined ? [] : [statusOf(pid, parent, state)];
    }),
  );
  return found.flat();
}

const statusOf = (pid: string | undefined, parent: string | undefined, state: string): ProcessStatus => ({
  pid: Number(pid),
  parent: Number(parent),
  state,
});

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It ended by itself, as its parent is gone.
  }
}
