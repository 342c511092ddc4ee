// The hop: how what is open over HTTP on one endpoint is closed by EDS alone (ADR 0029). A cluster that asks for it (closesByHop) has an
// inner one beside it, `hop/<cluster>`, with the same endpoints and the kill switch. The outer one's endpoints are internal addresses: a
// connection to one goes to the listener `chancery/hop` of the bootstrap, whose TCP proxy takes it on to the inner cluster's endpoint
// of the same key. What closes is the inner connection, which is TCP whatever is spoken through it.
// Pure. Called by resources.ts and static-bootstrap.ts; only Envoys whose bootstrap has the listener get any of this.
import type { Cluster } from "../model/cluster.js";
import { hopCheck } from "../model/drain-guarantee.js";
import { addressKey, drainIn, type Endpoint } from "../model/endpoint.js";
import { any } from "../proto/encode.js";
import type { ClusterLoadAssignmentProto, ClusterProto, LbEndpointProto } from "../proto/messages.js";
import { type Transport, toConfigSource } from "./config-source.js";
import { toDuration } from "./duration.js";
import { killSwitch, turned } from "./kill-switch.js";
import { hopClusterName, hopListener, hopMetadata } from "./names.js";

/** The connection pool's own limits are the outer cluster's; here none may be met first. */
const unlimited = { value: 4_294_967_295 };

/** The inner cluster. Its check is its own: one that users choose may fail while requests are to go on. */
export function toHopCluster(cluster: Cluster, transport: Transport): ClusterProto {
  return {
    name: hopClusterName(cluster.name),
    type: "EDS",
    eds_cluster_config: { eds_config: toConfigSource(transport) },
    connect_timeout: toDuration(cluster.connectTimeoutMs),
    health_checks: [
      {
        timeout: toDuration(hopCheck.timeoutMs),
        interval: toDuration(hopCheck.intervalMs),
        unhealthy_threshold: { value: hopCheck.unhealthyThreshold },
        healthy_threshold: { value: 1 },
        reuse_connection: { value: false }, // One that keeps its connection never meets the socket that makes it fail.
        tcp_health_check: {},
        no_traffic_interval: toDuration(hopCheck.intervalMs),
      },
    ],
    circuit_breakers: {
      thresholds: [{ priority: "DEFAULT", max_connections: unlimited, max_pending_requests: unlimited, max_requests: unlimited }],
    },
    // One endpoint or none, whatever its health: which one is served, the outer cluster has decided.
    lb_subset_config: {
      fallback_policy: "NO_FALLBACK",
      subset_selectors: [{ keys: [endpointKey], fallback_policy: "NO_FALLBACK", single_host_per_subset: true }],
    },
    common_lb_config: { update_merge_window: toDuration(0) },
    ignore_health_on_host_removal: true,
    ...killSwitch,
  };
}

const endpointKey = "endpoint";

/** What makes a cluster the outer one: its socket tells the hop's listener which inner cluster is meant, and which endpoint of it. */
export function outerForm(cluster: Cluster): Pick<ClusterProto, "transport_socket" | "metadata"> {
  return {
    transport_socket: {
      name: "envoy.transport_sockets.internal_upstream",
      typed_config: any("envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport", {
        passthrough_metadata: [
          { kind: { cluster: {} }, name: hopMetadata },
          { kind: { host: {} }, name: "envoy.lb" },
        ],
        transport_socket: {
          name: "envoy.transport_sockets.raw_buffer",
          typed_config: any("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", {}),
        },
      }),
    },
    metadata: {
      filter_metadata: { [hopMetadata]: { fields: { cluster: { stringValue: hopClusterName(cluster.name) } } } },
    },
  };
}

/** Checks go to the real address: through the hop they would fail always. */
export function outerEndpoint(endpoint: Endpoint, checkPort: number | undefined): LbEndpointProto {
  const key = addressKey(endpoint);
  return {
    endpoint: {
      address: { envoy_internal_address: { server_listener_name: hopListener, endpoint_id: key } },
      health_check_config: {
        address: { socket_address: { address: endpoint.address, port_value: checkPort ?? endpoint.port } },
      },
    },
    metadata: { filter_metadata: { "envoy.lb": keyMetadata(key) } },
  };
}

/**
 * `leaving`: endpoints that are gone, and stay here for a grace, because an Envoy may learn of the inner cluster's change first. Keys that
 * `endpoints` has too are left out.
 */
export function toHopAssignment(
  cluster: Cluster,
  endpoints: readonly Endpoint[],
  leaving: readonly Endpoint[],
): ClusterLoadAssignmentProto {
  const byKey = new Map([...leaving, ...endpoints].map((endpoint) => [addressKey(endpoint), endpoint]));
  const sorted = [...byKey].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    cluster_name: hopClusterName(cluster.name),
    endpoints: sorted.length === 0 ? [] : [{ lb_endpoints: sorted.map(([key, endpoint]) => innerEndpoint(key, endpoint)) }],
  };
}

function innerEndpoint(key: string, endpoint: Endpoint): LbEndpointProto {
  return {
    endpoint: { address: { socket_address: { address: endpoint.address, port_value: endpoint.port } } },
    metadata: {
      filter_metadata: {
        "envoy.lb": keyMetadata(key),
        ...(drainIn(endpoint)?.phase === "closing" ? turned.metadata.filter_metadata : {}),
      },
    },
  };
}

function keyMetadata(key: string) {
  return { fields: { [endpointKey]: { stringValue: key } } };
}
