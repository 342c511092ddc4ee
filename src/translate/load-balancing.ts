// How a cluster chooses among its endpoints. Pure. Called by cluster.ts and split-cluster.ts.
import type { LoadBalancing } from "../model/cluster.js";
import type { ClusterProto } from "../proto/messages.js";
import { toDuration } from "./duration.js";
import { unreachable } from "./unreachable.js";

/** `lb_policy` and the configuration that goes with it. `slowStartMs` 0: none; other policies have none. */
export function toLbPolicy(loadBalancing: LoadBalancing, slowStartMs: number): Pick<ClusterProto, "lb_policy"> & ClusterProto {
  const slowStart = slowStartMs > 0 ? { slow_start_config: { slow_start_window: toDuration(slowStartMs) } } : undefined;
  switch (loadBalancing.policy) {
    case "round-robin":
      return { lb_policy: "ROUND_ROBIN", ...(slowStart ? { round_robin_lb_config: slowStart } : {}) };
    case "least-request":
      return {
        lb_policy: "LEAST_REQUEST",
        least_request_lb_config: { choice_count: { value: loadBalancing.choiceCount }, ...slowStart },
      };
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
