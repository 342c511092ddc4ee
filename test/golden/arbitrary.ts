// Arbitrary states within the bounds of the admin API (src/api/*-body.ts), its edges included: what it lets through, Envoy must
// take, because one resource that Envoy refuses can hold back others. Test only.
import * as fc from "fast-check";
import type { Cluster, LoadBalancing } from "../../src/model/cluster.js";
import type { StateRows } from "../../src/model/desired-state.js";
import type { Endpoint } from "../../src/model/endpoint.js";
import type { HealthCheck } from "../../src/model/health-check.js";
import type { Listener } from "../../src/model/listener.js";
import type { Backend, HttpAction, HttpRoute, NamedMatch, PathMatch, Route, ValueMatch } from "../../src/model/route.js";
import { retryConditions } from "../../src/model/route.js";

const optional = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined });
const printable = (minLength: number, maxLength = 40) =>
  fc.string({ minLength, maxLength, unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)) });
const token = fc.string({ minLength: 1, maxLength: 20, unit: fc.constantFrom(..."abz09!#$%&'*+.^_`|~-") });
const path = fc
  .string({ maxLength: 30, unit: fc.constantFrom(..."ab/.%20;=@:!$&'()*+,~-_\"<>[]{}|\\^`") })
  .map((rest) => `/${rest}`);
const prefix = path.map((text) => text.replace(/\/+$/, "") || "/");
const host = fc.constantFrom("a.org", "*.a.org", "*.b.a.org", "c.b.a.org", "localhost", "*.org", "10.0.0.1", "x_y.org");
const hostName = fc.constantFrom("a.org", "localhost", "10.0.0.1");
const authority = fc.constantFrom("a.org", "a.org:8443", "[fd00::1]:80");
const ms = (min: number, max: number) => fc.oneof(fc.constantFrom(min, max), fc.integer({ min, max: Math.min(max, 60_000) }));

const loadBalancing: fc.Arbitrary<LoadBalancing> = fc.oneof(
  fc.constant({ policy: "round-robin" } as const),
  fc.constant({ policy: "random" } as const),
  fc.record({ policy: fc.constant("least-request" as const), choiceCount: fc.integer({ min: 2, max: 32 }) }),
  fc.record({
    policy: fc.constant("ring-hash" as const),
    minimumRingSize: fc.constantFrom(1, 1024),
    maximumRingSize: fc.constantFrom(1024, 8_388_608),
  }),
  fc.record({ policy: fc.constant("maglev" as const), tableSize: fc.constantFrom(2, 65_537, 5_000_011) }),
);

const schedule = {
  intervalMs: ms(50, 3_600_000),
  timeoutMs: ms(1, 600_000),
  unhealthyThreshold: fc.integer({ min: 1, max: 100 }),
  healthyThreshold: fc.integer({ min: 1, max: 100 }),
  initialJitterMs: ms(0, 600_000),
  intervalJitterMs: ms(0, 600_000),
  unhealthyIntervalMs: optional(ms(50, 3_600_000)),
  reuseConnection: fc.boolean(),
  port: optional(fc.integer({ min: 1, max: 65_535 })),
};

const statusRange = fc
  .tuple(fc.integer({ min: 100, max: 599 }), fc.integer({ min: 100, max: 599 }))
  .map(([a, b]) => ({ from: Math.min(a, b), to: Math.max(a, b) }));
const healthCheck = (isHttp2: boolean): fc.Arbitrary<HealthCheck> =>
  fc.oneof(
    fc.record({
      kind: fc.constant("tcp" as const),
      ...schedule,
      send: optional(printable(1)),
      receive: fc.array(printable(1), { maxLength: 3 }),
    }),
    fc.record({
      kind: fc.constant("http" as const),
      ...schedule,
      path: path.map((text) => `${text}?q=1`),
      host: optional(authority),
      method: fc.constantFrom("GET" as const, "HEAD" as const, "OPTIONS" as const, "POST" as const, "PUT" as const),
      headers: fc.array(fc.record({ name: token.filter((name) => name !== "host"), value: printable(0) }), { maxLength: 3 }),
      expectedStatuses: fc.array(statusRange, { minLength: 1, maxLength: 5 }),
      bodyContains: optional(fc.string({ minLength: 1, unit: "grapheme" })),
    }),
    ...(isHttp2 ? [fc.record({ kind: fc.constant("grpc" as const), ...schedule, service: printable(0) })] : []),
  );

const largest = 1_000_000_000;
const limit = (min: number) => fc.constantFrom(min, 1024, largest);

