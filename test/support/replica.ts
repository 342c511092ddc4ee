// A whole control plane, as production runs it: `dist/main.js serve` in a process of its own, on ports of its own.
// In: a migrated database and settings. Out: its API, and ways to stop, kill, pause and restart it on the same ports.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Api, createApi } from "./api-client.js";
import { freePorts } from "./ports.js";
import { type Child, startChild } from "./processes.js";
import { waitFor } from "./wait.js";

const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url));

export interface ReplicaOptions {
  readonly databaseUrl: string;
  /** Its CHANCERY_REPLICA_ID; default `replica-a`. */
  readonly id?: string;
  /** More settings: CHANCERY_NOTIFY, CHANCERY_REMOVAL_GRACE_MS, … */
  readonly env?: Readonly<Record<string, string>>;
  /** Longest time to be ready, in ms; default 30,000. */
  readonly readyWithinMs?: number;
}

export interface Replica {
  readonly id: string;
  readonly api: Api;
  readonly apiPort: number;
  readonly xdsPort: number;
  pid(): number;
  /** Everything that its processes wrote. */
  log(): string;
  /** kill -9, and gone when it resolves. */
  kill(): Promise<void>;
  /** As an operator stops it: SIGTERM. */
  stop(): Promise<void>;
  /** SIGSTOP and SIGCONT: a process that hangs, its connections open. */
  pause(): void;
  resume(): void;
  /** Starts it again on the same ports. It must have been stopped or killed. Resolves when it is ready. */
  start(env?: Readonly<Record<string, string>>): Promise<void>;
  restart(): Promise<void>;
}

async function waitUntilReady(child: Child, api: Api, id: string, timeoutMs = 30_000): Promise<void> {
  const isReady = async (): Promise<boolean> => {
    if (!child.isRunning()) return true;
    return (await api.call("GET", "/readyz")).status === 200;
  };
  await waitFor(`${id} is ready`, isReady, { timeoutMs, everyMs: 50 }).catch((error: unknown) => {
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${child.log()}`);
  });
  if (!child.isRunning()) throw new Error(`${id} ended (${await child.ended}) instead of serving:\n${child.log()}`);
}

/** Starts one and waits until it is ready. It is killed when the test file ends. */
export async function startReplica(options: ReplicaOptions): Promise<Replica> {
  if (!existsSync(main)) throw new Error("dist/main.js is not there: run `npm run build` first");
  const id = options.id ?? "replica-a";
  const [apiPort = 0, xdsPort = 0] = await freePorts(2);
  const api = createApi(`http://127.0.0.1:${apiPort}`);
  const logs: string[] = [];
  const launch = (env: Readonly<Record<string, string>>): Child =>
    startChild(id, process.execPath, [main, "serve"], {
      NODE_OPTIONS: undefined,
      DATABASE_URL: options.databaseUrl,
      DATABASE_MIGRATION_URL: options.databaseUrl,
      CHANCERY_API_ADDRESS: `127.0.0.1:${apiPort}`,
      CHANCERY_XDS_ADDRESS: `127.0.0.1:${xdsPort}`,
      CHANCERY_REPLICA_ID: id,
      CHANCERY_LOG_LEVEL: "debug",
      CHANCERY_STATE_DIR: "off",
      CHANCERY_XDS_BALANCE_PER_SECOND: "0", // A test says itself when its Envoys are to move.
      ...options.env,
      ...env,
    });
  let child = launch({});
  await waitUntilReady(child, api, id, options.readyWithinMs);

  const ended = (): void => {
    logs.push(child.log());
  };
  const replica: Replica = {
    id,
    api,
    apiPort,
    xdsPort,
    pid: () => child.pid,
    log: () => [...logs, child.isRunning() ? child.log() : ""].join("\n"),
    kill: () => child.kill().then(ended),
    stop: () => child.stop().then(ended),
    pause: () => child.signal("SIGSTOP"),
    resume: () => child.signal("SIGCONT"),
    start: async (env = {}) => {
      child = launch(env);
      await waitUntilReady(child, api, id, options.readyWithinMs);
    },
    restart: async () => {
      await replica.stop();
      await replica.start();
    },
  };
  return replica;
}
