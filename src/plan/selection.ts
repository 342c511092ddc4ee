// Which resources the real Envoy is asked about: those that a write changes and what they need, or, to find who is at fault, some
// objects of it alone. In: the configuration after the write. Out: a selection for rendering.ts. Pure.
import { addressKey, type Endpoint } from "../model/endpoint.js";
import type { Change, Kind } from "../model/revision.js";
import { clustersOf, listenersOf, type Route, type TcpRoute, type UdpRoute } from "../model/route.js";
import type { StateAfter } from "./state-after.js";

/** One object by its kind and name; an endpoint's name is `<cluster>/<address:port>`. */
export interface ObjectName {
  readonly kind: Kind;
  readonly name: string;
}

/** What is rendered. Whatever else these name is only a placeholder. */
export interface Selection {
  /** cluster → its endpoints. */
  readonly clusters: Map<string, readonly Endpoint[]>;
  /** Routes whose own cluster is rendered (`tcp/<route>`), by name. */
  readonly splits: Map<string, TcpRoute | UdpRoute>;
  /** listener → the routes that it carries. */
  readonly listeners: Map<string, readonly Route[]>;
}

function nothing(): Selection {
  return { clusters: new Map(), splits: new Map(), listeners: new Map() };
}

/** True for routes that have a cluster of their own. */
function isSplit(route: Route): route is TcpRoute | UdpRoute {
  return route.protocol === "udp" || (route.protocol === "tcp" && route.split === "endpoints");
}

/**
 * Everything that the changes touch, in its whole new form. Clusters that a route names for the first time are in it: no Envoy may
 * have had them yet. Those that it named before are not: a shift of weights is one RouteConfiguration.
 */
export function selectChanged(after: StateAfter, changes: readonly Change[]): Selection {
  const selection = nothing();
  const addCluster = (name: string): void => {
    if (after.cluster(name)) selection.clusters.set(name, after.endpointsOf(name));
  };
  const addListener = (name: string): void => {
    if (after.listener(name)) selection.listeners.set(name, after.routesOfListener(name));
  };
  for (const change of changes) {
    switch (change.kind) {
      case "cluster":
      case "endpoint": {
        const cluster = change.kind === "cluster" ? change.name : ((change.after ?? change.before)?.cluster ?? "");
        if (selection.clusters.has(cluster)) break;
        addCluster(cluster);
        for (const route of after.routesOfCluster(cluster)) if (isSplit(route)) selection.splits.set(route.name, route);
        break;
      }
      case "listener":
        if (after.listener(change.name)?.protocol === "http" && change.before?.protocol === "http")
          selection.listeners.set(change.name, selection.listeners.get(change.name) ?? []); // Its RouteConfiguration is another resource.
        else addListener(change.name);
        break;
      case "route": {
        const named = change.before ? clustersOf(change.before) : [];
        for (const route of [change.before, change.after])
          if (route) for (const listener of listenersOf(route)) addListener(listener);
        for (const cluster of change.after ? clustersOf(change.after) : []) if (!named.includes(cluster)) addCluster(cluster);
        if (change.after && isSplit(change.after)) selection.splits.set(change.after.name, change.after);
      }
    }
  }
  return selection;
}

/** Some objects by themselves: a cluster without endpoints unless they are named too, listeners with no other routes. */
export function selectOnly(after: StateAfter, objects: readonly ObjectName[]): Selection {
  const selection = nothing();
  for (const { kind, name } of objects) {
    switch (kind) {
      case "cluster":
        if (after.cluster(name)) selection.clusters.set(name, selection.clusters.get(name) ?? []);
        break;
      case "endpoint":
        addEndpoint(selection, after, name);
        break;
      case "listener":
        if (after.listener(name)) selection.listeners.set(name, selection.listeners.get(name) ?? []);
        break;
      case "route":
        addRoute(selection, after.route(name));
    }
  }
  return selection;
}

function addEndpoint(selection: Selection, after: StateAfter, name: string): void {
  const slash = name.indexOf("/");
  const cluster = name.slice(0, slash);
  const endpoint = after.endpoint(cluster, name.slice(slash + 1));
  if (!endpoint || !after.cluster(cluster)) return;
  selection.clusters.set(cluster, [...(selection.clusters.get(cluster) ?? []), endpoint]);
}

function addRoute(selection: Selection, route: Route | undefined): void {
  if (!route) return;
  for (const listener of listenersOf(route))
    selection.listeners.set(listener, [...(selection.listeners.get(listener) ?? []), route]);
  if (isSplit(route)) selection.splits.set(route.name, route);
}

/** What a refusal can be blamed on: the objects of the selection, those that the write itself changes first. */
export function suspectsOf(selection: Selection, changes: readonly Change[]): readonly ObjectName[] {
  const changed = changes.filter(({ after }) => after !== undefined).map(({ kind, name }) => ({ kind, name }));
  const known = new Set(changed.map(({ kind, name }) => `${kind} ${name}`));
  const around: ObjectName[] = [];
  const add = (kind: Kind, name: string): void => {
    if (!known.has(`${kind} ${name}`)) around.push({ kind, name });
    known.add(`${kind} ${name}`);
  };
  for (const [cluster, endpoints] of selection.clusters) {
    add("cluster", cluster);
    for (const endpoint of endpoints) add("endpoint", `${cluster}/${addressKey(endpoint)}`);
  }
  for (const [listener, routes] of selection.listeners) {
    add("listener", listener);
    for (const route of routes) add("route", route.name);
  }
  return [...changed, ...around];
}
