// Every name that translation invents. Names of users hold no `/` (DESIGN §5), so these never clash with theirs. Pure.
import type { TcpRoute, UdpRoute } from "../model/route.js";

/** Of every RouteConfiguration whose listener has a health check, the route that answers it. */
export const healthRoute = "chancery/health";

/** The internal listener of the bootstrap through which connections to the endpoints of a cluster with a hop go on (hop.ts). */
export const hopListener = "chancery/hop";

/** Where the outer cluster's metadata names the inner one, for that listener. */
export const hopMetadata = "chancery.hop";

/** The inner cluster of a cluster with a hop: `hop/<cluster>`. */
export function hopClusterName(cluster: string): string {
  return `hop/${cluster}`;
}

/** The user's cluster whose inner one it is; undefined for all others. */
export function hopOwner(clusterName: string): string | undefined {
  return clusterName.startsWith("hop/") ? clusterName.slice("hop/".length) : undefined;
}

/** The cluster that a TCP or UDP route has for itself: `tcp/<route>` or `udp/<route>`. */
export function splitClusterName(route: Pick<TcpRoute | UdpRoute, "protocol" | "name">): string {
  return `${route.protocol}/${route.name}`;
}

/** The route whose own cluster it is, if it still exists; undefined for a cluster of a user's. */
export function splitRouteName(clusterName: string): string | undefined {
  const isSplit = clusterName.startsWith("tcp/") || clusterName.startsWith("udp/");
  return isSplit ? clusterName.slice("tcp/".length) : undefined;
}
