// Endpoints → envoy.config.endpoint.v3.ClusterLoadAssignment. Pure. Called by resources.ts.
// EDS is where everything belongs that changes while connections are open: addresses, weights, draining, the split of L4 routes.
import type { Cluster } from "../model/cluster.js";
import { closesByHop, hasKillSwitch, keepsSessions } from "../model/drain-guarantee.js";
import { drainIn, type Endpoint, takesNew } from "../model/endpoint.js";
import type { Backend, TcpRoute, UdpRoute } from "../model/route.js";
import type { ClusterLoadAssignmentProto, LbEndpointProto, LocalityLbEndpointsProto } from "../proto/messages.js";
import { hasHops, type Transport } from "./config-source.js";
import { checkPort } from "./health-check.js";
import { outerEndpoint } from "./hop.js";
import { turned } from "./kill-switch.js";
import { splitClusterName } from "./names.js";

/** Localities are real ones; each weighs what its enabled endpoints weigh, which only gRPC clients look at. */
export function toAssignment(cluster: Cluster, endpoints: readonly Endpoint[], transport: Transport): ClusterLoadAssignmentProto {
  const isOuter = hasHops(transport) && closesByHop(cluster);
  const localities = groupBy(endpoints, (endpoint) => JSON.stringify([endpoint.priority, endpoint.region, endpoint.zone]));
  return {
    cluster_name: cluster.name,
    endpoints: localities.map((members) => ({
      locality: { region: members[0].region, zone: members[0].zone },
      lb_endpoints: toLbEndpoints(cluster, members, { isOuter }),
      load_balancing_weight: { value: enabledWeight(members) },
      priority: members[0].priority,
    })),
  };
}

/** One backend of a route with what its cluster holds. */
export interface SplitBackend {
  readonly backend: Backend;
  readonly cluster: Cluster;
  readonly endpoints: readonly Endpoint[];
}

/**
 * Each backend is a locality of a constant name, because an endpoint that changes its locality becomes another host, and Envoy
 * loses count of its connections. Real zones are therefore not told.
 */
export function toSplitAssignment(route: TcpRoute | UdpRoute, backends: readonly SplitBackend[]): ClusterLoadAssignmentProto {
  return {
    cluster_name: splitClusterName(route),
    endpoints: backends.flatMap((backend) => toSplitLocalities(route, backend)),
    // 140 % by default: with a third of a backend's endpoints down, its share would already shrink. So it holds until the last
    // one.
    policy: { overprovisioning_factor: { value: 100_000 } },
  };
}

function toSplitLocalities(
  { name: route }: TcpRoute | UdpRoute,
  { backend, cluster, endpoints }: SplitBackend,
): LocalityLbEndpointsProto[] {
  return groupBy(endpoints, (endpoint) => JSON.stringify([endpoint.priority])).map((members) => ({
    locality: { sub_zone: backend.cluster },
    lb_endpoints: toLbEndpoints(cluster, members, { route }),
    // Envoy refuses a weight of 0; a locality without one gets nothing, and its open connections go on.
    ...(backend.weight > 0 ? { load_balancing_weight: { value: backend.weight } } : {}),
    priority: members[0].priority,
  }));
}

/** `isOuter`: reached by way of the cluster's hop (hop.ts). `route`: whose own cluster this is. */
function toLbEndpoints(
  cluster: Cluster,
  endpoints: readonly Endpoint[],
  { isOuter = false, route }: { readonly isOuter?: boolean; readonly route?: string },
): LbEndpointProto[] {
  const port = checkPort(cluster);
  const canClose = hasKillSwitch(cluster);
  return endpoints.map((endpoint) => ({
    ...(isOuter ? outerEndpoint(endpoint, port) : directEndpoint(endpoint, port)),
    ...toHealthStatus(cluster, endpoint, route),
    ...(canClose && drainIn(endpoint, route)?.phase === "closing" ? turned : {}),
    load_balancing_weight: { value: endpoint.weight },
  }));
}

function directEndpoint(endpoint: Endpoint, port: number | undefined): LbEndpointProto {
  return {
    endpoint: {
      address: { socket_address: { address: endpoint.address, port_value: endpoint.port } },
      ...(port === undefined ? {} : { health_check_config: { port_value: port } }),
    },
  };
}

/** UNHEALTHY sends away the sessions that DRAINING lets stay; requests under way go on with either. */
function toHealthStatus(cluster: Cluster, endpoint: Endpoint, route: string | undefined): LbEndpointProto {
  if (takesNew(endpoint, route)) return {};
  return { health_status: keepsSessions(cluster) && drainIn(endpoint, route)?.phase === "closing" ? "UNHEALTHY" : "DRAINING" };
}

/** When none is enabled, the weight that they would have: it must be at least 1. */
function enabledWeight(endpoints: readonly Endpoint[]): number {
  const enabled = endpoints.filter((endpoint) => takesNew(endpoint));
  return (enabled.length > 0 ? enabled : endpoints).reduce((sum, endpoint) => sum + endpoint.weight, 0);
}

type Group = readonly [Endpoint, ...Endpoint[]];

/** Groups by key, sorted so that neither the order of rows nor of groups shows in the bytes. */
function groupBy(endpoints: readonly Endpoint[], keyOf: (endpoint: Endpoint) => string): Group[] {
  const groups = new Map<string, [Endpoint, ...Endpoint[]]>();
  for (const endpoint of [...endpoints].sort(compareEndpoints)) {
    const key = keyOf(endpoint);
    const group = groups.get(key);
    if (group) group.push(endpoint);
    else groups.set(key, [endpoint]);
  }
  return [...groups.values()];
}

function compareEndpoints(a: Endpoint, b: Endpoint): number {
  return (
    a.priority - b.priority ||
    compareText(a.region, b.region) ||
    compareText(a.zone, b.zone) ||
    compareText(a.address, b.address) ||
    a.port - b.port
  );
}

/** By code unit: the same on every machine, unlike localeCompare. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
