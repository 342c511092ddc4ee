// A cluster's body. In: JSON that the schema has passed. Out: model/cluster.ts, defaults filled in, and back.
// The calls are in clusters.ts; rules beyond the shape are in model/cluster-rules.ts and model/references.ts.
import { type Static, Type } from "typebox";
import type { CircuitBreakers, Cluster, DrainSettings, LoadBalancing, OutlierDetection } from "../model/cluster.js";
import { endpointSchema } from "./endpoint-body.js";
import { compact, integer, list, milliseconds, name, object, oneOf, word } from "./fields.js";
import { fromHealthCheckBody, healthCheckSchema, toHealthCheckBody } from "./health-check-body.js";

const standard = {
  protocol: "http",
  connectTimeoutMs: 5000,
  choiceCount: 2,
  minimumRingSize: 1024,
  maximumRingSize: 8_388_608,
  tableSize: 65_537,
  consecutive5xx: 5,
  intervalMs: 10_000,
  baseEjectionTimeMs: 30_000,
  maxEjectionTimeMs: 300_000,
  maxEjectionPercent: 50,
  maxConnections: 1024,
  maxPendingRequests: 1024,
  maxRequests: 1024,
  maxRetries: 64, // Envoy's own 3 turned retries off under load: of 100 requests over a half-broken pair, 28 failed (8 clients).
  atDeadline: "leave",
  drainTimeoutMs: 30_000,
  sticky: "leave-at-once",
  slowStartMs: 0,
} as const;

const largestLimit = 1_000_000_000;

const loadBalancing = oneOf(
  "policy",
  [
    object({
      policy: Type.Literal("least-request", { description: "The least busy of `choiceCount` endpoints drawn at random." }),
      choiceCount: Type.Optional(integer(2, 32, "Endpoints that are drawn.", standard.choiceCount)),
    }),
    object({ policy: Type.Literal("round-robin", { description: "One after the other." }) }),
    object({ policy: Type.Literal("random", { description: "Any; weights of endpoints are not used." }) }),
    object({
      policy: Type.Literal("ring-hash", { description: "By what the route hashes, on a ring." }),
      minimumRingSize: Type.Optional(integer(1, 8_388_608, "Smallest ring.", standard.minimumRingSize)),
      maximumRingSize: Type.Optional(integer(1, 8_388_608, "Largest ring.", standard.maximumRingSize)),
    }),
    object({
      policy: Type.Literal("maglev", { description: "By what the route hashes, in a table." }),
      tableSize: Type.Optional(integer(2, 5_000_011, "Size of the table, a prime number.", standard.tableSize)),
    }),
  ],
  "How an endpoint is chosen. Default least-request.",
);

const outlierDetection = object(
  {
    consecutive5xx: Type.Optional(
      integer(1, 1_000_000, "Server errors in a row that eject an endpoint.", standard.consecutive5xx),
    ),
    consecutiveGatewayFailures: Type.Optional(
      integer(1, 1_000_000, "502, 503 and 504 in a row that eject it. Default: not counted apart."),
    ),
    intervalMs: Type.Optional(milliseconds(100, 3_600_000, "Time between two looks.", standard.intervalMs)),
    baseEjectionTimeMs: Type.Optional(
      milliseconds(100, 86_400_000, "First ejection; each further one is longer.", standard.baseEjectionTimeMs),
    ),
    maxEjectionTimeMs: Type.Optional(
      milliseconds(100, 86_400_000, "Longest ejection, not below baseEjectionTimeMs.", standard.maxEjectionTimeMs),
    ),
    maxEjectionPercent: Type.Optional(
      integer(0, 100, "Share of endpoints that may be out, in percent.", standard.maxEjectionPercent),
    ),
  },
  { description: "Ejection by what live traffic shows. Default: none." },
);

const circuitBreakers = object(
  {
    maxConnections: Type.Optional(integer(1, largestLimit, "Connections.", standard.maxConnections)),
    maxPendingRequests: Type.Optional(
      integer(1, largestLimit, "Requests that wait for a connection.", standard.maxPendingRequests),
    ),
    maxRequests: Type.Optional(integer(1, largestLimit, "Requests under way, over HTTP/2.", standard.maxRequests)),
    maxRetries: Type.Optional(integer(0, largestLimit, "Retries under way.", standard.maxRetries)),
  },
  { description: "Upper bounds for one Envoy's use of the cluster. What is beyond gets 503." },
);

const drain = object(
  {
    atDeadline: Type.Optional(
      word(
        ["leave", "close"],
        "What becomes of connections that are open at a drain's deadline. `close` needs a means, which `drain.guarantee` of the cluster's status names: an active health check. That of a tcp cluster then closes the connections of an endpoint whenever it fails.",
        standard.atDeadline,
      ),
    ),
    timeoutMs: Type.Optional(
      milliseconds(0, 3_600_000, "How long a drain waits, unless it says so itself.", standard.drainTimeoutMs),
    ),
    sticky: Type.Optional(
      word(
        ["leave-at-once", "until-drained"],
        "Sessions by cookie leave an endpoint as soon as it drains, or may stay to the deadline; newcomers never come. For HTTP clusters.",
        standard.sticky,
      ),
    ),
  },
  { description: "What becomes of what is open on an endpoint that is drained." },
);

