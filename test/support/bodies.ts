// Bodies for the admin API, as short as a user would write them. In: names and backends. Out: JSON. Called by the feature tests.
import type { Json } from "./api-client.js";

interface Addressed {
  readonly port: number;
}

export const endpointOf = (backend: Addressed, more: Json = {}): Json => ({ address: "127.0.0.1", port: backend.port, ...more });

/** A cluster whose endpoints are these backends. */
export const clusterBody = (name: string, backends: readonly Addressed[], more: Json = {}): Json => ({
  name,
  connectTimeoutMs: 1_000,
  ...more,
  endpoints: backends.map((backend) => endpointOf(backend)),
});

export const listenerBody = (name: string, port: number, more: Json = {}): Json => ({
  name,
  address: "127.0.0.1",
  port,
  protocol: "http",
  gateways: ["edge"],
  ...more,
});

/** Weighted backends: `{ a: 95, b: 5 }`, in this order. */
export const backendsBody = (weights: Readonly<Record<string, number>>): Json[] =>
  Object.entries(weights).map(([cluster, weight]) => ({ cluster, weight }));

/** An HTTP route on one listener, to one cluster or a weighted split. */
export const routeBody = (
  name: string,
  listener: string,
  to: string | Readonly<Record<string, number>>,
  more: Json = {},
): Json => ({
  name,
  protocol: "http",
  listeners: [listener],
  backends: backendsBody(typeof to === "string" ? { [to]: 1 } : to),
  ...more,
});

/** The same for a TCP or UDP route. */
export const streamRouteBody = (
  protocol: "tcp" | "udp",
  name: string,
  listener: string,
  to: string | Readonly<Record<string, number>>,
  more: Json = {},
): Json => ({ name, protocol, listener, backends: backendsBody(typeof to === "string" ? { [to]: 1 } : to), ...more });

/** Health checks: quick ones, so that a test sees what they do. Within interval × threshold + timeout = 1.1 s. */
export const quickCheck = (kind: "tcp" | "http" | "grpc", more: Json = {}): Json => ({
  kind,
  intervalMs: 300,
  timeoutMs: 200,
  unhealthyThreshold: 3,
  healthyThreshold: 2,
  ...more,
});