const clusterOf = (name: string, protocols: readonly Cluster["protocol"][]): fc.Arbitrary<Cluster> =>
  fc.constantFrom(...protocols).chain((protocol) =>
    fc.record({
      name: fc.constant(name),
      protocol: fc.constant(protocol),
      connectTimeoutMs: ms(1, 60_000),
      loadBalancing,
      healthChecks: fc.array(healthCheck(protocol === "http2" || protocol === "grpc"), { maxLength: 4 }),
      outlierDetection: optional(
        fc.record({
          consecutive5xx: fc.constantFrom(1, 1_000_000),
          consecutiveGatewayFailures: optional(fc.constantFrom(1, 1_000_000)),
          intervalMs: ms(100, 3_600_000),
          baseEjectionTimeMs: ms(100, 60_000),
          maxEjectionTimeMs: fc.constant(86_400_000),
          maxEjectionPercent: fc.integer({ min: 0, max: 100 }),
        }),
      ),
      circuitBreakers: fc.record({
        maxConnections: limit(1),
        maxPendingRequests: limit(1),
        maxRequests: limit(1),
        maxRetries: limit(0),
      }),
      drain: fc.record({
        atDeadline: fc.constantFrom("leave" as const, "close" as const),
        timeoutMs: ms(0, 3_600_000),
        sticky: fc.constantFrom("leave-at-once" as const, "until-drained" as const),
      }),
      slowStartMs: fc.constantFrom(0, 1, 3_600_000),
    }),
  );

const endpointsOf = (cluster: string): fc.Arbitrary<Endpoint[]> =>
  fc.uniqueArray(
    fc.record(
      {
        cluster: fc.constant(cluster),
        address: fc.constantFrom("10.0.0.1", "10.0.0.2", "fd00::1", "::1"),
        port: fc.constantFrom(1, 80, 65_535),
        weight: fc.constantFrom(1, 7, 1000),
        region: fc.constantFrom("", "eu", "u s"),
        zone: fc.constantFrom("", "1"),
        priority: fc.constantFrom(0, 1, 5, 127),
        enabled: fc.boolean(),
        labels: fc.constantFrom({ version: "v1" }, { "team/x": "" }),
        drain: fc.constantFrom<NonNullable<Endpoint["drain"]>>(
          { id: "d", phase: "draining" },
          { id: "d", phase: "closing" },
          { id: "d", phase: "closing", route: "t0" },
        ),
      },
      { requiredKeys: ["cluster", "address", "port", "weight", "region", "zone", "priority", "enabled"] },
    ),
    { maxLength: 6, selector: ({ address, port }) => `${address}:${port}` },
  );

const valueMatch: fc.Arbitrary<ValueMatch> = fc.oneof(
  fc.record({ kind: fc.constant("exact" as const), value: printable(0) }),
  fc.record({ kind: fc.constantFrom("prefix" as const, "suffix" as const, "contains" as const), value: printable(1) }),
  fc.constant({ kind: "regex", value: "a+|b" } as const),
  fc.constant({ kind: "present" } as const),
);
const conditions = (name: fc.Arbitrary<string>, not: fc.Arbitrary<boolean>): fc.Arbitrary<NamedMatch[]> =>
  fc.array(fc.record({ name, match: valueMatch, not }), { maxLength: 3 });
const pathMatch: fc.Arbitrary<PathMatch> = fc.oneof(
  fc.record({ kind: fc.constant("exact" as const), value: path }),
  fc.record({ kind: fc.constant("prefix" as const), value: prefix }),
  fc.constant({ kind: "regex", value: "/a[0-9]+" } as const),
);
const backendsOf = (clusters: readonly string[]): fc.Arbitrary<Backend[]> =>
  fc.uniqueArray(fc.record({ cluster: fc.constantFrom(...clusters), weight: fc.constantFrom(0, 1, 95, 10_000) }), {
    minLength: 1,
    maxLength: 4,
    selector: ({ cluster }) => cluster,
  });

