// The gRPC methods that we serve, by their paths: bytes in and bytes out. Requests are read by request.ts, responses were encoded once.
import type { ResourceType } from "../model/resource-type.js";

const discovery = (service: string, method: string) => `/envoy.service.${service}/${method}`;

/** ADS: all types on one stream. */
export const adsPaths = {
  sotw: discovery("discovery.v3.AggregatedDiscoveryService", "StreamAggregatedResources"),
  delta: discovery("discovery.v3.AggregatedDiscoveryService", "DeltaAggregatedResources"),
} as const;

function pathsOf(service: string, noun: string): { readonly sotw: string; readonly delta: string } {
  return { sotw: discovery(service, `Stream${noun}`), delta: discovery(service, `Delta${noun}`) };
}

/** type → the service for it alone. */
export const typePaths: Readonly<Record<ResourceType, { readonly sotw: string; readonly delta: string }>> = {
  cluster: pathsOf("cluster.v3.ClusterDiscoveryService", "Clusters"),
  endpoint: pathsOf("endpoint.v3.EndpointDiscoveryService", "Endpoints"),
  listener: pathsOf("listener.v3.ListenerDiscoveryService", "Listeners"),
  route: pathsOf("route.v3.RouteDiscoveryService", "Routes"),
};

export const loadReportPath = discovery("load_stats.v3.LoadReportingService", "StreamLoadStats");
export const metricsPath = discovery("metrics.v3.MetricsService", "StreamMetrics");
