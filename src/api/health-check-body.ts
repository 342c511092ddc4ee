// Active health checks in a cluster's body: three kinds, told apart by `kind`, with one schedule.
// In: JSON that the schema has passed. Out: model/health-check.ts, and back. Called by cluster-body.ts.
import { type Static, Type } from "typebox";
import type { HealthCheck } from "../model/health-check.js";
import { compact, integer, list, milliseconds, object, oneOf, text, word } from "./fields.js";

const standard = {
  intervalMs: 5000,
  timeoutMs: 1000,
  unhealthyThreshold: 2,
  healthyThreshold: 2,
  initialJitterMs: 0,
  intervalJitterMs: 0,
} as const;

const schedule = {
  intervalMs: Type.Optional(milliseconds(50, 3_600_000, "Time between two checks.", standard.intervalMs)),
  timeoutMs: Type.Optional(milliseconds(1, 600_000, "A check without an answer for this long has failed.", standard.timeoutMs)),
  unhealthyThreshold: Type.Optional(
    integer(1, 100, "Failed checks in a row that take an endpoint out.", standard.unhealthyThreshold),
  ),
  healthyThreshold: Type.Optional(integer(1, 100, "Good checks in a row that bring it back.", standard.healthyThreshold)),
  initialJitterMs: Type.Optional(
    milliseconds(0, 600_000, "The first check waits a random time up to this.", standard.initialJitterMs),
  ),
  intervalJitterMs: Type.Optional(
    milliseconds(0, 600_000, "Each interval grows by a random time up to this.", standard.intervalJitterMs),
  ),
  unhealthyIntervalMs: Type.Optional(milliseconds(50, 3_600_000, "Interval while an endpoint is out. Default: intervalMs.")),
  reuseConnection: Type.Optional(
    Type.Boolean({
      description:
        "Keep the checking connection open between checks. Default true; on tcp clusters whose drains close connections, it must be, and is, false.",
    }),
  ),
  port: Type.Optional(integer(1, 65_535, "Check this port in place of the endpoint's own.")),
};

const tcpCheck = object({
  kind: Type.Literal("tcp", { description: "Connects, and compares texts when there are any." }),
  ...schedule,
  send: Type.Optional(
    Type.String({ minLength: 1, maxLength: 256, description: "Text sent after connecting. Default: none. 1–256 characters." }),
  ),
  receive: Type.Optional(
    list(
      Type.String({ minLength: 1, maxLength: 256, description: "1–256 characters." }),
      0,
      8,
      "Texts that must all come back, in this order. Default none.",
    ),
  ),
});

const header = object({
  name: text(1, 128, "header-name", "Name of a header."),
  value: text(0, 1024, "printable", "Its value."),
});

const statusRange = object({
  from: integer(100, 599, "First status."),
  to: integer(100, 599, "Last status, included."),
});

const httpCheck = object({
  kind: Type.Literal("http", {
    description: "Asks over HTTP: HTTP/2 for http2 and grpc clusters, HTTP/1.1 for others and on a port of the check's own.",
  }),
  ...schedule,
  path: text(1, 1024, "path-and-query", "What is asked for."),
  host: Type.Optional(text(1, 253, "authority", "Host header. Default: the cluster's name.")),
  method: Type.Optional(word(["GET", "HEAD", "OPTIONS", "POST", "PUT"], "Method.", "GET")),
  headers: Type.Optional(list(header, 0, 16, "Headers that are added. Default none.")),
  expectedStatuses: Type.Optional(list(statusRange, 1, 16, "Statuses that pass. Default 200–299.")),
  bodyContains: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 256,
      description:
        "Text that the first 64 KiB of the body must hold; a body without it takes the endpoint out at once, whatever the threshold. Default: the body is not read. 1–256 characters.",
    }),
  ),
});

const grpcCheck = object({
  kind: Type.Literal("grpc", { description: "Asks grpc.health.v1.Health; for grpc and http2 clusters." }),
  ...schedule,
  service: Type.Optional(text(0, 256, "printable", "Service asked for; empty asks for the whole server. Default empty.")),
});

/** One health check of a cluster. */
export const healthCheckSchema = oneOf("kind", [tcpCheck, httpCheck, grpcCheck], "An active health check.");
/** A body that the schema has passed. */
export type HealthCheckBody = Static<typeof healthCheckSchema>;

/** Defaults that depend on the cluster. */
interface ClusterDefaults {
  readonly reuseConnection: boolean;
}

function fromSchedule(body: HealthCheckBody, defaults: ClusterDefaults) {
  return {
    intervalMs: body.intervalMs ?? standard.intervalMs,
    timeoutMs: body.timeoutMs ?? standard.timeoutMs,
    unhealthyThreshold: body.unhealthyThreshold ?? standard.unhealthyThreshold,
    healthyThreshold: body.healthyThreshold ?? standard.healthyThreshold,
    initialJitterMs: body.initialJitterMs ?? standard.initialJitterMs,
    intervalJitterMs: body.intervalJitterMs ?? standard.intervalJitterMs,
    unhealthyIntervalMs: body.unhealthyIntervalMs,
    reuseConnection: body.reuseConnection ?? defaults.reuseConnection,
    port: body.port,
  };
}

/** Defaults filled in; names of headers in lower case. */
export function fromHealthCheckBody(body: HealthCheckBody, defaults: ClusterDefaults): HealthCheck {
  switch (body.kind) {
    case "tcp":
      return { kind: "tcp", ...fromSchedule(body, defaults), send: body.send, receive: body.receive ?? [] };
    case "http":
      return {
        kind: "http",
        ...fromSchedule(body, defaults),
        path: body.path,
        host: body.host,
        method: body.method ?? "GET",
        headers: (body.headers ?? []).map((one) => ({ name: one.name.toLowerCase(), value: one.value })),
        expectedStatuses: body.expectedStatuses ?? [{ from: 200, to: 299 }],
        bodyContains: body.bodyContains,
      };
    case "grpc":
      return { kind: "grpc", ...fromSchedule(body, defaults), service: body.service ?? "" };
  }
}

/** The inverse of fromHealthCheckBody. */
export function toHealthCheckBody(check: HealthCheck): HealthCheckBody {
  const {
    kind,
    intervalMs,
    timeoutMs,
    unhealthyThreshold,
    healthyThreshold,
    initialJitterMs,
    intervalJitterMs,
    unhealthyIntervalMs,
  } = check;
  const common = compact({
    intervalMs,
    timeoutMs,
    unhealthyThreshold,
    healthyThreshold,
    initialJitterMs,
    intervalJitterMs,
    unhealthyIntervalMs,
    reuseConnection: check.reuseConnection,
    port: check.port,
  });
  switch (kind) {
    case "tcp":
      return { kind, ...common, ...compact({ send: check.send }), receive: [...check.receive] };
    case "http": {
      const { path, host, method, headers, expectedStatuses, bodyContains } = check;
      return {
        kind,
        ...common,
        path,
        method,
        headers: [...headers],
        expectedStatuses: [...expectedStatuses],
        ...compact({ host, bodyContains }),
      };
    }
    case "grpc":
      return { kind, ...common, service: check.service };
  }
}
