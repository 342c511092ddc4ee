// Desired state from the YAML of a golden case, written as the admin API's JSON, defaults left out. Test only: the API has its
// own reader.
import { parse } from "yaml";
import type { Cluster } from "../../src/model/cluster.js";
import type { StateRows } from "../../src/model/desired-state.js";
import type { Endpoint } from "../../src/model/endpoint.js";
import type { HealthCheck } from "../../src/model/health-check.js";
import type { Listener } from "../../src/model/listener.js";
import type { NamedMatch, PathMatch, Route, ValueMatch } from "../../src/model/route.js";

// biome-ignore lint/suspicious/noExplicitAny: a case is trusted, and what is wrong in it shows in the golden files.
type Yaml = any;

export function readState(yaml: string): StateRows {
  const state: Yaml = parse(yaml);
  const clusters: Yaml[] = state.clusters ?? [];
  return {
    revision: 1,
    id: "golden",
    clusters: clusters.map(toCluster),
    endpoints: clusters.flatMap((cluster) =>
      (cluster.endpoints ?? []).map((endpoint: Yaml) => toEndpoint(cluster.name, endpoint)),
    ),
    listeners: (state.listeners ?? []).map(toListener),
    routes: (state.routes ?? []).map(toRoute),
  };
}

function toCluster({ endpoints: _, ...given }: Yaml): Cluster {
  return {
    protocol: "http",
    connectTimeoutMs: 5000,
    outlierDetection: undefined,
    circuitBreakers: { maxConnections: 1024, maxPendingRequests: 1024, maxRequests: 1024, maxRetries: 3 },
    slowStartMs: 0,
    ...given,
    drain: { atDeadline: "leave", timeoutMs: 30_000, sticky: "leave-at-once", ...given.drain },
    loadBalancing: {
      policy: "least-request",
      ...defaultsOf[given.loadBalancing?.policy ?? "least-request"],
      ...given.loadBalancing,
    },
    healthChecks: (given.healthChecks ?? []).map(toHealthCheck),
    ...(given.outlierDetection && { outlierDetection: { ...outlierDefaults, ...given.outlierDetection } }),
  };
}

const defaultsOf: Record<string, object> = {
  "least-request": { choiceCount: 2 },
  "ring-hash": { minimumRingSize: 1024, maximumRingSize: 8_388_608 },
  maglev: { tableSize: 65_537 },
};

const outlierDefaults = {
  consecutive5xx: 5,
  consecutiveGatewayFailures: undefined,
  intervalMs: 10_000,
  baseEjectionTimeMs: 30_000,
  maxEjectionTimeMs: 300_000,
  maxEjectionPercent: 50,
};

const checkDefaults: Record<string, object> = {
  tcp: { send: undefined, receive: [] },
  http: { host: undefined, method: "GET", headers: [], expectedStatuses: [{ from: 200, to: 299 }], bodyContains: undefined },
  grpc: { service: "" },
};

function toHealthCheck(given: Yaml): HealthCheck {
  return {
    intervalMs: 5000,
    timeoutMs: 1000,
    unhealthyThreshold: 2,
    healthyThreshold: 2,
    initialJitterMs: 0,
    intervalJitterMs: 0,
    unhealthyIntervalMs: undefined,
    reuseConnection: true,
    port: undefined,
    ...checkDefaults[given.kind],
    ...given,
  };
}

function toEndpoint(cluster: string, given: Yaml): Endpoint {
  return { cluster, weight: 1, region: "", zone: "", priority: 0, enabled: true, ...given };
}

function toListener(given: Yaml): Listener {
  const http = given.protocol === "http" ? { idleTimeoutMs: 3_600_000, trustedHops: 0 } : {};
  return { address: "127.0.0.1", gateways: ["edge"], ...http, ...given };
}

function toRoute(given: Yaml): Route {
  const backends = (given.backends ?? []).map((backend: Yaml) => ({ weight: 1, ...backend }));
  switch (given.protocol) {
    case "tcp":
      return { sni: [], hashOnSourceIp: false, idleTimeoutMs: 3_600_000, split: "endpoints", ...given, backends };
    case "udp":
      return { hashOnSourceIp: false, idleTimeoutMs: 60_000, ...given, backends };
    default:
      return toHttpRoute(given, backends);
  }
}

function toHttpRoute(given: Yaml, backends: Yaml): Route {
  const { name, priority = 0, listeners = ["web"], hosts = [], match = {}, redirect, rewrite = {}, retry } = given;
  const forward = {
    kind: "forward" as const,
    backends,
    timeoutMs: given.timeoutMs ?? 15_000,
    retry: retry && { attempts: 1, perTryTimeoutMs: 0, ...retry },
    rewritePrefix: rewrite.prefix,
    rewriteHost: rewrite.host,
    upgrades: given.upgrades ?? [],
    sticky: given.sticky?.kind === "session-cookie" ? { ttlMs: 0, path: "/", ...given.sticky } : given.sticky,
    hashOn: given.hashOn ?? [],
  };
  return {
    protocol: "http",
    name,
    priority,
    listeners,
    hosts,
    match: {
      path: toPath(match.path ?? { prefix: "/" }),
      methods: match.methods ?? [],
      headers: (match.headers ?? []).map(toNamedMatch),
      query: (match.query ?? []).map(toNamedMatch),
      cookies: (match.cookies ?? []).map(toNamedMatch),
    },
    action: redirect
      ? {
          kind: "redirect",
          redirect: {
            scheme: undefined,
            host: undefined,
            port: undefined,
            path: undefined,
            prefix: undefined,
            status: 301,
            ...redirect,
          },
        }
      : forward,
  };
}

function toPath(given: Yaml): PathMatch {
  const [kind, value] = Object.entries(given)[0] ?? [];
  return { kind, value } as PathMatch;
}

function toNamedMatch({ name, not = false, ...rest }: Yaml): NamedMatch {
  const [kind, value] = Object.entries(rest)[0] ?? [];
  return { name, not, match: (kind === "present" ? { kind } : { kind, value }) as ValueMatch };
}