const fields = {
  protocol: Type.Optional(word(["http", "http2", "grpc", "tcp", "udp"], "What its endpoints speak.", standard.protocol)),
  connectTimeoutMs: Type.Optional(
    milliseconds(1, 60_000, "A connection that takes longer has failed.", standard.connectTimeoutMs),
  ),
  loadBalancing: Type.Optional(loadBalancing),
  healthChecks: Type.Optional(list(healthCheckSchema, 0, 4, "Active health checks; all must pass. Default none.")),
  outlierDetection: Type.Optional(outlierDetection),
  circuitBreakers: Type.Optional(circuitBreakers),
  drain: Type.Optional(drain),
  slowStartMs: Type.Optional(
    milliseconds(
      0,
      3_600_000,
      "An endpoint that comes grows to its full share over this time; with least-request and round-robin only. 0: at once.",
      standard.slowStartMs,
    ),
  ),
};
/** More are put by further calls of `PATCH …/endpoints`. */
export const maxEndpointsPerCall = 10_000;
const inlineEndpoints = Type.Optional(
  list(endpointSchema, 0, maxEndpointsPerCall, "Endpoints, only when the cluster is created."),
);

/** What GET shows: everything but the endpoints. */
export const clusterShown = object({ name: name("cluster"), ...fields });
/** What POST takes. */
export const clusterCreated = object({ name: name("cluster"), ...fields, endpoints: inlineEndpoints });
/** What PUT takes: the name is in the path, and may be repeated. */
export const clusterPut = object({ name: Type.Optional(name("cluster")), ...fields, endpoints: inlineEndpoints });
/** A body that the schema has passed. */
export type ClusterBody = Static<typeof clusterPut>;

function fromLoadBalancing(body: ClusterBody["loadBalancing"]): LoadBalancing {
  if (!body) return { policy: "least-request", choiceCount: standard.choiceCount };
  switch (body.policy) {
    case "least-request":
      return { policy: "least-request", choiceCount: body.choiceCount ?? standard.choiceCount };
    case "ring-hash":
      return {
        policy: "ring-hash",
        minimumRingSize: body.minimumRingSize ?? standard.minimumRingSize,
        maximumRingSize: body.maximumRingSize ?? standard.maximumRingSize,
      };
    case "maglev":
      return { policy: "maglev", tableSize: body.tableSize ?? standard.tableSize };
    default:
      return { policy: body.policy };
  }
}

function fromOutlierDetection(body: NonNullable<ClusterBody["outlierDetection"]>): OutlierDetection {
  return {
    consecutive5xx: body.consecutive5xx ?? standard.consecutive5xx,
    consecutiveGatewayFailures: body.consecutiveGatewayFailures,
    intervalMs: body.intervalMs ?? standard.intervalMs,
    baseEjectionTimeMs: body.baseEjectionTimeMs ?? standard.baseEjectionTimeMs,
    maxEjectionTimeMs: body.maxEjectionTimeMs ?? standard.maxEjectionTimeMs,
    maxEjectionPercent: body.maxEjectionPercent ?? standard.maxEjectionPercent,
  };
}

function fromCircuitBreakers(body: ClusterBody["circuitBreakers"] = {}): CircuitBreakers {
  return {
    maxConnections: body.maxConnections ?? standard.maxConnections,
    maxPendingRequests: body.maxPendingRequests ?? standard.maxPendingRequests,
    maxRequests: body.maxRequests ?? standard.maxRequests,
    maxRetries: body.maxRetries ?? standard.maxRetries,
  };
}

function fromDrain(body: ClusterBody["drain"] = {}): DrainSettings {
  return {
    atDeadline: body.atDeadline ?? standard.atDeadline,
    timeoutMs: body.timeoutMs ?? standard.drainTimeoutMs,
    sticky: body.sticky ?? standard.sticky,
  };
}

/** The inline endpoints are not part of the cluster: see clusters.ts. */
export function fromClusterBody(named: string, body: ClusterBody): Cluster {
  const protocol = body.protocol ?? standard.protocol;
  const drain = fromDrain(body.drain);
  // The kill switch needs checks that connect anew.
  const reuseConnection = !(protocol === "tcp" && drain.atDeadline === "close");
  return {
    name: named,
    protocol,
    connectTimeoutMs: body.connectTimeoutMs ?? standard.connectTimeoutMs,
    loadBalancing: fromLoadBalancing(body.loadBalancing),
    healthChecks: (body.healthChecks ?? []).map((check) => fromHealthCheckBody(check, { reuseConnection })),
    outlierDetection: body.outlierDetection && fromOutlierDetection(body.outlierDetection),
    circuitBreakers: fromCircuitBreakers(body.circuitBreakers),
    drain,
    slowStartMs: body.slowStartMs ?? standard.slowStartMs,
  };
}

/** The inverse of fromClusterBody: what PUT takes without a change. */
export function toClusterBody(cluster: Cluster): Static<typeof clusterShown> {
  return {
    name: cluster.name,
    protocol: cluster.protocol,
    connectTimeoutMs: cluster.connectTimeoutMs,
    loadBalancing: cluster.loadBalancing,
    healthChecks: cluster.healthChecks.map(toHealthCheckBody),
    ...compact({ outlierDetection: cluster.outlierDetection && compact(cluster.outlierDetection) }),
    circuitBreakers: cluster.circuitBreakers,
    drain: cluster.drain,
    slowStartMs: cluster.slowStartMs,
  };
}
