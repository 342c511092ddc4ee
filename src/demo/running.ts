// One child process: started, watched, ended. In: a command. Out: its pid, its end, and a way to stop it that always ends.
// Called by envoy.ts and control-plane.ts.
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import type { Keeper } from "./keeper.js";

/** How a process ended: one of the two is null, or both where nobody could see it. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A child process of ours. */
export interface Running {
  readonly pid: number;
  readonly logFile: string;
  readonly exited: Promise<Exit>;
  /** Asks it to end, and kills it when it has not after its grace. Resolves when it is gone. */
  stop(): Promise<Exit>;
}

/** What is started, and how it is ended. */
export interface LaunchOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** stdout and stderr, appended. */
  readonly logFile: string;
  readonly keeper?: Keeper | undefined;
  /** From SIGTERM to SIGKILL. */
  readonly graceMs: number;
}

/** For people: the signal, or the code. */
export function exitText({ code, signal }: Exit): string {
  if (signal !== null) return signal;
  return code === null ? "an exit that nobody saw" : `exit code ${code}`;
}

/** The last lines of a log, for an error message. */
export function logTail(logFile: string, lines = 15): string {
  try {
    return readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  } catch (error) {
    return `(${logFile} can't be read: ${error instanceof Error ? error.message : String(error)})`;
  }
}

/** @throws what spawn fails with, e.g. ENOENT */
export async function launch(options: LaunchOptions): Promise<Running> {
  const log = openSync(options.logFile, "a");
  // A session of its own: Ctrl-C in a terminal reaches us alone, and we end our children in order.
  const child = spawn(options.command, options.args, {
    detached: true,
    stdio: ["ignore", log, log],
    env: options.env ?? process.env,
  });
  closeSync(log);
  const exited = new Promise<Exit>((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
  const pid = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("spawn", () => resolve(child.pid ?? 0));
  });
  options.keeper?.keep(pid, "TERM");
  void exited.then(() => options.keeper?.release(pid));
  const stop = async () => {
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), options.graceMs);
    try {
      return await exited;
    } finally {
      clearTimeout(timer);
    }
  };
  return { pid, logFile: options.logFile, exited, stop };
}
