// Every name that translation invents. Names of users hold no `/` (DESIGN §5), so these never clash with theirs. Pure.
import type { TcpRoute, UdpRoute } from "../model/route.js";

/** The static cluster of the bootstrap through which an Envoy reaches the control plane. */
export const controlPlaneCluster = "chancery";

/** The cluster that a TCP or UDP route has for itself: `tcp/<route>` or `udp/<route>`. */
export function splitClusterName(route: TcpRoute | UdpRoute): string {
  return `${route.protocol}/${route.name}`;
}

/** The route whose own cluster it is, if it still exists; undefined for a cluster of a user's. */
export function splitRouteName(clusterName: string): string | undefined {
  const isSplit = clusterName.startsWith("tcp/") || clusterName.startsWith("udp/");
  return isSplit ? clusterName.slice("tcp/".length) : undefined;
}
