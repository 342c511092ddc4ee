// Active health checks, sent by every Envoy to every endpoint. Pure.

/** Common to all kinds. Times in ms; thresholds are counts of checks in a row. */
interface Schedule {
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly unhealthyThreshold: number;
  readonly healthyThreshold: number;
  readonly initialJitterMs: number;
  readonly intervalJitterMs: number;
  /** Interval while a host is unhealthy; undefined: intervalMs. */
  readonly unhealthyIntervalMs: number | undefined;
  /** Keep the checking connection open between checks. */
  readonly reuseConnection: boolean;
  /** Check this port in place of the endpoint's own. */
  readonly port: number | undefined;
}

export interface TcpHealthCheck extends Schedule {
  readonly kind: "tcp";
  /** Text sent after connecting; undefined: a connection is enough. */
  readonly send: string | undefined;
  /** Texts that must all come back, in this order. */
  readonly receive: readonly string[];
}

/** Inclusive on both ends, as people write it: 200–299. Envoy's own range excludes its end. */
export interface StatusRange {
  readonly from: number;
  readonly to: number;
}

export interface HttpHealthCheck extends Schedule {
  readonly kind: "http";
  readonly path: string;
  /** Host header; undefined: the cluster's name. */
  readonly host: string | undefined;
  readonly method: "GET" | "HEAD" | "OPTIONS" | "POST" | "PUT";
  readonly headers: readonly { readonly name: string; readonly value: string }[];
  readonly expectedStatuses: readonly StatusRange[];
  /** Text that the body must contain; undefined: the body is not read. */
  readonly bodyContains: string | undefined;
}

export interface GrpcHealthCheck extends Schedule {
  readonly kind: "grpc";
  /** `service` of grpc.health.v1.HealthCheckRequest; "" asks for the whole server. */
  readonly service: string;
}

export type HealthCheck = TcpHealthCheck | HttpHealthCheck | GrpcHealthCheck;
