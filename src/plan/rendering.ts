// A selection as one static bootstrap for the real Envoy. In: what to render, and the configuration that it is part of. Out: bytes,
// the same for the same content. Pure. Called by validate.ts.
import type { Cluster } from "../model/cluster.js";
import { closesByHop } from "../model/drain-guarantee.js";
import { backendsOf, type TcpRoute, type UdpRoute } from "../model/route.js";
import {
  clusterResource,
  endpointResource,
  hopClusterResource,
  hopEndpointResource,
  listenerResource,
  routeResource,
  splitClusterResource,
  splitEndpointResource,
} from "../translate/resources.js";
import { type StaticCluster, type StaticListener, toStaticBootstrap } from "../translate/static-bootstrap.js";
import type { Selection } from "./selection.js";
import type { StateAfter } from "./state-after.js";

/** All transports give the same verdict: they differ only in where a resource comes from, and that is cut out here. */
const transport = "ads-hop";

/** undefined: there is nothing to ask about. @throws InvalidMessage: it can't be translated, which is a fault of ours */
export function renderBootstrap(after: StateAfter, selection: Selection): Buffer | undefined {
  const clusters = [...selection.clusters].sort(byName).flatMap(([name, endpoints]): StaticCluster[] => {
    const cluster = after.cluster(name);
    if (!cluster) return [];
    const inner = closesByHop(cluster)
      ? [{ cluster: hopClusterResource(cluster, transport), endpoints: hopEndpointResource(cluster, endpoints) }]
      : [];
    const endpointsOf = endpointResource(cluster, endpoints, transport);
    return [{ cluster: clusterResource(cluster, transport), endpoints: endpointsOf }, ...inner];
  });
  const splits = [...selection.splits].sort(byName).flatMap(([, route]) => renderSplit(after, route) ?? []);
  const listeners = [...selection.listeners].sort(byName).flatMap(([name, routes]): StaticListener[] => {
    const listener = after.listener(name);
    const encoded = listener && listenerResource(listener, routes, transport);
    if (!encoded) return [];
    const http = routes.filter((route) => route.protocol === "http");
    return [{ listener: encoded, routes: listener.protocol === "http" ? routeResource(listener, http) : undefined }];
  });
  if (clusters.length + splits.length + listeners.length === 0) return undefined;
  return toStaticBootstrap([...clusters, ...splits], listeners);
}

function renderSplit(after: StateAfter, route: TcpRoute | UdpRoute): StaticCluster | undefined {
  const backends = backendsOf(route).flatMap((backend) => {
    const cluster: Cluster | undefined = after.cluster(backend.cluster);
    return cluster ? [{ backend, cluster, endpoints: after.endpointsOf(backend.cluster) }] : [];
  });
  if (backends.length === 0) return undefined;
  const clusters = backends.map(({ cluster }) => cluster);
  return {
    cluster: splitClusterResource(route, clusters, transport),
    endpoints: splitEndpointResource(route, backends),
  };
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
