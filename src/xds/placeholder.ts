// State of the world has no way to say that a name does not exist, and Envoy waits for it: it gets an empty one.
// Measured: an RDS or EDS name without an answer keeps the whole Envoy from going live (envoy-risks §7).
import type { ResourceType } from "../model/resource-type.js";
import { encode } from "../proto/encode.js";
import { hashOf, type Resource } from "../snapshot/resource.js";

/** An empty assignment, or a RouteConfiguration that answers 503; undefined for listed types, where absence says it. */
export function placeholder(type: ResourceType, name: string): Resource | undefined {
  const bytes = encodePlaceholder(type, name);
  if (!bytes) return undefined;
  const hash = hashOf(bytes);
  return { name, hash, version: `${hash}.0`, bytes, revision: 0, clusters: [], parts: undefined, health: undefined };
}

function encodePlaceholder(type: ResourceType, name: string): Buffer | undefined {
  switch (type) {
    case "endpoint":
      return encode("envoy.config.endpoint.v3.ClusterLoadAssignment", { cluster_name: name });
    case "route":
      return encode("envoy.config.route.v3.RouteConfiguration", {
        name,
        virtual_hosts: [{ name: "none", domains: ["*"], routes: [{ match: { prefix: "/" }, direct_response: { status: 503 } }] }],
      });
    case "cluster":
    case "listener":
      return undefined;
  }
}
