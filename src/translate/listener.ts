// Listener with its routes → envoy.config.listener.v3.Listener. Pure. Called by resources.ts. L4 or L7 is decided here and
// nowhere below. Listeners stay still: what is not in a route, and what is in an HTTP route, never shows here.
import type { HttpListener, Listener, TcpListener, TlsListener, UdpListener } from "../model/listener.js";
import type { HttpRoute, Route, TcpRoute, UdpRoute } from "../model/route.js";
import { any } from "../proto/encode.js";
import type { AddressProto, FilterChainProto, ListenerProto } from "../proto/messages.js";
import type { Transport } from "./config-source.js";
import { toHttpConnectionManager } from "./http-connection-manager.js";
import { hasTcpProxy, toTcpProxy } from "./tcp-proxy.js";
import { toUdpProxy } from "./udp-proxy.js";
import { unreachable } from "./unreachable.js";

/** Largest UDP datagram that a listener takes in; longer ones are cut off by Envoy's default of 1,500. */
const maxDatagramBytes = 9_000;

/**
 * undefined: nothing to open. An L4 listener without a route has no form in Envoy, so its port stays closed, and clients are
 * refused at once; an HTTP listener is open and answers 404. `routes` are those that name the listener, in any order.
 */
export function toListener(listener: Listener, routes: readonly Route[], transport: Transport): ListenerProto | undefined {
  switch (listener.protocol) {
    case "http":
      return toHttpListener(listener, transport);
    case "tcp":
      return toTcpListener(listener, tcpRoutes(routes));
    case "tls":
      return toTlsListener(listener, tcpRoutes(routes));
    case "udp":
      return toUdpListener(listener, routes.filter((route): route is UdpRoute => route.protocol === "udp").sort(byName));
    default:
      return unreachable(listener);
  }
}

function toHttpListener(listener: HttpListener, transport: Transport): ListenerProto {
  const manager = any(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    toHttpConnectionManager(listener, transport),
  );
  return {
    name: listener.name,
    address: toAddress(listener, "TCP"),
    filter_chains: [
      { filters: [{ name: "envoy.filters.network.http_connection_manager", typed_config: manager }], name: "http" },
    ],
  };
}

/**
 * One route has a raw port. The API holds to that; of several, the first by name counts, so that one fault does not close the
 * port.
 */
function toTcpListener(listener: TcpListener, routes: readonly TcpRoute[]): ListenerProto | undefined {
  const [route] = routes;
  if (!route) return undefined;
  return {
    name: listener.name,
    address: toAddress(listener, "TCP"),
    filter_chains: [toTcpFilterChain(route)],
  };
}

/**
 * A chain for each route, and in the order of names: a new route leaves the other chains' bytes, and so their connections,
 * alone.
 */
function toTlsListener(listener: TlsListener, routes: readonly TcpRoute[]): ListenerProto | undefined {
  const chains = withDistinctNames(routes).map(({ route, sni }) => ({
    filter_chain_match: { server_names: [...sni].sort(), transport_protocol: "tls" },
    ...toTcpFilterChain(route),
  }));
  if (chains.length === 0) return undefined;
  return {
    name: listener.name,
    address: toAddress(listener, "TCP"),
    filter_chains: chains,
    listener_filters: [
      {
        name: "envoy.filters.listener.tls_inspector",
        typed_config: any("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", {}),
      },
    ],
  };
}

interface SniGroup {
  readonly route: TcpRoute;
  /** Empty: every name that no other group has. */
  readonly sni: readonly string[];
}

/**
 * Envoy refuses a whole listener in which two chains match the same name. The API keeps names apart; should two routes share one
 * all the same, the first by name has it, and a route that is left with none is left out.
 */
function withDistinctNames(routes: readonly TcpRoute[]): SniGroup[] {
  const taken = new Set<string>();
  return routes.flatMap((route) => {
    const wanted = route.sni.length > 0 ? route.sni : [""];
    const free = wanted.filter((name) => !taken.has(name));
    for (const name of free) taken.add(name);
    return free.length > 0 ? [{ route, sni: free.filter((name) => name !== "") }] : [];
  });
}

function toTcpFilterChain(route: TcpRoute): FilterChainProto {
  const proxy = any("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", toTcpProxy(route));
  return { filters: [{ name: "envoy.filters.network.tcp_proxy", typed_config: proxy }], name: route.name };
}

/** Like TCP: one route, the first by name. */
function toUdpListener(listener: UdpListener, routes: readonly UdpRoute[]): ListenerProto | undefined {
  const [route] = routes;
  if (!route) return undefined;
  return {
    name: listener.name,
    address: toAddress(listener, "UDP"),
    listener_filters: [
      {
        name: "envoy.filters.udp_listener.udp_proxy",
        typed_config: any("envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig", toUdpProxy(route, maxDatagramBytes)),
      },
    ],
    udp_listener_config: { downstream_socket_config: { max_rx_datagram_size: { value: maxDatagramBytes } } },
  };
}

function tcpRoutes(routes: readonly Route[]): TcpRoute[] {
  return routes.filter((route): route is TcpRoute => route.protocol === "tcp" && hasTcpProxy(route)).sort(byName);
}

/** By code unit: the same on every machine, unlike localeCompare. */
function byName(a: Exclude<Route, HttpRoute>, b: Exclude<Route, HttpRoute>): number {
  return a.name < b.name ? -1 : 1;
}

function toAddress(listener: Listener, protocol: "TCP" | "UDP"): AddressProto {
  return { socket_address: { protocol, address: listener.address, port_value: listener.port } };
}
