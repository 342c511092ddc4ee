// Fields of newer Envoys that the pinned proto tree lacks: full type name → field name → number and type. Numbers are those in
// the descriptors of Envoy 1.40's own binary (test/envoy/protos.envoy.test.ts compares them). The build fails once the tree has
// one of them.
export const overlay = {
  "envoy.config.core.v3.HealthCheck": {
    name: { id: 27, type: "string" },
  },
  "envoy.config.route.v3.RouteMatch": {
    cookies: { id: 17, type: "envoy.config.route.v3.CookieMatcher", rule: "repeated" },
  },
  "envoy.config.route.v3.WeightedCluster": {
    use_hash_policy: { id: 5, type: "google.protobuf.BoolValue", oneof: "random_value_specifier" },
  },
  // Which service a route asks: the filter in the listener is constant and names none that is ever asked.
  "envoy.extensions.filters.http.ext_authz.v3.CheckSettings": {
    grpc_service: { id: 4, type: "envoy.config.core.v3.GrpcService" },
    http_service: { id: 5, type: "envoy.extensions.filters.http.ext_authz.v3.HttpService" },
  },
};
