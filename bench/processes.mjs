// Starts and ends what a run needs, by pid: nothing is left behind, also when the run is interrupted or fails.
// In: commands. Out: children with their output. Called by servers.mjs and run.mjs.
import { spawn } from "node:child_process";
import { createWriteStream, existsSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

const stopMs = 10_000;
const children = new Set();

/** Command and arguments, on one core where the machine can pin. */
export function pinned(core, command, args) {
  return core === undefined ? [command, args] : ["taskset", ["-c", String(core), command, ...args]];
}

/** Starts a child. `onLine` gets what it writes to stderr, a line at a time; both streams go to `logFile`. */
export function start({ command, args, core, env = process.env, logFile, onLine }) {
  const [program, all] = pinned(core, command, args);
  const child = spawn(program, all, { env, stdio: ["ignore", "pipe", "pipe"] });
  const log = createWriteStream(logFile);
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  let rest = "";
  child.stderr.on("data", (bytes) => {
    const lines = (rest + bytes).split("\n");
    rest = lines.pop();
    for (const line of lines) onLine?.(line);
  });
  const ended = new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal ?? code));
  });
  children.add(child);
  void ended.then(() => children.delete(child));
  return { pid: child.pid, ended, logFile, stop: () => stop(child, ended) };
}

/** SIGTERM, and SIGKILL if that does not help. */
async function stop(child, ended) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), stopMs);
  await ended;
  clearTimeout(timer);
}

/** For the last moment of the process: what is still there gets a signal, and nobody waits. */
export function killAll() {
  for (const child of children) child.kill("SIGKILL");
}

/** The end of a log, for a message. */
export function tail(logFile) {
  return existsSync(logFile) ? readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-8).join("\n") : "";
}

/** Waits until `url` answers 2xx. @throws Error with the end of the log */
export async function untilReady(child, url, timeoutMs = 120_000) {
  let ended;
  void child.ended.then((how) => (ended = how));
  for (const until = Date.now() + timeoutMs; Date.now() < until && ended === undefined; await delay(50)) {
    const answer = await fetch(url, { signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
    await answer?.arrayBuffer();
    if (answer?.ok) return;
  }
  throw new Error(`${url} did not become ready (${ended ?? "too slow"}):\n${tail(child.logFile)}`);
}

/** Free ports of the loopback. */
export async function freePorts(count) {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
