// Cluster → envoy.config.cluster.v3.Cluster. Pure. Called by resources.ts. Everything here is CDS: a change of it orphans the
// cluster's open connections (DESIGN §6), so what may change often is in endpoint.ts.
import type { CircuitBreakers, Cluster, LoadBalancing, OutlierDetection } from "../model/cluster.js";
import { closesByHop, hasKillSwitch, keepsSessions } from "../model/drain-guarantee.js";
import { any } from "../proto/encode.js";
import type { CircuitBreakersProto, ClusterProto, OutlierDetectionProto } from "../proto/messages.js";
import { hasHops, type Transport, toConfigSource } from "./config-source.js";
import { toDuration } from "./duration.js";
import { toHealthChecks } from "./health-check.js";
import { outerForm } from "./hop.js";
import { killSwitch } from "./kill-switch.js";
import { toLbPolicy } from "./load-balancing.js";

/** How a cluster for Envoy may differ from the user's cluster that it is made of. */
export interface ClusterForm {
  readonly name: string;
  readonly loadBalancing: LoadBalancing;
  /** Shares among localities are exact, by their weights. */
  readonly isSplitByLocality: boolean;
}

export function toCluster(cluster: Cluster, transport: Transport): ClusterProto {
  const form = { name: cluster.name, loadBalancing: cluster.loadBalancing, isSplitByLocality: false };
  const proto = toClusterForm(cluster, form, transport);
  return hasHops(transport) && closesByHop(cluster) ? { ...proto, ...outerForm(cluster) } : proto;
}

export function toClusterForm(cluster: Cluster, form: ClusterForm, transport: Transport): ClusterProto {
  return {
    name: form.name,
    type: "EDS",
    eds_cluster_config: { eds_config: toConfigSource(transport) },
    connect_timeout: toDuration(cluster.connectTimeoutMs),
    ...toLbPolicy(form.loadBalancing, cluster.slowStartMs),
    health_checks: toHealthChecks(cluster),
    circuit_breakers: toCircuitBreakers(cluster.circuitBreakers),
    ...(cluster.outlierDetection ? { outlier_detection: toOutlierDetection(cluster.outlierDetection) } : {}),
    common_lb_config: {
      healthy_panic_threshold: { value: 0 }, // Panic sends traffic to draining and unhealthy hosts.
      ...(form.isSplitByLocality ? { locality_weighted_lb_config: {} } : {}),
      update_merge_window: toDuration(0), // The default of 1 s lets an ejection come 1 s late.
      // Envoy's own are those without DRAINING: a session leaves an endpoint that drains.
      ...(keepsSessions(cluster) ? { override_host_status: { statuses: ["UNKNOWN", "HEALTHY", "DEGRADED", "DRAINING"] } } : {}),
    },
    ignore_health_on_host_removal: true, // Else a removed host goes on getting new traffic until its check fails.
    typed_extension_protocol_options: toProtocolOptions(cluster),
    ...(hasKillSwitch(cluster) ? killSwitch : {}),
  };
}

function toCircuitBreakers(limits: CircuitBreakers): CircuitBreakersProto {
  return {
    thresholds: [
      {
        priority: "DEFAULT",
        max_connections: { value: limits.maxConnections },
        max_pending_requests: { value: limits.maxPendingRequests },
        max_requests: { value: limits.maxRequests },
        max_retries: { value: limits.maxRetries },
      },
    ],
  };
}

function toOutlierDetection(outlier: OutlierDetection): OutlierDetectionProto {
  return {
    consecutive_5xx: { value: outlier.consecutive5xx },
    interval: toDuration(outlier.intervalMs),
    base_ejection_time: toDuration(outlier.baseEjectionTimeMs),
    max_ejection_percent: { value: outlier.maxEjectionPercent },
    enforcing_success_rate: { value: 0 }, // On by default; nobody asked for it.
    ...(outlier.consecutiveGatewayFailures === undefined
      ? {}
      : {
          consecutive_gateway_failure: { value: outlier.consecutiveGatewayFailures },
          enforcing_consecutive_gateway_failure: { value: 100 }, // The default of 0 counts and never ejects.
        }),
    max_ejection_time: toDuration(outlier.maxEjectionTimeMs),
    // Else a host that answers its check but fails requests is let in again by the next check, and stays.
    successful_active_health_check_uneject_host: { value: false },
  };
}

const http2Options = {
  "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": any("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", {
    explicit_http_config: { http2_protocol_options: {} },
  }),
};

/** HTTP/1.1 is Envoy's default, and L4 clusters take none. */
function toProtocolOptions(cluster: Cluster): NonNullable<ClusterProto["typed_extension_protocol_options"]> {
  return cluster.protocol === "http2" || cluster.protocol === "grpc" ? http2Options : {};
}
