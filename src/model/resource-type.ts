// The four xDS resource types that Chancery serves, by our words. Their type URLs are in xds/type-urls.ts. Pure.

export const resourceTypes = ["cluster", "endpoint", "listener", "route"] as const;
/** `route` is a RouteConfiguration, `endpoint` a ClusterLoadAssignment. */
export type ResourceType = (typeof resourceTypes)[number];
