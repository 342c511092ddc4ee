// A cluster as the table `clusters` holds it. In: a model object, or a row. Out: the other one.
// Called by objects.ts. JSON drops what is undefined, so every optional field is named here, on the way back.
import type { Cluster, DrainSettings, OutlierDetection } from "../model/cluster.js";
import type { HealthCheck } from "../model/health-check.js";
import type { JsonForm } from "./json-form.js";

/** What `clusters` holds, but for space and revision. */
export interface ClusterRow {
  readonly name: string;
  readonly spec: Omit<JsonForm<Cluster>, Later> & Partial<Pick<JsonForm<Cluster>, Later>>;
}

/** Fields that rows of earlier releases lack. */
type Later = "drain" | "slowStartMs";
const olderDrain: DrainSettings = { atDeadline: "leave", timeoutMs: 30_000, sticky: "leave-at-once" };

/** For writing; the spec still has its undefined fields, which JSON drops. */
export function toClusterRow(cluster: Cluster): ClusterRow {
  return { name: cluster.name, spec: cluster };
}

/** For reading; needs the spec only, as a change has nothing else. */
export function fromClusterRow({ spec }: Pick<ClusterRow, "spec">): Cluster {
  return {
    name: spec.name,
    protocol: spec.protocol,
    connectTimeoutMs: spec.connectTimeoutMs,
    loadBalancing: spec.loadBalancing,
    healthChecks: spec.healthChecks.map(fromHealthCheck),
    outlierDetection: fromOutlierDetection(spec.outlierDetection),
    circuitBreakers: spec.circuitBreakers,
    drain: spec.drain ?? olderDrain,
    slowStartMs: spec.slowStartMs ?? 0,
  };
}

function fromHealthCheck(spec: JsonForm<HealthCheck>): HealthCheck {
  const schedule = { unhealthyIntervalMs: spec.unhealthyIntervalMs, port: spec.port };
  switch (spec.kind) {
    case "tcp":
      return { ...spec, ...schedule, send: spec.send };
    case "http":
      return { ...spec, ...schedule, host: spec.host, bodyContains: spec.bodyContains };
    case "grpc":
      return { ...spec, ...schedule };
  }
}

function fromOutlierDetection(spec: JsonForm<OutlierDetection> | undefined): OutlierDetection | undefined {
  return spec && { ...spec, consecutiveGatewayFailures: spec.consecutiveGatewayFailures };
}
