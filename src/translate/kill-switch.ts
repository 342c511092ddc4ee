// The kill switch: how TCP connections of one endpoint are closed by EDS alone. The cluster has, beside its own socket, one that no
// backend can pass, plain or TLS: TLS with a certificate whose hash is all zeros. Metadata of an endpoint selects it for all that is new
// there, and a health check is; the check fails, and Envoy closes what is open (ADR 0022). Pure.
// Called by cluster.ts (the socket, which never changes) and endpoint.ts (the metadata).
import { any } from "../proto/encode.js";
import type { ClusterProto, LbEndpointProto } from "../proto/messages.js";

const selector = { fields: { chancery_close: { stringValue: "true" } } };

/** Envoy takes the first socket that matches, and the cluster's own when none does. */
export const killSwitch = {
  close_connections_on_host_health_failure: true,
  transport_socket_matches: [
    {
      name: "close",
      match: selector,
      transport_socket: {
        name: "envoy.transport_sockets.tls",
        typed_config: any("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", {
          common_tls_context: { validation_context: { verify_certificate_hash: ["00".repeat(32)] } },
          sni: "close.invalid",
        }),
      },
    },
  ],
} as const satisfies Pick<ClusterProto, "close_connections_on_host_health_failure"> & ClusterProto;

/** Turns it, for one endpoint. */
export const turned = {
  metadata: { filter_metadata: { "envoy.transport_socket_match": selector } },
} as const satisfies LbEndpointProto;
