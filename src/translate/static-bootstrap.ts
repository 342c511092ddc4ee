// Resources as one bootstrap that needs no control plane, so that `envoy --mode validate` can be asked about them: assignments are
// put into their clusters, RouteConfigurations into their listeners, and what is named and not given gets a placeholder. Pure.
// Bytes are spliced, not encoded again: a RouteConfiguration of 10,000 routes is never decoded. Called by plan/rendering.ts.
import { any, decode, encode } from "../proto/encode.js";
import type { ClusterProto, ListenerProto } from "../proto/messages.js";
import { bytesField, piecesField } from "../proto/wire.js";
import type { Encoded } from "./resources.js";

const managerType = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/** Numbers of the fields that are spliced in, from Envoy's .proto files. */
const fields = {
  clusterLoadAssignment: 33,
  managerRouteConfig: 4,
  staticListeners: 1,
  staticClusters: 2,
  bootstrapStaticResources: 2,
} as const;

/** A cluster, and what its endpoints come to. */
export interface StaticCluster {
  readonly cluster: Encoded;
  readonly endpoints: Encoded;
}

/** A listener, and, if it is an HTTP one, its RouteConfiguration. */
export interface StaticListener {
  readonly listener: Encoded;
  readonly routes: Encoded | undefined;
}

/** Bytes of an envoy.config.bootstrap.v3.Bootstrap, to be written to a file called `*.pb`. Each name at most once per list. */
export function toStaticBootstrap(clusters: readonly StaticCluster[], listeners: readonly StaticListener[]): Buffer {
  const given = new Set(clusters.map(({ cluster }) => cluster.name));
  const named = new Set(listeners.flatMap(({ listener, routes }) => [...listener.clusters, ...(routes?.clusters ?? [])]));
  const sockets = new Set<string>();
  const resources = [
    ...listeners.flatMap((one) => bytesField(fields.staticListeners, staticListener(one, sockets))),
    ...clusters.flatMap((one) => bytesField(fields.staticClusters, staticCluster(one))),
    ...[...named].filter((name) => !given.has(name)).flatMap((name) => bytesField(fields.staticClusters, placeholder(name))),
  ];
  return Buffer.concat([...piecesField(fields.bootstrapStaticResources, resources), internalListeners]);
}

/** Without it Envoy knows no internal addresses, which endpoints of clusters with a hop have. */
const internalListeners = encode("envoy.config.bootstrap.v3.Bootstrap", {
  bootstrap_extensions: [
    {
      name: "envoy.bootstrap.internal_listener",
      typed_config: any("envoy.extensions.bootstrap.internal_listener.v3.InternalListener", {}),
    },
  ],
});

/** A cluster that only has to be there: Envoy refuses a RouteConfiguration which names one that is not. */
function placeholder(name: string): Buffer {
  return encode("envoy.config.cluster.v3.Cluster", {
    name,
    type: "STATIC",
    connect_timeout: { seconds: "1" },
    load_assignment: { cluster_name: name },
  });
}

function staticCluster({ cluster, endpoints }: StaticCluster): Buffer {
  const { eds_cluster_config: _, ...rest }: ClusterProto = decode("envoy.config.cluster.v3.Cluster", cluster.bytes);
  const settings = encode("envoy.config.cluster.v3.Cluster", { ...rest, type: "STATIC" });
  return Buffer.concat([settings, ...bytesField(fields.clusterLoadAssignment, endpoints.bytes)]);
}

function staticListener({ listener, routes }: StaticListener, sockets: Set<string>): Buffer {
  const proto = withSocketOfItsOwn(decode("envoy.config.listener.v3.Listener", listener.bytes), sockets);
  return encode("envoy.config.listener.v3.Listener", routes ? withRoutes(proto, routes) : proto);
}

function withRoutes(listener: ListenerProto, routes: Encoded): ListenerProto {
  return {
    ...listener,
    filter_chains: (listener.filter_chains ?? []).map((chain) => ({
      ...chain,
      filters: (chain.filters ?? []).map((filter) => {
        if (!filter.typed_config?.type_url.endsWith(managerType)) return filter;
        const { rds: _, ...rest } = decode(managerType, filter.typed_config.value);
        const inline = bytesField(fields.managerRouteConfig, routes.bytes);
        return {
          ...filter,
          typed_config: { ...filter.typed_config, value: Buffer.concat([encode(managerType, rest), ...inline]) },
        };
      }),
    })),
  };
}

/** Listeners of two gateways may have one address; Envoy opens none of them here, and yet compares them. */
function withSocketOfItsOwn(listener: ListenerProto, sockets: Set<string>): ListenerProto {
  const socket = listener.address?.socket_address;
  if (!socket) return listener;
  const key = (port: number): string => `${socket.protocol ?? "TCP"} ${socket.address} ${port}`;
  let port = socket.port_value ?? 0;
  for (let tried = 0; sockets.has(key(port)) && tried < 65_535; tried++) port = (port % 65_535) + 1;
  sockets.add(key(port));
  return { ...listener, address: { socket_address: { ...socket, port_value: port } } };
}
