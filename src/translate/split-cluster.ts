// The cluster that a TCP or UDP route has for itself, in which each backend is a locality: adding a backend or shifting weights
// is then EDS only, and long connections survive (DESIGN §6). Pure. Called by resources.ts.
import assert from "node:assert";
import type { Cluster, LoadBalancing } from "../model/cluster.js";
import type { TcpRoute, UdpRoute } from "../model/route.js";
import type { ClusterProto } from "../proto/messages.js";
import { toClusterForm } from "./cluster.js";
import type { Transport } from "./config-source.js";
import { isHashing } from "./load-balancing.js";
import { splitClusterName } from "./names.js";

/** Hashing that a route asks for and its cluster does not do. 65,537 slots: a share is exact to 1 in 1,000 with 100 endpoints. */
const maglev: LoadBalancing = { policy: "maglev", tableSize: 65_537 };

/**
 * Everything but the name and the split is that of the first backend's cluster: backends of one route agree in health checks, and
 * the first is the stable one of a canary. `clusters` are those of the route's backends, in the order stored; at least one.
 */
export function toSplitCluster(route: TcpRoute | UdpRoute, clusters: readonly Cluster[], transport: Transport): ClusterProto {
  const [first] = clusters;
  assert(first, `route ${route.name} has no backend`);
  return toClusterForm(
    first,
    {
      name: splitClusterName(route),
      loadBalancing: route.hashOnSourceIp && !isHashing(first.loadBalancing) ? maglev : first.loadBalancing,
      isSplitByLocality: true,
    },
    transport,
  );
}
