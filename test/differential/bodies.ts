// Bodies for the admin API, generated without asking whether it takes them: inside its bounds, at them and beyond. Test only.
// In: a number, which gives every object names of its own. Out: one configuration, in the order in which it can be written.
import * as fc from "fast-check";
import { retryConditions } from "../../src/model/route.js";
import { host, maybe, milliseconds, mostly, path, prefix, regex, text, token, whole } from "./values.js";

export interface Body {
  readonly kind: "cluster" | "listener" | "route";
  readonly body: Readonly<Record<string, unknown>> & { readonly name: string };
}

const schedule = {
  intervalMs: maybe(milliseconds(50, 3_600_000)),
  timeoutMs: maybe(milliseconds(1, 600_000)),
  unhealthyThreshold: maybe(whole(1, 100)),
  healthyThreshold: maybe(whole(1, 100)),
  initialJitterMs: maybe(milliseconds(0, 600_000)),
  intervalJitterMs: maybe(milliseconds(0, 600_000)),
  unhealthyIntervalMs: maybe(milliseconds(50, 3_600_000)),
  reuseConnection: maybe(fc.boolean()),
  port: maybe(whole(1, 65_535)),
};
const healthCheck = fc.oneof(
  fc.record({ kind: fc.constant("tcp"), ...schedule, send: maybe(text(1)), receive: maybe(fc.array(text(1), { maxLength: 3 })) }),
  fc.record({
    kind: fc.constant("http"),
    ...schedule,
    path,
    host: maybe(host),
    method: maybe(fc.constantFrom("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE")),
    headers: maybe(fc.array(fc.record({ name: token, value: text(0) }), { maxLength: 3 })),
    expectedStatuses: maybe(fc.array(fc.record({ from: whole(100, 599), to: whole(100, 599) }), { minLength: 1, maxLength: 3 })),
    bodyContains: maybe(text(1)),
  }),
  fc.record({ kind: fc.constant("grpc"), ...schedule, service: maybe(text(0)) }),
);
const loadBalancing = fc.oneof(
  fc.record({ policy: fc.constantFrom("round-robin", "random") }),
  fc.record({ policy: fc.constant("least-request"), choiceCount: maybe(whole(2, 32)) }),
  // Rings of millions of entries are built when the cluster is made: 0.5 s and 300 MB each.
  fc.record({
    policy: fc.constant("ring-hash"),
    minimumRingSize: maybe(fc.constantFrom(1, 2, 1023, 4096)),
    maximumRingSize: maybe(fc.constantFrom(1, 1024, 8_388_608)),
  }),
  fc.record({ policy: fc.constant("maglev"), tableSize: maybe(fc.constantFrom(2, 3, 4, 65_536, 65_537, 65_539)) }),
);
const endpoint = fc.record({
  address: mostly(
    fc.constantFrom("10.0.0.1", "10.0.0.2", "fd00::1", "::1", "FD00::2"),
    fc.constantFrom("0.0.0.0", "::", "host", "1.2.3", "::ffff:1.2.3.4", "fe80::1"),
  ),
  port: whole(1, 65_535),
  weight: maybe(whole(1, 1000)),
  region: maybe(text(0)),
  zone: maybe(text(0)),
  priority: maybe(fc.constantFrom(0, 0, 1, 5, 127, 128)),
  enabled: maybe(fc.boolean()),
});
const cluster = (name: string, protocols: readonly string[]) =>
  fc.record({
    name: fc.constant(name),
    protocol: fc.constantFrom(...protocols),
    connectTimeoutMs: maybe(milliseconds(1, 60_000)),
    loadBalancing: maybe(loadBalancing),
    healthChecks: maybe(fc.array(healthCheck, { maxLength: 2 })),
    outlierDetection: maybe(
      fc.record({
        consecutive5xx: maybe(whole(1, 1_000_000)),
        consecutiveGatewayFailures: maybe(whole(1, 1_000_000)),
        intervalMs: maybe(milliseconds(100, 3_600_000)),
        baseEjectionTimeMs: maybe(milliseconds(100, 86_400_000)),
        maxEjectionTimeMs: maybe(milliseconds(100, 86_400_000)),
        maxEjectionPercent: maybe(whole(0, 100)),
      }),
    ),
    circuitBreakers: maybe(
      fc.record({
        maxConnections: maybe(whole(1, 1_000_000_000)),
        maxPendingRequests: maybe(whole(1, 1_000_000_000)),
        maxRequests: maybe(whole(1, 1_000_000_000)),
        maxRetries: maybe(whole(0, 1_000_000_000)),
      }),
    ),
    drain: maybe(
      fc.record({
        atDeadline: maybe(fc.constantFrom("leave", "leave", "close")),
        timeoutMs: maybe(milliseconds(0, 3_600_000)),
        sticky: maybe(fc.constantFrom("leave-at-once", "leave-at-once", "until-drained")),
      }),
    ),
    slowStartMs: maybe(fc.constantFrom(0, 0, 0, 1, 3_600_000)),
    endpoints: maybe(fc.array(endpoint, { maxLength: 4 })),
  });

