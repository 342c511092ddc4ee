// The control plane of the demo: the same `chancery serve` as in production, as a child process, so that it can be killed and
// watched coming back. In: a database and addresses. Out: a running process that is ready. Called by up.ts.
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Keeper } from "./keeper.js";
import { exitText, launch, logTail, type Running } from "./running.js";

/** Where it listens, what it stands on, and where it logs. */
export interface ControlPlaneOptions {
  /** dist/main.js. */
  readonly mainScript: string;
  readonly databaseUrl: string;
  readonly apiAddress: string;
  readonly xdsAddress: string;
  /** Shown every write before its commit, unless the user's environment names another one; undefined: there is none. */
  readonly envoyBinary: string | undefined;
  /** Gets the logs. */
  readonly folder: string;
  readonly keeper: Keeper;
}

const migrateTimeoutMs = 120_000;
const readyTimeoutMs = 60_000;
const pollMs = 50;

/** Our environment with what the demo decides; a DATABASE_URL of the user's own is never touched by a demo. */
function environment(options: ControlPlaneOptions): NodeJS.ProcessEnv {
  const { DATABASE_MIGRATION_URL: _, ...inherited } = process.env;
  return {
    ...(options.envoyBinary === undefined ? {} : { CHANCERY_ENVOY_BIN: options.envoyBinary }),
    CHANCERY_STATE_DIR: "off", // Its Postgres is beside it, on another port at each start.
    ...inherited,
    DATABASE_URL: options.databaseUrl,
    CHANCERY_API_ADDRESS: options.apiAddress,
    CHANCERY_XDS_ADDRESS: options.xdsAddress,
  };
}

function launchMain(options: ControlPlaneOptions, command: "serve" | "migrate", graceMs: number): Promise<Running> {
  return launch({
    command: process.execPath,
    args: [options.mainScript, command],
    env: environment(options),
    logFile: join(options.folder, `${command}.log`),
    keeper: options.keeper,
    graceMs,
  });
}

/** @throws Error with the end of its log */
export async function migrateDatabase(options: ControlPlaneOptions): Promise<void> {
  const running = await launchMain(options, "migrate", 5000);
  const timer = setTimeout(() => void running.stop(), migrateTimeoutMs);
  const exit = await running.exited;
  clearTimeout(timer);
  if (exit.code !== 0) {
    throw new Error(
      `The database could not be brought up to date (${exitText(exit)}). The end of ${running.logFile}:\n${logTail(running.logFile)}`,
    );
  }
}

async function isReady(apiAddress: string): Promise<boolean> {
  try {
    return (await fetch(`http://${apiAddress}/readyz`, { signal: AbortSignal.timeout(2000) })).ok;
  } catch {
    return false; // Not listening yet.
  }
}

/** Starts it, and resolves when /readyz says yes. @throws Error with the end of its log */
export async function startControlPlane(options: ControlPlaneOptions): Promise<Running> {
  const running = await launchMain(options, "serve", 15_000);
  let ended: string | undefined;
  void running.exited.then((exit) => {
    ended = exitText(exit);
  });
  for (const endAt = Date.now() + readyTimeoutMs; Date.now() < endAt && ended === undefined; await delay(pollMs)) {
    if (await isReady(options.apiAddress)) return running;
  }
  const how = ended === undefined ? `was not ready within ${readyTimeoutMs / 1000} s` : `ended with ${ended}`;
  await running.stop();
  throw new Error(`The control plane ${how}. The end of its log, ${running.logFile}:\n${logTail(running.logFile)}`);
}
