// What tests read out of resources as they came over the wire. In: bytes. Out: names. Called by fake-envoy.ts.
import type { ResourceType } from "../../src/model/resource-type.js";
import { decode } from "../../src/proto/encode.js";

/** The resource's own name, as each type has it. */
export function nameIn(type: ResourceType, bytes: Buffer): string {
  switch (type) {
    case "cluster":
      return decode("envoy.config.cluster.v3.Cluster", bytes).name ?? "";
    case "endpoint":
      return decode("envoy.config.endpoint.v3.ClusterLoadAssignment", bytes).cluster_name ?? "";
    case "listener":
      return decode("envoy.config.listener.v3.Listener", bytes).name ?? "";
    case "route":
      return decode("envoy.config.route.v3.RouteConfiguration", bytes).name ?? "";
  }
}

/** The clusters that a TCP listener sends to. */
export function tcpClusters(proto: ReturnType<typeof decode<"envoy.config.listener.v3.Listener">>): string[] {
  return (proto.filter_chains ?? [])
    .flatMap((chain) => chain.filters ?? [])
    .flatMap(({ typed_config: config }) => {
      if (!config?.type_url?.endsWith("TcpProxy")) return [];
      const proxy = decode("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", Buffer.from(config.value));
      return proxy.cluster ? [proxy.cluster] : (proxy.weighted_clusters?.clusters ?? []).map((cluster) => cluster.name ?? "");
    });
}
