// Which resources of a gateway a change may touch: names to look at, and nothing else, so that a change costs O(what it changed).
// In: the state after the change, and the change. Out: names by type; whether their bytes differ is for the caller to see. Pure.
// Called by gateway-snapshot.ts for what is committed, and by preview.ts for what is only planned.
import { isDeepStrictEqual } from "node:util";
import type { DesiredState } from "../model/desired-state.js";
import type { ResourceType } from "../model/resource-type.js";
import type { Change } from "../model/revision.js";
import { clustersOf, listenersOf, type Route } from "../model/route.js";
import { hopClusterName, splitClusterName } from "../translate/names.js";

/** type → names. */
export type ResourceNames = Record<ResourceType, Set<string>>;

export function noNames(): ResourceNames {
  return { cluster: new Set(), endpoint: new Set(), listener: new Set(), route: new Set() };
}

/** `state` holds the changes already. */
export function touchedBy(state: DesiredState, changes: readonly Change[], gateway: string): ResourceNames {
  const names = noNames();
  const opens = (listener: { readonly gateways: readonly string[] } | undefined): boolean =>
    listener?.gateways.includes(gateway) ?? false;
  for (const change of changes) {
    switch (change.kind) {
      case "cluster":
        touchCluster(state, names, change.name);
        break;
      case "endpoint":
        touchEndpoints(state, names, (change.after ?? change.before)?.cluster ?? "");
        break;
      case "listener":
        if (opens(change.before) || opens(change.after)) touchListener(state, names, change.name);
        break;
      case "route":
        touchChangedRoute(names, change.before, change.after);
        break;
    }
  }
  return names;
}

function touchCluster(state: DesiredState, names: ResourceNames, name: string): void {
  addCluster(names, name);
  for (const routeName of state.routesOfCluster(name)) {
    const route = state.routes.get(routeName);
    if (route && route.protocol !== "http") touchRoute(names, route);
  }
}

/** With the inner cluster that its hop would have. */
function addCluster(names: ResourceNames, cluster: string): void {
  for (const name of [cluster, hopClusterName(cluster)]) {
    names.cluster.add(name);
    names.endpoint.add(name);
  }
}

function touchEndpoints(state: DesiredState, names: ResourceNames, cluster: string): void {
  names.endpoint.add(cluster);
  names.endpoint.add(hopClusterName(cluster));
  for (const routeName of state.routesOfCluster(cluster)) {
    const route = state.routes.get(routeName);
    if (route && route.protocol !== "http") names.endpoint.add(splitClusterName(route));
  }
}

/** Adds a listener with its routes, and what those reach. */
export function touchListener(state: DesiredState, names: ResourceNames, name: string): void {
  names.listener.add(name);
  names.route.add(name);
  for (const routeName of state.routesOfListener(name)) {
    const route = state.routes.get(routeName);
    if (route) touchRoute(names, route);
  }
}

/** A change of weights, matches or timeouts leaves the clusters as they are: only those that came or went are looked at. */
function touchChangedRoute(names: ResourceNames, before: Route | undefined, after: Route | undefined): void {
  const reachesSame =
    before?.protocol === "http" && after?.protocol === "http" && isDeepStrictEqual(listenersOf(before), listenersOf(after));
  if (!reachesSame) {
    for (const route of [before, after]) if (route) touchRoute(names, route);
    return;
  }
  for (const listener of listenersOf(after)) names.route.add(listener);
  const [had, has] = [new Set(clustersOf(before)), new Set(clustersOf(after))];
  for (const cluster of [...had, ...has]) {
    if (!(had.has(cluster) && has.has(cluster))) addCluster(names, cluster);
  }
}

function touchRoute(names: ResourceNames, route: Route): void {
  for (const listener of listenersOf(route)) {
    names.route.add(listener);
    if (route.protocol !== "http") names.listener.add(listener);
  }
  for (const cluster of clustersOf(route)) addCluster(names, cluster);
  if (route.protocol === "http") return;
  names.cluster.add(splitClusterName(route));
  names.endpoint.add(splitClusterName(route));
}
