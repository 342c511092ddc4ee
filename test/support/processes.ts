// A child process of a test: started with its output kept, signalled, waited for, and never left behind.
// In: a command. Out: a handle. Called by replica.ts and envoy.ts.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { basename, join, parse } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { onCleanup } from "./cleanup.js";
import { tellReaper } from "./reaper.js";

/** Output kept per process; older lines go. */
const maxLogLines = 20_000;

export interface Child {
  readonly pid: number;
  /** Resolves once it has ended, with how. */
  readonly ended: Promise<string>;
  isRunning(): boolean;
  /** What it wrote so far, both streams, the last lines when there is much. */
  log(): string;
  signal(signal: NodeJS.Signals): void;
  /** SIGTERM, and SIGKILL after `graceMs` (default 10,000). Resolves when it has ended. */
  stop(graceMs?: number): Promise<void>;
  /** SIGKILL. Resolves when it has ended. */
  kill(): Promise<void>;
}

function keepLines(child: ChildProcess): string[] {
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    let rest = "";
    stream?.setEncoding("utf8").on("data", (text: string) => {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts);
      if (lines.length > maxLogLines) lines.splice(0, lines.length - maxLogLines);
    });
  }
  return lines;
}

/** Where the output of every process goes when it ends: to be read when a test has failed. */
const logFolder = fileURLToPath(new URL("../../.cache/test-logs", import.meta.url));
function keepLog(name: string, pid: number, log: string): void {
  // With the folder of the test: feature/drains and drains/drains are two.
  const { dir = "", name: file = "unknown" } = parse(expect.getState().testPath ?? "");
  const folder = join(logFolder, basename(dir), basename(file, ".test"));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.${pid}.log`), log);
}

/** Starts `command`. The environment is this process's with `env` laid over it; undefined takes a variable away. */
export function startChild(
  name: string,
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
): Child {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
  const { pid } = child;
  if (pid === undefined) throw new Error(`${name} could not be started: ${command}`);
  tellReaper(`+${pid}`);
  const lines = keepLines(child);
  let running = true;
  const ended = new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => {
      running = false;
      tellReaper(`-${pid}`);
      forget();
      keepLog(name, pid, lines.join("\n"));
      resolve(signal ?? `exit code ${code}`);
    });
  });
  const signal = (name: NodeJS.Signals): void => {
    if (running) process.kill(pid, name);
  };
  const kill = async (): Promise<void> => {
    signal("SIGKILL");
    await ended;
  };
  const stop = async (graceMs = 10_000): Promise<void> => {
    signal("SIGCONT");
    signal("SIGTERM");
    const timer = setTimeout(() => signal("SIGKILL"), graceMs);
    await ended;
    clearTimeout(timer);
  };
  const forget = onCleanup(name, kill);
  return { pid, ended, isRunning: () => running, log: () => lines.join("\n"), signal, stop, kill };
}
