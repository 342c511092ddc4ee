// The one filter of an HTTP listener's one filter chain. Pure. Called by listener.ts.
// A change of anything here force-closes the listener's long connections: whatever may change is in the RouteConfiguration.
import type { HttpListener } from "../model/listener.js";
import type { HttpConnectionManagerProto } from "../proto/messages.js";
import { type Transport, toConfigSource } from "./config-source.js";
import { toDuration } from "./duration.js";
import { httpFilters } from "./http-filters.js";

/** A stream on which nothing moves is ended after an hour. The default of 5 min would cut idle WebSockets and slow answers. */
const streamIdleTimeoutMs = 3_600_000;
/** A client that is slow with its request's head can't hold a stream for an hour. */
const requestHeadersTimeoutMs = 60_000;

export function toHttpConnectionManager(listener: HttpListener, transport: Transport): HttpConnectionManagerProto {
  return {
    codec_type: "AUTO", // HTTP/1.1, or HTTP/2 by its preface.
    stat_prefix: listener.name,
    rds: { config_source: toConfigSource(transport), route_config_name: listener.name },
    http_filters: [...httpFilters],
    use_remote_address: { value: true }, // Clients are not trusted to say who they are.
    upgrade_configs: [{ upgrade_type: "websocket", enabled: { value: false } }], // Switched on by routes.
    xff_num_trusted_hops: listener.trustedHops,
    stream_idle_timeout: toDuration(streamIdleTimeoutMs),
    normalize_path: { value: true }, // `/a/../admin` is matched as `/admin`.
    common_http_protocol_options: { idle_timeout: toDuration(listener.idleTimeoutMs) },
    request_headers_timeout: toDuration(requestHeadersTimeoutMs),
  };
}
