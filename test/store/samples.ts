// Small objects for the store's tests, valid and told apart by their names.

import { pino } from "pino";
import type { Cluster } from "../../src/model/cluster.js";
import type { Endpoint } from "../../src/model/endpoint.js";
import type { HttpListener } from "../../src/model/listener.js";
import type { Author } from "../../src/model/revision.js";
import type { Backend, HttpRoute } from "../../src/model/route.js";
import { createStore, type Store, type StoreOptions } from "../../src/store/store.js";
import { createMetrics } from "../../src/telemetry/metrics.js";
import { onCleanup } from "../support/cleanup.js";
import { isPortable } from "../support/database-mode.js";

export const author: Author = { author: "ada", requestId: "request-1", reason: undefined };

export function cluster(name: string, more: Partial<Cluster> = {}): Cluster {
  return {
    name,
    protocol: "http",
    connectTimeoutMs: 5_000,
    loadBalancing: { policy: "least-request", choiceCount: 2 },
    healthChecks: [],
    outlierDetection: undefined,
    circuitBreakers: { maxConnections: 1_024, maxPendingRequests: 1_024, maxRequests: 1_024, maxRetries: 3 },
    drain: { atDeadline: "leave", timeoutMs: 30_000, sticky: "leave-at-once" },
    slowStartMs: 0,
    ...more,
  };
}

export function endpoint(clusterName: string, port: number, more: Partial<Endpoint> = {}): Endpoint {
  return {
    cluster: clusterName,
    address: "10.0.0.7",
    port,
    weight: 1,
    region: "",
    zone: "",
    priority: 0,
    enabled: true,
    ...more,
  };
}

export function listener(name: string, port: number, more: Partial<HttpListener> = {}): HttpListener {
  return {
    name,
    address: "0.0.0.0",
    port,
    protocol: "http",
    gateways: ["edge"],
    idleTimeoutMs: 3_600_000,
    trustedHops: 0,
    ...more,
  };
}

export function route(name: string, listeners: readonly string[], backends: readonly Backend[]): HttpRoute {
  return {
    protocol: "http",
    name,
    priority: 0,
    listeners,
    hosts: [],
    match: { path: { kind: "prefix", value: "/" }, methods: [], headers: [], query: [], cookies: [] },
    action: {
      kind: "forward",
      backends,
      timeoutMs: 15_000,
      retry: undefined,
      rewritePrefix: undefined,
      rewriteHost: undefined,
      upgrades: [],
      sticky: undefined,
      hashOn: [],
    },
  };
}

/** A store that is closed when the test file ends; limits short enough for tests. */
export async function openStore(databaseUrl: string, more: Partial<StoreOptions> = {}): Promise<Store> {
  const store = await createStore({
    databaseUrl,
    portable: isPortable,
    notify: false,
    apiPoolSize: 20,
    feedPoolSize: 4,
    connectTimeoutMs: 2_000,
    queryTimeoutMs: 10_000,
    connectionAgeMs: 60_000,
    log: pino({ level: "silent" }),
    metrics: createMetrics(),
    ...more,
  });
  onCleanup("store", () => store.close());
  return store;
}
