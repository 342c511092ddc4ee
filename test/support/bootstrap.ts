// The bootstrap that a test's Envoy starts with: the one that `chancery bootstrap` prints, with every statistic kept.
// In: a node, a mode and ports. Out: JSON, which is YAML. Called by envoy.ts.
import { toBootstrap } from "../../src/cli/bootstrap.js";

/** How an Envoy asks: one aggregated stream, or one stream per resource type and set; delta or state of the world. */
export type Mode = "delta" | "sotw" | "separate-delta" | "separate-sotw";

export interface TestBootstrapOptions {
  readonly node: string;
  readonly gateway: string;
  readonly mode: Mode;
  readonly adminPort: number;
  /** xDS ports of the control planes on 127.0.0.1. */
  readonly xdsPorts: readonly number[];
  /** Where load reports and metrics go, with the statistics that are kept in production; default: to the control planes, all kept. */
  readonly reportsPort?: number | undefined;
}

const local = (port: number) => ({ host: "127.0.0.1", port });

export function toTestBootstrap({ node, gateway, mode, adminPort, xdsPorts, reportsPort }: TestBootstrapOptions): string {
  const options = {
    node,
    gateway,
    controlPlanes: xdsPorts.map(local),
    admin: local(adminPort),
    services: mode.startsWith("separate") ? "separate" : "ads",
    stateOfTheWorld: mode.endsWith("sotw"),
    statistics: reportsPort === undefined ? "all" : "few",
  } as const;
  const bootstrap = toBootstrap(options);
  if (reportsPort === undefined) return JSON.stringify(bootstrap);
  const [reports] = toBootstrap({ ...options, controlPlanes: [local(reportsPort)] }).static_resources.clusters;
  const service = { envoy_grpc: { cluster_name: "reports" } };
  return JSON.stringify({
    ...bootstrap,
    static_resources: { clusters: [...bootstrap.static_resources.clusters, { ...reports, name: "reports" }] },
    cluster_manager: { load_stats_config: { ...bootstrap.cluster_manager.load_stats_config, grpc_services: [service] } },
    stats_sinks: bootstrap.stats_sinks.map((sink) => ({
      ...sink,
      typed_config: { ...sink.typed_config, grpc_service: service },
    })),
  });
}
