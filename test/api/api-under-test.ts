// A whole admin API on a database of its own, without Envoys: real store, real HTTP. In: how the fleet answers.
// Out: calls, and the store behind. Called by the tests of test/api/.

import type { ApiLimits } from "../../src/api/context.js";
import { createApi as createServer } from "../../src/api/server.js";
import { Planner } from "../../src/plan/plan.js";
import type { Validator } from "../../src/plan/validate.js";
import { createFollower } from "../../src/snapshot/follower.js";
import type { Snapshots } from "../../src/snapshot/snapshots.js";
import type { NodeView } from "../../src/status/node-view.js";
import type { Sync } from "../../src/status/sync.js";
import { createStore, type NodeRow, type Store } from "../../src/store/store.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { createMetrics } from "../../src/telemetry/metrics.js";
import { type Api, createApi } from "../support/api-client.js";
import { isPortable } from "../support/database-mode.js";
import { freshDatabase } from "../support/postgres.js";

export interface FleetStub {
  /** Answers waits; default: acked at once. */
  waitSync: (revision: number, timeoutMs: number, signal?: AbortSignal, quorumPercent?: number) => Promise<Sync>;
  nodes: readonly NodeView[];
}

export interface ApiUnderTest {
  readonly api: Api;
  readonly store: Store;
  readonly snapshots: Snapshots;
  readonly databaseUrl: string;
  readonly fleet: FleetStub;
  readonly readiness: { ready: boolean; revision: number; waitingFor: string[] };
  close(): Promise<void>;
}

export const synced = (revision: number, state: Sync["state"], more: Partial<Sync> = {}): Sync => ({
  revision,
  state,
  gateways: {},
  replicasBehind: [],
  ...more,
});

export interface ApiUnderTestOptions {
  /** Default: a fresh one. */
  readonly databaseUrl?: string;
  readonly limits?: Partial<ApiLimits>;
  readonly connectTimeoutMs?: number;
  readonly queryTimeoutMs?: number;
  /** Asked before each commit. */
  readonly validator?: Validator;
  /** Default: any that is free. */
  readonly port?: number;
  /** Follow the revisions as a replica does, so that writes can be planned. */
  readonly plans?: boolean;
}

export async function startApi(options: ApiUnderTestOptions = {}): Promise<ApiUnderTest> {
  const databaseUrl = options.databaseUrl ?? (await freshDatabase()).url;
  const log = createLogger("silent");
  const { connectTimeoutMs = 5_000, queryTimeoutMs = 10_000 } = options;
  const store = await createStore({
    databaseUrl,
    portable: isPortable,
    notify: false,
    apiPoolSize: 8,
    feedPoolSize: 2,
    connectTimeoutMs,
    connectionAgeMs: 60_000,
    queryTimeoutMs,
    log,
    metrics: createMetrics(),
  });
  const fleet: FleetStub = { waitSync: async (revision) => synced(revision, "acked"), nodes: [] };
  const metrics = createMetrics();
  const follower = createFollower({ store, pollMs: 20, removalGraceMs: 1, log, metrics });
  if (options.plans) await follower.start(new AbortController().signal);
  const readiness = { ready: true, revision: 0, waitingFor: [] as string[] };
  const server = await createServer({
    store,
    fleet: {
      waitSync: (revision, timeoutMs, signal, quorumPercent) => fleet.waitSync(revision, timeoutMs, signal, quorumPercent),
      lookSync: (revision) => fleet.waitSync(revision, 0),
      nodes: async (filter = {}) => {
        const found = fleet.nodes.filter(
          (node) => (filter.gateway === undefined || node.gateway === filter.gateway) && node.id > (filter.after ?? ""),
        );
        return { items: found.slice(0, filter.limit), partial: false };
      },
      node: async (id) => fleet.nodes.find((node) => node.id === id),
    },
    planner: new Planner({ snapshots: follower.snapshots, fleet: { countNodes: async () => new Map([["edge", 2]]) } }),
    ...(options.validator ? { validator: options.validator } : {}),
    ready: () => readiness,
    metrics,
    log,
    ...(options.limits ? { limits: options.limits } : {}),
  });
  const port = await server.listen({ host: "127.0.0.1", port: options.port ?? 0 });
  return {
    api: createApi(`http://127.0.0.1:${port}`),
    store,
    snapshots: follower.snapshots,
    databaseUrl,
    fleet,
    readiness,
    async close() {
      await server.close();
      await follower.close();
      await store.close();
    },
  };
}

/** The problems of a refused call, as `code pointer`, sorted. */
export function faults(body: unknown): readonly string[] {
  if (typeof body !== "object" || body === null || !("errors" in body) || !Array.isArray(body.errors)) return [];
  return body.errors.map((error: { code: string; pointer: string }) => `${error.code} ${error.pointer}`).sort();
}

/** An Envoy of gateway edge, as replica r1 writes of one that is connected. */
export const edgeNode = (id: string): NodeRow => ({
  id,
  gateway: "edge",
  replica: "r1",
  connected: true,
  since: new Date().toISOString(),
  streams: ["ads-delta"] as const,
  envoyVersion: "1.40.0",
  acked: { cluster: 1, endpoint: 1, listener: 1, route: 1 },
  exceptions: [],
});
