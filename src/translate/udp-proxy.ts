// What happens to a datagram. Pure. Called by listener.ts.
import type { UdpRoute } from "../model/route.js";
import { any } from "../proto/encode.js";
import type { UdpProxyProto } from "../proto/messages.js";
import { toDuration } from "./duration.js";
import { splitClusterName } from "./names.js";

export function toUdpProxy(route: UdpRoute, maxDatagramBytes: number): UdpProxyProto {
  const target = any("envoy.extensions.filters.udp.udp_proxy.v3.Route", { cluster: splitClusterName(route) });
  return {
    stat_prefix: route.name,
    idle_timeout: toDuration(route.idleTimeoutMs),
    hash_policies: route.hashOnSourceIp ? [{ source_ip: true }] : [],
    upstream_socket_config: { max_rx_datagram_size: { value: maxDatagramBytes } },
    // `cluster` by itself is deprecated.
    matcher: { on_no_match: { action: { name: "route", typed_config: target } } },
  };
}
