// Where a resource tells Envoy to fetch another one: on its ADS stream, or from the separate services. Pure.

import { controlPlaneCluster } from "../model/node.js";
import type { ConfigSourceProto } from "../proto/messages.js";
import { toDuration } from "./duration.js";

/**
 * How the node that reads the resource is connected: ADS (delta or not), or one stream per type. `ads-hop`: ADS, and its bootstrap has
 * the listener for hops (hop.ts); on the separate services no order holds, so there are none.
 */
export type Transport = "ads" | "ads-hop" | "delta" | "sotw";

export function hasHops(transport: Transport): boolean {
  return transport === "ads-hop";
}

export function toConfigSource(transport: Transport): ConfigSourceProto {
  return transport === "ads" || transport === "ads-hop" ? { ads: {}, ...always } : { ...toApiConfigSource(transport), ...always };
}

const always = {
  resource_api_version: "V3",
  // Never: the default of 15 s lets an Envoy go live without what it waits for. Every name that it asks for is answered (DESIGN
  // §8).
  initial_fetch_timeout: toDuration(0),
} satisfies ConfigSourceProto;

function toApiConfigSource(transport: "delta" | "sotw"): ConfigSourceProto {
  return {
    api_config_source: {
      api_type: transport === "delta" ? "DELTA_GRPC" : "GRPC",
      transport_api_version: "V3",
      set_node_on_first_message_only: true, // The Node message is 61 KB.
      grpc_services: [
        {
          envoy_grpc: {
            cluster_name: controlPlaneCluster,
            // The default waits up to 10 s after the control plane is back; this one 0.26 s.
            retry_policy: { retry_back_off: { base_interval: toDuration(100), max_interval: toDuration(1000) } },
          },
        },
      ],
    },
  };
}
