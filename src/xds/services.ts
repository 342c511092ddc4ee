// The gRPC services that we serve, with bytes in and bytes out: requests are read by request.ts, responses were encoded once.
import type { ServiceDefinition } from "@grpc/grpc-js";
import type { ResourceType } from "../model/resource-type.js";

const same = (bytes: Buffer): Buffer => bytes;

function method(path: string, isResponseStream: boolean): ServiceDefinition[string] {
  return {
    path,
    requestStream: true,
    responseStream: isResponseStream,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
}

const discovery = (service: string, name: string) => `/envoy.service.${service}/${name}`;

/** Method name → its definition. ADS first; then one service per type. */
export const adsService: ServiceDefinition = {
  streamAggregatedResources: method(discovery("discovery.v3.AggregatedDiscoveryService", "StreamAggregatedResources"), true),
  deltaAggregatedResources: method(discovery("discovery.v3.AggregatedDiscoveryService", "DeltaAggregatedResources"), true),
};

/** type → the service for it alone: `stream` is state of the world, `delta` is delta. */
export const typeServices: Readonly<Record<ResourceType, ServiceDefinition>> = {
  cluster: typeService("cluster.v3.ClusterDiscoveryService", "Clusters"),
  endpoint: typeService("endpoint.v3.EndpointDiscoveryService", "Endpoints"),
  listener: typeService("listener.v3.ListenerDiscoveryService", "Listeners"),
  route: typeService("route.v3.RouteDiscoveryService", "Routes"),
};

function typeService(service: string, noun: string): ServiceDefinition {
  return { stream: method(discovery(service, `Stream${noun}`), true), delta: method(discovery(service, `Delta${noun}`), true) };
}

export const loadReportService: ServiceDefinition = {
  streamLoadStats: method(discovery("load_stats.v3.LoadReportingService", "StreamLoadStats"), true),
};

export const metricsService: ServiceDefinition = {
  streamMetrics: method(discovery("metrics.v3.MetricsService", "StreamMetrics"), false),
};
