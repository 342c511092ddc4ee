// What the store tells of itself: how long each call took, which failed, how its pools are used. In: Metrics. Out: numbers at /metrics.
// Measured at the door, not per statement: what callers wait for is the call, with its retries and its turn in the pool.
// Called by store.ts.
import type pg from "pg";
import { AppError, errorCodes, Interruption } from "../errors.js";
import type { Metrics } from "../telemetry/metrics.js";
import { StateMismatch } from "./desired-state.js";
import type { StoreReads } from "./object-reads.js";
import type { Observe } from "./pool.js";
import type { SchemaGate } from "./schema-version.js";
import type { StatusStore } from "./status-store.js";

/** Failures that the caller is answered for (a name that is taken, a precondition) are no failures of the store. */
function codeOf(error: unknown): string | undefined {
  if (error instanceof AppError) return errorCodes[error.code].status >= 500 ? error.code : undefined;
  if (error instanceof Interruption) return undefined;
  return error instanceof StateMismatch ? "state_mismatch" : "internal";
}

/** Calls that look at the schema themselves; all others are not made once it is too new. */
const looks: readonly string[] = ["read_after", "load_state"];

/** One for all calls of a store. */
export function createObserver(metrics: Metrics, schema: SchemaGate): Observe {
  return async (call, run) => {
    const startedAt = performance.now();
    try {
      if (!looks.includes(call)) schema.check();
      return await run();
    } catch (error) {
      const code = codeOf(error);
      if (code !== undefined) metrics.count("store_errors_total", { code });
      throw error;
    } finally {
      metrics.observe("store_call_seconds", { call }, (performance.now() - startedAt) / 1_000);
    }
  };
}

/** The same reads, observed. */
export function observeReads(reads: StoreReads, observe: Observe): StoreReads {
  return {
    get: (kind, name) => observe("get", () => reads.get(kind, name)),
    list: (kind, page) => observe("list", () => reads.list(kind, page)),
    endpointsOf: (cluster) => observe("endpoints_of", () => reads.endpointsOf(cluster)),
    revision: (revision) => observe("revision", () => reads.revision(revision)),
  };
}

/** The same status store, observed. */
export function observeStatus(status: StatusStore, observe: Observe): StatusStore {
  return {
    heartbeat: (beat) => observe("heartbeat", () => status.heartbeat(beat)),
    liveReplicas: () => observe("live_replicas", () => status.liveReplicas()),
    saveNodes: (replica, nodes, removed) => observe("save_nodes", () => status.saveNodes(replica, nodes, removed)),
    saveSync: (replica, rows, beat) => observe("save_sync", () => status.saveSync(replica, rows, beat)),
    readSync: (revision) => observe("read_sync", () => status.readSync(revision)),
    nodes: (filter) => observe("nodes", () => status.nodes(filter)),
    countNodes: (gateways, except) => observe("count_nodes", () => status.countNodes(gateways, except)),
    removeReplica: (id) => observe("remove_replica", () => status.removeReplica(id)),
  };
}

/** Reads the pools at each scrape. Returns how to stop it. */
export function watchPools(pools: Readonly<Record<string, pg.Pool>>, metrics: Metrics): () => void {
  return metrics.beforeScrape(() => {
    for (const [pool, { idleCount, totalCount, waitingCount }] of Object.entries(pools)) {
      metrics.set("store_connections", { pool, state: "idle" }, idleCount);
      metrics.set("store_connections", { pool, state: "busy" }, totalCount - idleCount);
      metrics.set("store_connections", { pool, state: "awaited" }, waitingCount);
    }
  });
}
