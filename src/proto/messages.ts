// Our short names for the messages of Envoy that translate/ makes, so that a signature says `ClusterProto` and not the path of a
// generated file. Types only: nothing here exists at run time.
import type { Any } from "../../gen/google/protobuf/Any.js";
import type { Types } from "../../gen/types.js";

export type AnyProto = Any;
export type DurationProto = Types["google.protobuf.Duration"];

export type ClusterProto = Types["envoy.config.cluster.v3.Cluster"];
export type CircuitBreakersProto = Types["envoy.config.cluster.v3.CircuitBreakers"];
export type OutlierDetectionProto = Types["envoy.config.cluster.v3.OutlierDetection"];
export type HealthCheckProto = Types["envoy.config.core.v3.HealthCheck"];
export type ConfigSourceProto = Types["envoy.config.core.v3.ConfigSource"];
export type AddressProto = Types["envoy.config.core.v3.Address"];

export type ClusterLoadAssignmentProto = Types["envoy.config.endpoint.v3.ClusterLoadAssignment"];
export type LocalityLbEndpointsProto = Types["envoy.config.endpoint.v3.LocalityLbEndpoints"];
export type LbEndpointProto = Types["envoy.config.endpoint.v3.LbEndpoint"];

export type ListenerProto = Types["envoy.config.listener.v3.Listener"];
export type FilterChainProto = Types["envoy.config.listener.v3.FilterChain"];
export type TcpProxyProto = Types["envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"];
export type UdpProxyProto = Types["envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig"];
export type HttpConnectionManagerProto =
  Types["envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"];
export type HttpFilterProto = Types["envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"];

export type RouteConfigurationProto = Types["envoy.config.route.v3.RouteConfiguration"];
export type VirtualHostProto = Types["envoy.config.route.v3.VirtualHost"];
export type RouteProto = Types["envoy.config.route.v3.Route"];
export type RouteMatchProto = Types["envoy.config.route.v3.RouteMatch"];
export type RouteActionProto = Types["envoy.config.route.v3.RouteAction"];
export type RedirectActionProto = Types["envoy.config.route.v3.RedirectAction"];
export type HeaderMatcherProto = Types["envoy.config.route.v3.HeaderMatcher"];
export type QueryParameterMatcherProto = Types["envoy.config.route.v3.QueryParameterMatcher"];
export type CookieMatcherProto = Types["envoy.config.route.v3.CookieMatcher"];
export type HashPolicyProto = Types["envoy.config.route.v3.RouteAction.HashPolicy"];
export type RetryPolicyProto = Types["envoy.config.route.v3.RetryPolicy"];
export type StringMatcherProto = Types["envoy.type.matcher.v3.StringMatcher"];
