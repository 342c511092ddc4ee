// The configuration that an Envoy starts with: who it is, and where its control planes are. Pure: options in, message out.
// Called by `chancery bootstrap`, by the demo and by tests. Everything else comes to the Envoy over xDS.
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/bootstrap/v3/bootstrap.proto

/** Where something listens. */
export interface HostPort {
  /** IPv4, IPv6 without brackets, or a name that the Envoy resolves. */
  readonly host: string;
  readonly port: number;
}

/** Who the Envoy is, where its control planes are, and how it talks to them. */
export interface BootstrapOptions {
  /** `node.id`: unique within the fleet. */
  readonly node: string;
  /** `node.cluster`: the gateway whose listeners it opens. */
  readonly gateway: string;
  /** At least one. Each stream goes to one of them, and to another when that one is gone. */
  readonly controlPlanes: readonly HostPort[];
  /** Envoy's own admin page; port 0 lets it choose. Default 127.0.0.1:9901. */
  readonly admin?: HostPort;
  readonly region?: string;
  readonly zone?: string;
  /** ads (default): all types on one stream, so that their order holds. separate: one stream for each type; order is best effort. */
  readonly services?: "ads" | "separate";
  /** false (default): delta, only what changed. true: state of the world, every name each time. */
  readonly stateOfTheWorld?: boolean;
  /** few (default): what operators and drains need. all: every statistic, about five times the bytes each second. */
  readonly statistics?: "few" | "all";
  /** Open client connections over all listeners; further ones are closed at once. Default 50,000. */
  readonly maxConnections?: number;
}

/** The static cluster of the bootstrap through which an Envoy reaches its control planes. Resources that we send name it too. */
export const controlPlaneCluster = "chancery";

/** As a JSON-like value, ready for YAML or JSON. */
export type Bootstrap = ReturnType<typeof toBootstrap>;

// Envoy's default back-off left it without configuration for 10 s after an outage of 10 s; so it was back after 0.3 s.
const quickRetry = { retry_back_off: { base_interval: "0.1s", max_interval: "1s" } };
const controlPlaneService = { envoy_grpc: { cluster_name: controlPlaneCluster, retry_policy: quickRetry } };
const type = (name: string) => `type.googleapis.com/${name}`;

/** Statistics that are kept with `few`. Without a matcher an Envoy sends 27 kB each second to the control plane. */
const fewStatistics = [
  {
    safe_regex: { regex: "cluster\\..+\\.(upstream_(cx|rq)_(active|total)|upstream_rq_(pending_active|[1-5]xx|retry|timeout))" },
  },
  {
    safe_regex: {
      regex:
        "cluster\\..+\\.(upstream_cx_connect_fail|membership_(change|healthy|total|degraded)|outlier_detection\\.ejections_active)",
    },
  },
  { safe_regex: { regex: "(http|tcp|listener)\\..+\\.downstream_(cx|rq)_(active|total|[1-5]xx)" } },
  {
    safe_regex: {
      regex: "(cluster_manager|listener_manager)\\..*(active|warming|draining|update_success|update_rejected|create_failure).*",
    },
  },
  { safe_regex: { regex: "(cluster|http)\\..+\\.update_(success|rejected)" } },
  { prefix: "control_plane." },
  { prefix: "server." },
];

/** 10.0.0.7 or fd00::7, as opposed to a name. */
function isIpAddress(host: string): boolean {
  return /^\d+\.\d+\.\d+\.\d+$/.test(host) || host.includes(":");
}

function socketAddress({ host, port }: HostPort) {
  return { socket_address: { address: host, port_value: port } };
}

function controlPlanes(options: BootstrapOptions) {
  const allAddresses = options.controlPlanes.every(({ host }) => isIpAddress(host));
  return {
    name: controlPlaneCluster,
    // Envoy prefers IPv6 unless told: `localhost` then never connects to a control plane on IPv4.
    ...(allAddresses ? { type: "STATIC" } : { type: "STRICT_DNS", dns_lookup_family: "V4_PREFERRED" }),
    connect_timeout: "1s",
    lb_policy: "ROUND_ROBIN",
    load_assignment: {
      cluster_name: controlPlaneCluster,
      endpoints: [{ lb_endpoints: options.controlPlanes.map((at) => ({ endpoint: { address: socketAddress(at) } })) }],
    },
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": type("envoy.extensions.upstreams.http.v3.HttpProtocolOptions"),
        // A control plane that hangs without closing its connection is left after 8 s at most.
        explicit_http_config: { http2_protocol_options: { connection_keepalive: { interval: "5s", timeout: "3s" } } },
      },
    },
  };
}

