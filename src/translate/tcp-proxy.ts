// What happens to a TCP connection, of a tcp listener or of one SNI group of a tls listener. Pure. Called by listener.ts.
import type { Backend, TcpRoute } from "../model/route.js";
import type { TcpProxyProto } from "../proto/messages.js";
import { toDuration } from "./duration.js";
import { splitClusterName } from "./names.js";

/** An endpoint that refuses the connection is not the client's fault: another one is tried. */
const maxConnectAttempts = 3;

/** False only for a route that splits in the listener and whose weights are all 0: Envoy has no form for it. */
export function hasTcpProxy(route: TcpRoute): boolean {
  return route.split === "endpoints" || weighted(route.backends).length > 0;
}

export function toTcpProxy(route: TcpRoute): TcpProxyProto {
  return {
    stat_prefix: route.name,
    ...toTarget(route),
    idle_timeout: toDuration(route.idleTimeoutMs),
    max_connect_attempts: { value: maxConnectAttempts },
    hash_policy: route.hashOnSourceIp ? [{ source_ip: {} }] : [],
  };
}

/** `endpoints`: a constant name, and the weights in EDS. `listener`: the weights themselves, so that every shift drains. */
function toTarget(route: TcpRoute): TcpProxyProto {
  if (route.split === "endpoints") return { cluster: splitClusterName(route) };
  return {
    weighted_clusters: { clusters: weighted(route.backends).map(({ cluster, weight }) => ({ name: cluster, weight })) },
  };
}

function weighted(backends: readonly Backend[]): readonly Backend[] {
  return backends.filter((backend) => backend.weight > 0);
}
