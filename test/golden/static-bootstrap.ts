// What a golden case translates to, as one static bootstrap that the real Envoy can be asked about (`--mode validate`). Test
// only. EDS and RDS are fetched later and so not validated: assignments are also put into STATIC copies of their clusters,
// RouteConfigurations inline into copies of their listeners (where Envoy also checks that every cluster they name exists).
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { controlPlaneCluster } from "../../src/model/node.js";
import { any, decode, encode } from "../../src/proto/encode.js";
import type { ClusterProto, ListenerProto } from "../../src/proto/messages.js";
import type { Encoded } from "../../src/translate/resources.js";
import { messageOf, type Translated } from "./case.js";

const manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/** The bootstrap has it; nobody listens there. */
const controlPlane: ClusterProto = {
  name: controlPlaneCluster,
  type: "STATIC",
  load_assignment: { cluster_name: controlPlaneCluster },
};

/** Bytes of an envoy.config.bootstrap.v3.Bootstrap; to be written to a file called `*.pb`. */
export function toStaticBootstrap(translated: Translated): Buffer {
  const clusters = translated.clusters.map(({ bytes }) => decode(messageOf.clusters, bytes));
  const listeners = translated.listeners.map(({ bytes }) => decode(messageOf.listeners, bytes));
  return encode("envoy.config.bootstrap.v3.Bootstrap", {
    node: { id: "validate", cluster: "edge" },
    dynamic_resources: {
      ads_config: {
        api_type: "DELTA_GRPC",
        transport_api_version: "V3",
        grpc_services: [{ envoy_grpc: { cluster_name: controlPlaneCluster } }],
      },
    },
    static_resources: {
      clusters: [
        controlPlane,
        ...clusters,
        ...translated.endpoints.map((endpoint) => ({
          ...withEndpoints(find(clusters, endpoint.name), endpoint),
          name: `static/${endpoint.name}`,
        })),
      ],
      listeners: [
        ...listeners,
        ...translated.routes.map((route, at) => ({
          ...withRoutes(find(listeners, route.name), route),
          name: `static/${route.name}`,
          address: { socket_address: { address: "127.0.0.1", port_value: 60_000 + at } }, // Not opened, but compared.
        })),
      ],
    },
  });
}

/** The same as an Envoy that needs no control plane: endpoints and routes inline, everything under its own name. */
export function toRunnableBootstrap(translated: Translated, adminPort: number): Buffer {
  const clusters = translated.clusters.map(({ bytes }) => decode(messageOf.clusters, bytes));
  const listeners = translated.listeners.map(({ bytes }) => decode(messageOf.listeners, bytes));
  return encode("envoy.config.bootstrap.v3.Bootstrap", {
    admin: { address: { socket_address: { address: "127.0.0.1", port_value: adminPort } } },
    static_resources: {
      clusters: [controlPlane, ...translated.endpoints.map((endpoint) => withEndpoints(find(clusters, endpoint.name), endpoint))],
      listeners: listeners.map((listener) => {
        const route = translated.routes.find(({ name }) => name === listener.name);
        return route ? withRoutes(listener, route) : listener;
      }),
    },
  });
}

function find<T extends { name?: string }>(all: readonly T[], name: string): T {
  const found = all.find((one) => one.name === name);
  if (!found) throw new Error(`no ${name}`);
  return found;
}

function withEndpoints(cluster: ClusterProto, endpoint: Encoded): ClusterProto {
  const { eds_cluster_config: _, ...rest } = cluster;
  return { ...rest, type: "STATIC", load_assignment: decode(messageOf.endpoints, endpoint.bytes) };
}

function withRoutes(listener: ListenerProto, route: Encoded): ListenerProto {
  const config = listener.filter_chains?.[0]?.filters?.[0]?.typed_config;
  if (!config) throw new Error(`no connection manager in ${listener.name}`);
  const { rds: _, ...rest } = decode(manager, config.value);
  const inline = any(manager, { ...rest, route_config: decode(messageOf.routes, route.bytes) });
  return { ...listener, filter_chains: [{ filters: [{ name: "http", typed_config: inline }] }] };
}

/** What Envoy says of a bootstrap, about 0.1 s: whether it takes it, and every line of its log that is not chatter. */
export async function validate(envoy: string, bootstrap: Buffer): Promise<{ accepted: boolean; complaints: string }> {
  const folder = mkdtempSync(join(tmpdir(), "chancery-validate-"));
  const file = join(folder, "bootstrap.pb");
  writeFileSync(file, bootstrap);
  try {
    return await new Promise((resolve) => {
      // One line is of every Envoy, and of one field there is only the choice between unfinished and deprecated.
      const isExpected = (line: string) => line.includes("downstream connections") || line.includes("UdpProxyConfig.matcher");
      execFile(
        envoy,
        ["--mode", "validate", "--log-level", "warn", "-c", file],
        { timeout: 30_000 },
        (error, _stdout, stderr) => {
          const lines = stderr.split("\n").filter((line) => line.trim() !== "" && !isExpected(line));
          resolve({ accepted: error === null, complaints: lines.join("\n") });
        },
      );
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
