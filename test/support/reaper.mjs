// Kills what a test process started when that process itself is gone, even by kill -9: no Envoy or replica outlives a test run.
// In: lines `+pid` and `-pid` on standard input. At its end, every pid still listed is killed. Started by processes.ts.
import { createInterface } from "node:readline";

const pids = new Set();
const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const pid = Number(line.slice(1));
  if (line.startsWith("+")) pids.add(pid);
  else pids.delete(pid);
});
lines.on("close", () => {
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGCONT");
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself meanwhile.
    }
  }
});
// A Ctrl-C reaches the whole process group: this one must outlive the test process to do its work.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => {});