const comparison = fc.oneof(
  text(0).map((exact) => ({ exact })),
  text(1).map((value) => ({ prefix: value })),
  text(1).map((suffix) => ({ suffix })),
  text(1).map((contains) => ({ contains })),
  regex.map((value) => ({ regex: value })),
  fc.constant({ present: true }),
);
const conditions = (name: fc.Arbitrary<string>, withNot: boolean) =>
  fc.array(
    fc
      .tuple(name, comparison, maybe(fc.boolean()))
      .map(([named, compared, not]) => ({ name: named, ...compared, ...(withNot && not !== undefined ? { not } : {}) })),
    { maxLength: 2 },
  );
const backends = (clusters: readonly string[]) =>
  fc.uniqueArray(fc.record({ cluster: fc.constantFrom(...clusters), weight: maybe(whole(0, 10_000)) }), {
    minLength: 1,
    maxLength: 3,
    selector: (one) => one.cluster,
  });
const forward = (clusters: readonly string[]) => ({
  backends: backends(clusters),
  timeoutMs: maybe(milliseconds(0, 86_400_000)),
  retry: maybe(
    fc.record({
      on: fc.subarray([...retryConditions], { minLength: 1 }),
      attempts: maybe(whole(1, 10)),
      perTryTimeoutMs: maybe(milliseconds(0, 3_600_000)),
    }),
  ),
  rewrite: maybe(fc.record({ prefix: maybe(path), host: maybe(host) })),
  upgrades: maybe(fc.subarray(["websocket"])),
  sticky: maybe(
    fc.oneof(
      fc.record({
        kind: fc.constant("session-cookie"),
        cookie: token,
        ttlMs: maybe(milliseconds(0, 31_536_000_000)),
        path: maybe(path),
      }),
      fc.record({ kind: fc.constant("canary-header"), header: token }),
      fc.record({ kind: fc.constant("canary-cookie"), cookie: token }),
    ),
  ),
  hashOn: maybe(
    fc.array(
      fc.oneof(fc.record({ kind: fc.constantFrom("header", "cookie"), name: token }), fc.constant({ kind: "source-ip" })),
      { maxLength: 2 },
    ),
  ),
});
const redirect = {
  redirect: fc.record({
    scheme: maybe(fc.constantFrom("http", "https")),
    host: maybe(host),
    port: maybe(whole(1, 65_535)),
    path: fc.option(
      path.map((one) => `${one}?q=%2F`),
      { nil: undefined, freq: 1 },
    ),
    prefix: maybe(path),
    status: maybe(fc.constantFrom(301, 302, 303, 307, 308)),
  }),
};
const httpRoute = (name: string, listeners: readonly string[], clusters: readonly string[]) =>
  fc
    .tuple(
      fc.oneof(
        { weight: 5, arbitrary: fc.record<object>(forward(clusters)) },
        { weight: 1, arbitrary: fc.record<object>(redirect) },
      ),
      fc.record({
        name: fc.constant(name),
        protocol: fc.constant("http"),
        priority: maybe(whole(-1000, 1000)),
        listeners: fc.subarray([...listeners], { minLength: 1 }),
        hosts: maybe(fc.uniqueArray(host, { maxLength: 2 })),
        match: maybe(
          fc.record({
            path: maybe(
              fc.oneof(
                path.map((exact) => ({ exact })),
                prefix.map((value) => ({ prefix: value })),
                regex.map((value) => ({ regex: value })),
              ),
            ),
            methods: maybe(
              fc.uniqueArray(
                mostly(fc.constantFrom("GET", "PUT", "M-SEARCH", "A".repeat(32)), fc.constantFrom("get", "CONNECT", "A B")),
                { maxLength: 3 },
              ),
            ),
            headers: maybe(conditions(token, true)),
            query: maybe(conditions(text(1), false)),
            cookies: maybe(conditions(token, true)),
          }),
        ),
      }),
    )
    .map(([action, base]) => ({ ...base, ...action }));
