// How a cluster chooses among its endpoints. Pure. Called by cluster.ts and split-cluster.ts.
import type { LoadBalancing } from "../model/cluster.js";
import type { ClusterProto } from "../proto/messages.js";
import { unreachable } from "./unreachable.js";

/** `lb_policy` and the configuration that goes with it. */
export function toLbPolicy(loadBalancing: LoadBalancing): Pick<ClusterProto, "lb_policy"> & ClusterProto {
  switch (loadBalancing.policy) {
    case "round-robin":
      return { lb_policy: "ROUND_ROBIN" };
    case "least-request":
      return { lb_policy: "LEAST_REQUEST", least_request_lb_config: { choice_count: { value: loadBalancing.choiceCount } } };
    case "random":
      return { lb_policy: "RANDOM" };
    case "ring-hash":
      return {
        lb_policy: "RING_HASH",
        ring_hash_lb_config: {
          minimum_ring_size: { value: loadBalancing.minimumRingSize },
          maximum_ring_size: { value: loadBalancing.maximumRingSize },
        },
      };
    case "maglev":
      return { lb_policy: "MAGLEV", maglev_lb_config: { table_size: { value: loadBalancing.tableSize } } };
    default:
      return unreachable(loadBalancing);
  }
}

/** Only these two look at the hash of a request or connection. */
export function isHashing(loadBalancing: LoadBalancing): boolean {
  return loadBalancing.policy === "ring-hash" || loadBalancing.policy === "maglev";
}
