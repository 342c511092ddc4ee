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

export interface Cluster {
  readonly name: string;
  readonly protocol: ClusterProtocol;
  readonly connectTimeoutMs: number;
  readonly loadBalancing: LoadBalancing;
  readonly healthChecks: readonly HealthCheck[];
  readonly outlierDetection: OutlierDetection | undefined;
  readonly circuitBreakers: CircuitBreakers;
}

/** True for clusters that HTTP routes may name. */
export function speaksHttp(protocol: ClusterProtocol): boolean {
  return protocol === "http" || protocol === "http2" || protocol === "grpc";
}
