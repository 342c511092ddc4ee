// Objects of the model with everything at its default, for tests of the rules. Called by the tests of test/unit/model/.
import type { Cluster } from "../../../src/model/cluster.js";
import type { Endpoint } from "../../../src/model/endpoint.js";
import type { HttpHealthCheck, TcpHealthCheck } from "../../../src/model/health-check.js";
import type { Listener, ListenerProtocol } from "../../../src/model/listener.js";
import type { HttpAction, HttpRoute, TcpRoute, UdpRoute } from "../../../src/model/route.js";

export const cluster = (name: string, more: Partial<Cluster> = {}): Cluster => ({
  name,
  protocol: "http",
  connectTimeoutMs: 5000,
  loadBalancing: { policy: "least-request", choiceCount: 2 },
  healthChecks: [],
  outlierDetection: undefined,
  circuitBreakers: { maxConnections: 1024, maxPendingRequests: 1024, maxRequests: 1024, maxRetries: 3 },
  drain: { atDeadline: "leave", timeoutMs: 30_000, sticky: "leave-at-once" },
  slowStartMs: 0,
  ...more,
});

const schedule = {
  intervalMs: 5000,
  timeoutMs: 1000,
  unhealthyThreshold: 2,
  healthyThreshold: 2,
  initialJitterMs: 0,
  intervalJitterMs: 0,
  unhealthyIntervalMs: undefined,
  reuseConnection: true,
  port: undefined,
};
export const tcpCheck = (more: Partial<TcpHealthCheck> = {}): TcpHealthCheck => ({
  kind: "tcp",
  ...schedule,
  send: undefined,
  receive: [],
  ...more,
});
export const httpCheck = (more: Partial<HttpHealthCheck> = {}): HttpHealthCheck => ({
  kind: "http",
  ...schedule,
  path: "/",
  host: undefined,
  method: "GET",
  headers: [],
  expectedStatuses: [{ from: 200, to: 299 }],
  bodyContains: undefined,
  ...more,
});

export const endpoint = (of: string, address: string, more: Partial<Endpoint> = {}): Endpoint => ({
  cluster: of,
  address,
  port: 80,
  weight: 1,
  region: "",
  zone: "",
  priority: 0,
  enabled: true,
  ...more,
});

export const listener = (name: string, protocol: ListenerProtocol, more: Partial<Listener> = {}): Listener => {
  const base = { name, address: "0.0.0.0", port: 80, gateways: ["edge"] };
  const made: Listener =
    protocol === "http" ? { ...base, protocol, idleTimeoutMs: 3_600_000, trustedHops: 0 } : { ...base, protocol };
  return { ...made, ...more } as Listener;
};

export const backends = (...clusters: readonly string[]) => clusters.map((name) => ({ cluster: name, weight: 1 }));

type Forward = Extract<HttpAction, { kind: "forward" }>;
export const forward = (to: readonly string[], more: Partial<Forward> = {}): Forward => ({
  kind: "forward",
  backends: backends(...to),
  timeoutMs: 15_000,
  retry: undefined,
  rewritePrefix: undefined,
  rewriteHost: undefined,
  upgrades: [],
  sticky: undefined,
  hashOn: [],
  ...more,
});

export const httpRoute = (name: string, to: readonly string[], more: Partial<HttpRoute> = {}): HttpRoute => ({
  protocol: "http",
  name,
  priority: 0,
  listeners: ["web"],
  hosts: [],
  match: { path: { kind: "prefix", value: "/" }, methods: [], headers: [], query: [], cookies: [] },
  action: forward(to),
  ...more,
});

export const tcpRoute = (name: string, to: readonly string[], more: Partial<TcpRoute> = {}): TcpRoute => ({
  protocol: "tcp",
  name,
  listener: "tcp-in",
  sni: [],
  backends: backends(...to),
  hashOnSourceIp: false,
  idleTimeoutMs: 3_600_000,
  split: "endpoints",
  ...more,
});

export const udpRoute = (name: string, to: readonly string[], more: Partial<UdpRoute> = {}): UdpRoute => ({
  protocol: "udp",
  name,
  listener: "udp-in",
  backends: backends(...to),
  hashOnSourceIp: false,
  idleTimeoutMs: 60_000,
  ...more,
});

/** name → object. */
export const byName = <T extends { readonly name: string }>(...objects: readonly T[]): ReadonlyMap<string, T> =>
  new Map(objects.map((object) => [object.name, object]));