/** The Node message is 61 kB (it lists 516 extensions): once a stream is enough. */
function streamSource(options: BootstrapOptions) {
  return {
    api_type: options.stateOfTheWorld ? "GRPC" : "DELTA_GRPC",
    transport_api_version: "V3",
    grpc_services: [controlPlaneService],
    set_node_on_first_message_only: true,
  };
}

/** `initial_fetch_timeout: 0s`: an Envoy that starts while its control planes are away waits, and never goes live empty. */
function dynamicResources(options: BootstrapOptions) {
  const common = { initial_fetch_timeout: "0s", resource_api_version: "V3" };
  if (options.services === "separate") {
    const source = { api_config_source: streamSource(options), ...common };
    return { lds_config: source, cds_config: source };
  }
  return { lds_config: { ads: {}, ...common }, cds_config: { ads: {}, ...common }, ads_config: streamSource(options) };
}

function metricsSink() {
  return {
    name: "envoy.stat_sinks.metrics_service",
    typed_config: {
      "@type": type("envoy.config.metrics.v3.MetricsServiceConfig"),
      grpc_service: controlPlaneService,
      transport_api_version: "V3",
      report_counters_as_deltas: true,
      emit_tags_as_labels: true,
    },
  };
}

function connectionLimit(maxConnections: number) {
  return {
    name: "envoy.resource_monitors.global_downstream_max_connections",
    typed_config: {
      "@type": type("envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"),
      max_active_downstream_connections: maxConnections,
    },
  };
}

/**
 * Through which connections to endpoints of clusters with a hop go on: to the cluster, and to the endpoint in it, that the connection's
 * metadata name (docs/adr/0029). No port is opened. It is constant, so no change of listeners ever closes what goes through it.
 */
function hopListener() {
  const clusterName = { text_format_source: { inline_string: "%DYNAMIC_METADATA(chancery.hop:cluster)%" } };
  return {
    name: "chancery/hop",
    internal_listener: {},
    filter_chains: [
      {
        filters: [
          {
            name: "envoy.filters.network.set_filter_state",
            typed_config: {
              "@type": type("envoy.extensions.filters.network.set_filter_state.v3.Config"),
              on_new_connection: [{ object_key: "envoy.tcp_proxy.cluster", format_string: clusterName }],
            },
          },
          {
            name: "envoy.filters.network.tcp_proxy",
            typed_config: {
              "@type": type("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"),
              stat_prefix: "hop",
              cluster: "hop/none", // Never used: the filter before it names one.
              idle_timeout: "0s", // What is idle is for the outer connection's owner to close.
            },
          },
        ],
      },
    ],
  };
}

/** `metadata.chancery` tells the control plane what this bootstrap can: hops of drains need the listener for them. */
function node(options: BootstrapOptions) {
  const { region, zone } = options;
  return {
    id: options.node,
    cluster: options.gateway,
    metadata: { chancery: { internal_listener: true, hop: true } },
    ...(region || zone ? { locality: { ...(region && { region }), ...(zone && { zone }) } } : {}),
  };
}

/** The same options give the same message. */
export function toBootstrap(options: BootstrapOptions) {
  return {
    node: node(options),
    static_resources: { listeners: [hopListener()], clusters: [controlPlanes(options)] },
    dynamic_resources: dynamicResources(options),
    cluster_manager: {
      load_stats_config: { api_type: "GRPC", transport_api_version: "V3", grpc_services: [controlPlaneService] },
    },
    stats_sinks: [metricsSink()],
    stats_flush_interval: "1s",
    admin: { address: socketAddress(options.admin ?? { host: "127.0.0.1", port: 9901 }) },
    ...(options.statistics === "all" ? {} : { stats_config: { stats_matcher: { inclusion_list: { patterns: fewStatistics } } } }),
    overload_manager: { resource_monitors: [connectionLimit(options.maxConnections ?? 50_000)] },
    layered_runtime: {
      layers: [
        { name: "static", static_layer: {} },
        { name: "admin", admin_layer: {} },
      ],
    },
    bootstrap_extensions: [
      {
        name: "envoy.bootstrap.internal_listener",
        typed_config: { "@type": type("envoy.extensions.bootstrap.internal_listener.v3.InternalListener") },
      },
    ],
  };
}
