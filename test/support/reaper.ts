// Ends what a test run has started, should the run itself be ended first. In: process ids. Called by whoever starts a process, also outside
// of a test (global set-up), so nothing of vitest is imported here.
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

let reaper: ChildProcess | undefined;
/** `+pid`: to be killed should this process end without having done so. `-pid`: no longer. */
export function tellReaper(line: string): void {
  if (!reaper) {
    const script = fileURLToPath(new URL("reaper.mjs", import.meta.url));
    reaper = spawn(process.execPath, [script], { stdio: ["pipe", "ignore", "ignore"], detached: true });
    reaper.unref();
    reaper.stdin?.on("error", () => {});
  }
  reaper.stdin?.write(`${line}\n`);
}