const hashOn = fc.oneof(
  fc.record({ kind: fc.constantFrom("header" as const, "cookie" as const), name: token }),
  fc.constant({ kind: "source-ip" } as const),
);
const action = (clusters: readonly string[]): fc.Arbitrary<HttpAction> =>
  fc.oneof(
    fc.record({
      kind: fc.constant("forward" as const),
      backends: backendsOf(clusters),
      timeoutMs: ms(0, 86_400_000),
      retry: optional(
        fc.record({
          on: fc.subarray([...retryConditions], { minLength: 1 }),
          attempts: fc.integer({ min: 1, max: 10 }),
          perTryTimeoutMs: ms(0, 3_600_000),
        }),
      ),
      rewritePrefix: optional(path),
      rewriteHost: optional(authority),
      upgrades: fc.subarray(["websocket" as const]),
      sticky: optional(
        fc.oneof(
          fc.record({ kind: fc.constant("session-cookie" as const), cookie: token, ttlMs: ms(0, 31_536_000_000), path }),
          fc.record({ kind: fc.constant("canary-header" as const), header: token }),
          fc.record({ kind: fc.constant("canary-cookie" as const), cookie: token }),
        ),
      ),
      hashOn: fc.array(hashOn, { maxLength: 3 }),
    }),
    fc.record({
      kind: fc.constant("redirect" as const),
      redirect: fc.record({
        scheme: optional(fc.constantFrom("http" as const, "https" as const)),
        host: optional(hostName),
        port: optional(fc.integer({ min: 1, max: 65_535 })),
        path: fc.constant(undefined),
        prefix: optional(path),
        status: fc.constantFrom(301 as const, 302 as const, 303 as const, 307 as const, 308 as const),
      }),
    }),
  );

const httpClusters = ["h1", "h2", "h3", "h4"];
const l4Clusters = ["t1", "t2", "t3"];

const httpRoute = (name: string): fc.Arbitrary<HttpRoute> =>
  fc.record({
    protocol: fc.constant("http" as const),
    name: fc.constant(name),
    priority: fc.integer({ min: -1000, max: 1000 }),
    listeners: fc.constantFrom(["web"], ["web", "web6"]),
    hosts: fc.uniqueArray(host, { maxLength: 4 }),
    match: fc.record({
      path: pathMatch,
      methods: fc.uniqueArray(
        fc.constantFrom("GET", "PUT", "M-SEARCH", "A".repeat(32), "B".repeat(32), "C".repeat(32), "D".repeat(32)),
        { maxLength: 7 },
      ),
      headers: conditions(token, fc.boolean()),
      query: conditions(printable(1), fc.constant(false)),
      cookies: conditions(token, fc.boolean()),
    }),
    action: action(httpClusters),
  });

const tcpRoute = (name: string, listener: string, sni: fc.Arbitrary<string[]>): fc.Arbitrary<Route> =>
  fc.record({
    protocol: fc.constant("tcp" as const),
    name: fc.constant(name),
    listener: fc.constant(listener),
    sni,
    backends: backendsOf(l4Clusters),
    hashOnSourceIp: fc.boolean(),
    idleTimeoutMs: ms(0, 604_800_000),
    split: fc.constantFrom("endpoints" as const, "listener" as const),
  });

const udpRoute: fc.Arbitrary<Route> = fc.record({
  protocol: fc.constant("udp" as const),
  name: fc.constant("udp-route"),
  listener: fc.constant("udp-in"),
  backends: backendsOf(l4Clusters),
  hashOnSourceIp: fc.boolean(),
  idleTimeoutMs: ms(100, 3_600_000),
});

const listeners: Listener[] = [
  { name: "web", protocol: "http", address: "0.0.0.0", port: 1, gateways: ["edge"], idleTimeoutMs: 0, trustedHops: 16 },
  {
    name: "web6",
    protocol: "http",
    address: "::1",
    port: 65_535,
    gateways: ["edge"],
    idleTimeoutMs: 604_800_000,
    healthPath: "/healthz",
    trustedHops: 0,
  },
  { name: "tcp-in", protocol: "tcp", address: "127.0.0.1", port: 2, gateways: ["edge"] },
  { name: "tls-in", protocol: "tls", address: "127.0.0.1", port: 3, gateways: ["edge"] },
  { name: "udp-in", protocol: "udp", address: "127.0.0.1", port: 2, gateways: ["edge"] },
];

export const anyState: fc.Arbitrary<StateRows> = fc
  .record({
    clusters: fc.tuple(
      ...httpClusters.map((name) => clusterOf(name, ["http", "http2", "grpc"])),
      ...l4Clusters.map((name) => clusterOf(name, ["tcp", "udp", "http"])),
    ),
    endpoints: fc.tuple(...[...httpClusters, ...l4Clusters].map(endpointsOf)),
    http: fc.tuple(...Array.from({ length: 12 }, (_, at) => httpRoute(`r${at}`))),
    l4: fc.tuple(
      tcpRoute("tcp-route", "tcp-in", fc.constant([])),
      tcpRoute("sni-a", "tls-in", fc.uniqueArray(host, { minLength: 1, maxLength: 4 })),
      tcpRoute("sni-b", "tls-in", fc.uniqueArray(host, { maxLength: 4 })),
      udpRoute,
    ),
  })
  .map(({ clusters, endpoints, http, l4 }) => ({
    revision: 1,
    id: "any",
    clusters,
    endpoints: endpoints.flat(),
    listeners,
    routes: [...http, ...l4],
  }));
