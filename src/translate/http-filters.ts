// The HTTP filters of every HTTP listener: one constant list, because any change inside the connection manager force-closes the
// listener's long connections after the drain time (DESIGN §6). All but the router are off; a route switches one on by
// `typed_per_filter_config` under the filter's name, which is RDS and drains nothing. Pure. Called by listener.ts; names by
// route.ts.

import { controlPlaneCluster } from "../model/node.js";
import { any } from "../proto/encode.js";
import type { AnyProto, HttpFilterProto } from "../proto/messages.js";

/** Our word → Envoy's name of the filter, which is its key in `typed_per_filter_config`. */
export const httpFilterNames = {
  healthCheck: "envoy.filters.http.health_check",
  statefulSession: "envoy.filters.http.stateful_session",
  cors: "envoy.filters.http.cors",
  jwtAuthn: "envoy.filters.http.jwt_authn",
  extAuthz: "envoy.filters.http.ext_authz",
  localRateLimit: "envoy.filters.http.local_ratelimit",
  fault: "envoy.filters.http.fault",
  compressor: "envoy.filters.http.compressor",
  router: "envoy.filters.http.router",
} as const;

/**
 * The smallest configuration that Envoy accepts of each, in the order in which a request meets them. Changing it is a new
 * generation.
 */
export const httpFilters: readonly HttpFilterProto[] = [
  off("healthCheck", any("envoy.extensions.filters.http.health_check.v3.HealthCheck", { pass_through_mode: { value: false } })),
  off("statefulSession", any("envoy.extensions.filters.http.stateful_session.v3.StatefulSession", {})),
  off("cors", any("envoy.extensions.filters.http.cors.v3.Cors", {})),
  off("jwtAuthn", any("envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", {})),
  off(
    "extAuthz",
    any("envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", {
      // Never asked: a route names its own service. Without any, Envoy accepts the filter, and aborts at the first request that
      // meets it.
      grpc_service: { envoy_grpc: { cluster_name: controlPlaneCluster } },
      transport_api_version: "V3",
    }),
  ),
  off(
    "localRateLimit",
    any("envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit", { stat_prefix: "local_rate_limit" }),
  ),
  off("fault", any("envoy.extensions.filters.http.fault.v3.HTTPFault", {})),
  off(
    "compressor",
    any("envoy.extensions.filters.http.compressor.v3.Compressor", {
      compressor_library: { name: "gzip", typed_config: any("envoy.extensions.compression.gzip.compressor.v3.Gzip", {}) },
    }),
  ),
  { name: httpFilterNames.router, typed_config: any("envoy.extensions.filters.http.router.v3.Router", {}) },
];

function off(filter: keyof typeof httpFilterNames, config: AnyProto): HttpFilterProto {
  return { name: httpFilterNames[filter], typed_config: config, disabled: true };
}
