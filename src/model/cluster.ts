// An upstream service: what its endpoints speak, how one is chosen, how health is judged. Pure.
// Called by: api (fromBody), store (spec column), translate (toCluster).
import type { HealthCheck } from "./health-check.js";

/** What the endpoints of a cluster speak. `grpc` is HTTP/2 whose routes have no timeout by default. */
export type ClusterProtocol = "http" | "http2" | "grpc" | "tcp" | "udp";

export type LoadBalancing =
  | { readonly policy: "round-robin" }
  | { readonly policy: "least-request"; readonly choiceCount: number }
  | { readonly policy: "random" }
  | { readonly policy: "ring-hash"; readonly minimumRingSize: number; readonly maximumRingSize: number }
  | { readonly policy: "maglev"; readonly tableSize: number };

/** Ejection by what live traffic shows. Times in ms; percent 0–100. */
export interface OutlierDetection {
  readonly consecutive5xx: number;
  readonly consecutiveGatewayFailures: number | undefined;
  readonly intervalMs: number;
  readonly baseEjectionTimeMs: number;
  readonly maxEjectionTimeMs: number;
  readonly maxEjectionPercent: number;
}

/** Upper bounds for one Envoy's use of the cluster. */
export interface CircuitBreakers {
  readonly maxConnections: number;
  readonly maxPendingRequests: number;
  readonly maxRequests: number;
  readonly maxRetries: number;
}

/** What becomes of what is open on an endpoint that is drained. */
export interface DrainSettings {
  /** What is still open at the deadline is left alone, or closed, where there is a means to (drain-guarantee.ts). */
  readonly atDeadline: "leave" | "close";
  /** How long a drain waits, unless it says so itself, ms. */
  readonly timeoutMs: number;
  /** Sessions by cookie: sent elsewhere as soon as their endpoint drains, or kept there to the deadline. Only for HTTP. */
  readonly sticky: "leave-at-once" | "until-drained";
}

export interface Cluster {
  readonly name: string;
  readonly protocol: ClusterProtocol;
  readonly connectTimeoutMs: number;
  readonly loadBalancing: LoadBalancing;
  readonly healthChecks: readonly HealthCheck[];
  readonly outlierDetection: OutlierDetection | undefined;
  readonly circuitBreakers: CircuitBreakers;
  readonly drain: DrainSettings;
  /** An endpoint that comes gets its full share only after this time, ms; 0: at once. Round robin and least request only. */
  readonly slowStartMs: number;
}

/** True for clusters that HTTP routes may name. */
export function speaksHttp(protocol: ClusterProtocol): boolean {
  return protocol === "http" || protocol === "http2" || protocol === "grpc";
}
