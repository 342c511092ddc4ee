// The table of contents of translation: one function per xDS resource, model in, encoded bytes out. Pure. Called by snapshot/.
// Same state in, same bytes out, whatever the order in which rows came; each call encodes anew, and the caller keeps the bytes.
import type { Cluster } from "../model/cluster.js";
import { hopCheck } from "../model/drain-guarantee.js";
import type { Endpoint } from "../model/endpoint.js";
import type { HttpListener, Listener } from "../model/listener.js";
import { clustersOf, type HttpRoute, type Route, type TcpRoute, type UdpRoute } from "../model/route.js";
import { encode } from "../proto/encode.js";
import { toCluster } from "./cluster.js";
import type { Transport } from "./config-source.js";
import { type SplitBackend, toAssignment, toSplitAssignment } from "./endpoint.js";
import { toHopAssignment, toHopCluster } from "./hop.js";
import { toListener } from "./listener.js";
import { hopClusterName, splitClusterName } from "./names.js";
import { encodeRouteConfiguration, type HealthAnswer } from "./route-configuration.js";
import { toSplitCluster } from "./split-cluster.js";

/**
 * The form that translation emits, part of the desired state (DESIGN §6). Raise it with every change of bytes that would drain a
 * listener or orphan a cluster's connections on a running fleet.
 */
export const generation = 1;

/** A resource as xDS carries it. `bytes` is the message itself, without its Any. */
export interface Encoded {
  readonly name: string;
  readonly bytes: Buffer;
  /** Clusters that a listener or a RouteConfiguration names, at any weight; sorted, each once. Empty for others. */
  readonly clusters: readonly string[];
}

export function clusterResource(cluster: Cluster, transport: Transport): Encoded {
  return { name: cluster.name, bytes: encode("envoy.config.cluster.v3.Cluster", toCluster(cluster, transport)), clusters: [] };
}

/** The inner cluster of one that closes by a hop. */
export function hopClusterResource(cluster: Cluster, transport: Transport): Encoded {
  const proto = toHopCluster(cluster, transport);
  return { name: hopClusterName(cluster.name), bytes: encode("envoy.config.cluster.v3.Cluster", proto), clusters: [] };
}

/** What that holds: `leaving` are endpoints that have just gone. */
export function hopEndpointResource(
  cluster: Cluster,
  endpoints: readonly Endpoint[],
  leaving: readonly Endpoint[] = [],
): Encoded {
  const proto = toHopAssignment(cluster, endpoints, leaving);
  const name = hopClusterName(cluster.name);
  return { name, bytes: encode("envoy.config.endpoint.v3.ClusterLoadAssignment", proto), clusters: [] };
}

/** `clusters` are those of the route's backends, in the order stored; at least one. */
export function splitClusterResource(route: TcpRoute | UdpRoute, clusters: readonly Cluster[], transport: Transport): Encoded {
  const proto = toSplitCluster(route, clusters, transport);
  return { name: splitClusterName(route), bytes: encode("envoy.config.cluster.v3.Cluster", proto), clusters: [] };
}

/** The cluster's checks say to which port they go, and Envoy reads that from the endpoints. */
export function endpointResource(cluster: Cluster, endpoints: readonly Endpoint[], transport: Transport): Encoded {
  const proto = toAssignment(cluster, endpoints, transport);
  return { name: cluster.name, bytes: encode("envoy.config.endpoint.v3.ClusterLoadAssignment", proto), clusters: [] };
}

/** The backends of the route in the order stored, each with its cluster and what that holds. */
export function splitEndpointResource(route: TcpRoute | UdpRoute, backends: readonly SplitBackend[]): Encoded {
  const proto = toSplitAssignment(route, backends);
  return { name: splitClusterName(route), bytes: encode("envoy.config.endpoint.v3.ClusterLoadAssignment", proto), clusters: [] };
}

/** The answer to an Envoy that asks for the endpoints of a cluster that is not there: it would wait for ever. */
export function emptyEndpointResource(name: string): Encoded {
  return { name, bytes: encode("envoy.config.endpoint.v3.ClusterLoadAssignment", { cluster_name: name }), clusters: [] };
}

/** `routes` are those that name the listener. undefined: an L4 listener without a route, whose port stays closed. */
export function listenerResource(listener: Listener, routes: readonly Route[], transport: Transport): Encoded | undefined {
  const proto = toListener(listener, routes, transport);
  if (!proto) return undefined;
  const clusters = routes.flatMap((route) => clustersInListener(listener, route));
  return { name: listener.name, bytes: encode("envoy.config.listener.v3.Listener", proto), clusters: sortedNames(clusters) };
}

/** The name is the listener's. Without routes, one that answers 404; `health`: what it answers at the listener's `healthPath`. */
export function routeResource(listener: HttpListener, routes: readonly HttpRoute[], health: HealthAnswer = "passing"): Encoded {
  const clusters = sortedNames(routes.flatMap(clustersOf));
  return { name: listener.name, bytes: encodeRouteConfiguration(listener, routes, health), clusters };
}

/**
 * How long after the ack of its endpoints a cluster may still be warming, ms: the first round of its active checks, and a margin.
 * 0 without checks (DESIGN §8 "Ready").
 */
export function readyDelayMs(cluster: Cluster): number {
  if (cluster.healthChecks.length === 0) return 0;
  return Math.max(...cluster.healthChecks.map((check) => check.timeoutMs + check.initialJitterMs)) + 100;
}

/** The same of the inner cluster of a hop. */
export const hopReadyDelayMs = hopCheck.timeoutMs + 100;

/** What the listener itself names because of one route: nothing for HTTP, whose clusters are in the RouteConfiguration. */
function clustersInListener(listener: Listener, route: Route): readonly string[] {
  if (listener.protocol === "http" || route.protocol === "http") return [];
  return route.protocol === "tcp" && route.split === "listener" ? clustersOf(route) : [splitClusterName(route)];
}

function sortedNames(names: readonly string[]): readonly string[] {
  return [...new Set(names)].sort();
}