/** A route with nothing in it but one regex: it is the regex that decides whether it is taken. */
const regexRoute = (name: string, listener: string, to: string) =>
  regex.map((path) => ({
    name,
    protocol: "http",
    listeners: [listener],
    backends: [{ cluster: to }],
    match: { path: { regex: path } },
  }));
const tcpRoute = (name: string, listener: string, sni: fc.Arbitrary<string[]>, clusters: readonly string[]) =>
  fc.record({
    name: fc.constant(name),
    protocol: fc.constant("tcp"),
    listener: fc.constant(listener),
    sni,
    backends: backends(clusters),
    hashOnSourceIp: maybe(fc.boolean()),
    idleTimeoutMs: maybe(milliseconds(0, 604_800_000)),
    split: maybe(fc.constantFrom("endpoints", "listener")),
  });
const udpRoute = (name: string, listener: string, clusters: readonly string[]) =>
  fc.record({
    name: fc.constant(name),
    protocol: fc.constant("udp"),
    listener: fc.constant(listener),
    backends: backends(clusters),
    hashOnSourceIp: maybe(fc.boolean()),
    idleTimeoutMs: maybe(milliseconds(100, 3_600_000)),
  });

/** Where the listeners are to be: `port(n)` for the n-th of them. */
export interface Places {
  readonly addresses: readonly string[];
  readonly port: (at: number) => number;
}

/** One configuration; `prefix` begins every name and names its gateway. */
export function configuration(prefixed: string, { addresses, port }: Places, gateway = prefixed): fc.Arbitrary<readonly Body[]> {
  const named = (name: string): string => `${prefixed}-${name}`;
  const http = ["h1", "h2"].map(named);
  const streams = ["t1", "t2"].map(named);
  const datagrams = ["u1", "u2"].map(named);
  const address = fc.constantFrom(...addresses);
  const gateways = [gateway];
  const listener = (name: string, at: number, protocol: string, more = {}) =>
    fc.record({
      name: fc.constant(named(name)),
      address,
      port: fc.constant(port(at)),
      protocol: fc.constant(protocol),
      gateways: fc.constant(gateways),
      ...more,
    });
  const l7 = { idleTimeoutMs: maybe(milliseconds(0, 604_800_000)), trustedHops: maybe(whole(0, 16)), healthPath: maybe(path) };
  const kinds: readonly (readonly [Body["kind"], fc.Arbitrary<unknown>])[] = [
    ...http.map((name) => ["cluster", cluster(name, ["http", "http2", "grpc"])] as const),
    ...streams.map((name) => ["cluster", cluster(name, ["tcp", "tcp", "http"])] as const),
    ...datagrams.map((name) => ["cluster", cluster(name, ["udp"])] as const),
    ["listener", listener("web", 0, "http", l7)],
    ["listener", listener("web2", 1, "http", l7)],
    ["listener", listener("tcp", 2, "tcp")],
    ["listener", listener("tls", 3, "tls")],
    ["listener", listener("udp", 4, "udp")],
    ...[1, 2, 3, 4].map((at) => ["route", httpRoute(named(`r${at}`), [named("web"), named("web2")], http)] as const),
    ...[1, 2, 3].map((at) => ["route", regexRoute(named(`x${at}`), named("web"), named("h1"))] as const),
    ["route", tcpRoute(named("tcp-route"), named("tcp"), fc.constant([]), [...streams, ...http])],
    ["route", tcpRoute(named("sni-a"), named("tls"), fc.uniqueArray(host, { minLength: 1, maxLength: 3 }), streams)],
    ["route", tcpRoute(named("sni-b"), named("tls"), fc.uniqueArray(host, { maxLength: 2 }), streams)],
    ["route", udpRoute(named("udp-route"), named("udp"), datagrams)],
  ];
  return fc
    .tuple(...kinds.map(([, body]) => body))
    .map((bodies) =>
      bodies.map((body, at): Body => ({ kind: kinds[at]?.[0] ?? "cluster", body: withoutUndefined(body) as Body["body"] })),
    );
}

/** As JSON would carry it. */
function withoutUndefined(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
