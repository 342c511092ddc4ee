// Make before break, as data: the order in which the types of one stream are sent.
// https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol (eventual consistency considerations)
import type { ResourceType } from "../model/resource-type.js";

export const pushOrder: readonly ResourceType[] = [
  "cluster", // Added and changed ones. A removal is in here too, but only a grace after the last route that named it was acked.
  "endpoint", // Again after every cluster change: without it Envoy warms the cluster for ever (envoy-risks §7, measured).
  "listener", // Removals in the same response as additions: an address may move from one listener to another.
  "route", // Last: what a route names must be there. Routes that name a cluster which is not, wait one by one.
];
