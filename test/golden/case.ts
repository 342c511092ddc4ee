// A golden case: its state, translated whole, as a snapshot would for one gateway that has every listener. Test only.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import { DesiredState, type StateRows } from "../../src/model/desired-state.js";
import { closesByHop } from "../../src/model/drain-guarantee.js";
import type { HttpListener } from "../../src/model/listener.js";
import { backendsOf, type HttpRoute, type Route } from "../../src/model/route.js";
import type { TypeName } from "../../src/proto/root.js";
import { hasHops, type Transport } from "../../src/translate/config-source.js";
import { hopClusterName, hopOwner, splitRouteName } from "../../src/translate/names.js";
import {
  clusterResource,
  type Encoded,
  endpointResource,
  hopClusterResource,
  hopEndpointResource,
  listenerResource,
  routeResource,
  splitClusterResource,
  splitEndpointResource,
} from "../../src/translate/resources.js";
import { readable } from "./readable.js";
import { readState } from "./state.js";

export const goldenFolder = fileURLToPath(new URL(".", import.meta.url));

export const goldenCases: readonly string[] = readdirSync(goldenFolder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name)
  .sort();

export function stateOf(name: string): StateRows {
  return readState(readFileSync(join(goldenFolder, name, "state.yaml"), "utf8"));
}

/** File name without `.yaml` → message in it. */
export const messageOf = {
  clusters: "envoy.config.cluster.v3.Cluster",
  endpoints: "envoy.config.endpoint.v3.ClusterLoadAssignment",
  listeners: "envoy.config.listener.v3.Listener",
  routes: "envoy.config.route.v3.RouteConfiguration",
} as const satisfies Record<string, TypeName>;

export type Translated = Record<keyof typeof messageOf, Encoded[]>;

/** What the Envoys of a case can: hops are in one of their own, so that the others show what every Envoy gets. */
export const transportOf = (name: string): Transport => (name === "draining-hop" ? "ads-hop" : "ads");

/** Everything that the listeners reach, each list sorted by name. */
export function translate(rows: StateRows, transport: Transport = "ads"): Translated {
  const state = DesiredState.from(rows);
  const routesOf = (listener: string): Route[] =>
    [...state.routesOfListener(listener)].flatMap((name) => state.routes.get(name) ?? []);
  const listeners = [...state.listeners.values()].flatMap(
    (listener) => listenerResource(listener, routesOf(listener.name), transport) ?? [],
  );
  const routes = [...state.listeners.values()]
    .filter((listener): listener is HttpListener => listener.protocol === "http")
    .map((listener) =>
      routeResource(
        listener,
        routesOf(listener.name).filter((route): route is HttpRoute => route.protocol === "http"),
      ),
    );
  const reached = [...new Set([...listeners, ...routes].flatMap((resource) => resource.clusters))].flatMap((name) => {
    const cluster = state.clusters.get(name);
    return cluster && hasHops(transport) && closesByHop(cluster) ? [name, hopClusterName(name)] : name;
  });
  const made = reached.map((name) => clusterOf(state, name, transport));
  return {
    clusters: made.map(({ cluster }) => cluster).sort(byName),
    endpoints: made.map(({ endpoint }) => endpoint).sort(byName),
    listeners: listeners.sort(byName),
    routes: routes.sort(byName),
  };
}

function clusterOf(state: DesiredState, name: string, transport: Transport): { cluster: Encoded; endpoint: Encoded } {
  const owner = state.clusters.get(hopOwner(name) ?? "");
  if (owner)
    return { cluster: hopClusterResource(owner, transport), endpoint: hopEndpointResource(owner, state.endpointsOf(owner.name)) };
  const route = state.routes.get(splitRouteName(name) ?? "");
  const found = (cluster: string) => state.clusters.get(cluster) ?? raise(`no cluster ${cluster}`);
  if (!route || route.protocol === "http") {
    const cluster = found(name);
    return {
      cluster: clusterResource(cluster, transport),
      endpoint: endpointResource(cluster, state.endpointsOf(name), transport),
    };
  }
  const backends = backendsOf(route).map((backend) => ({
    backend,
    cluster: found(backend.cluster),
    endpoints: state.endpointsOf(backend.cluster),
  }));
  return {
    cluster: splitClusterResource(
      route,
      backends.map(({ cluster }) => cluster),
      transport,
    ),
    endpoint: splitEndpointResource(route, backends),
  };
}

function raise(what: string): never {
  throw new Error(what);
}

function byName(a: Encoded, b: Encoded): number {
  return a.name < b.name ? -1 : 1;
}

/** What the golden files hold: file name → its text; a type without resources has no file. */
export function goldenFiles(translated: Translated): Map<string, string> {
  const files = new Map<string, string>();
  for (const [kind, typeName] of Object.entries(messageOf)) {
    const resources = translated[kind as keyof Translated];
    if (resources.length === 0) continue;
    const messages = resources.map((resource) => readable(typeName, resource.bytes));
    files.set(`${kind}.yaml`, stringify(messages, { lineWidth: 130, aliasDuplicateObjects: false }));
  }
  return files;
}
