// The type URLs of the resources that we serve, both ways.
import type { ResourceType } from "../model/resource-type.js";

const prefix = "type.googleapis.com/";

export const typeUrls: Readonly<Record<ResourceType, string>> = {
  cluster: `${prefix}envoy.config.cluster.v3.Cluster`,
  endpoint: `${prefix}envoy.config.endpoint.v3.ClusterLoadAssignment`,
  listener: `${prefix}envoy.config.listener.v3.Listener`,
  route: `${prefix}envoy.config.route.v3.RouteConfiguration`,
};

const types = new Map(Object.entries(typeUrls).map(([type, url]) => [url, type]));

/** Undefined for a type that we don't serve, e.g. secrets. */
export function typeOfUrl(url: string): ResourceType | undefined {
  switch (types.get(url)) {
    case "cluster":
      return "cluster";
    case "endpoint":
      return "endpoint";
    case "listener":
      return "listener";
    case "route":
      return "route";
    default:
      return undefined;
  }
}
