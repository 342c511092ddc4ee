// Names in, resources out: finds what a resource is made of in the desired state, has it translated, and encodes it once for
// all gateways that carry it. A resource that can't be translated is `kept`: the last good one stays, and the fault is told.

import type { Cluster } from "../model/cluster.js";
import type { DesiredState } from "../model/desired-state.js";
import { closesByHop } from "../model/drain-guarantee.js";
import { addressKey, type Endpoint } from "../model/endpoint.js";
import type { HttpListener, Listener } from "../model/listener.js";
import type { ResourceType } from "../model/resource-type.js";
import { backendsOf, type HttpRoute, listenersOf, type Route, type TcpRoute, type UdpRoute } from "../model/route.js";
import { hasHops, type Transport } from "../translate/config-source.js";
import { hopOwner, splitClusterName, splitRouteName } from "../translate/names.js";
import type { Encoded } from "../translate/resources.js";
import * as resources from "../translate/resources.js";
import { readyDelayMs as readyDelayOf } from "../translate/resources.js";
import type { HealthAnswer } from "../translate/route-configuration.js";
import { type Resource, toResource } from "./resource.js";

/** A resource, none, or "leave what is there". */
export type Wanted = Resource | undefined | "kept";

export interface TranslationFault {
  readonly type: ResourceType;
  readonly name: string;
  readonly error: unknown;
}

export class ResourceFactory {
  /** Within one publication: key → resource, so that ten gateways encode once. Cleared by `begin`. */
  readonly #made = new Map<string, Wanted>();
  /** type → messages encoded since the start. */
  readonly translations: Record<ResourceType, number> = { cluster: 0, endpoint: 0, listener: 0, route: 0 };

  constructor(private readonly onFault: (fault: TranslationFault) => void) {}

  /** Starts a publication: what was made for the last one is forgotten. */
  begin(): void {
    this.#made.clear();
  }

  cluster(state: DesiredState, name: string, gateway: string, transport: Transport): Wanted {
    const split = splitRouteOf(state, name);
    if (split) {
      if (!isReached(state, split, gateway)) return undefined;
      const clusters = backendsOf(split).flatMap((backend) => state.clusters.get(backend.cluster) ?? []);
      return this.#make(state, "cluster", `${name}\n${transport}`, () =>
        resources.splitClusterResource(split, clusters, transport),
      );
    }
    const owner = hopOwner(name) ?? name;
    if (!isNamedDirectly(state, owner, gateway)) return undefined;
    return this.#cluster(state, name, transport);
  }

  /** A user's cluster, or the inner one of its hop, whether or not anything names it. */
  #cluster(state: DesiredState, name: string, transport: Transport): Wanted {
    const hopped = hoppedCluster(state, name, transport);
    if (hopped)
      return this.#make(state, "cluster", `${name}\n${transport}`, () => resources.hopClusterResource(hopped, transport));
    const cluster = state.clusters.get(name);
    if (!cluster) return undefined;
    return this.#make(state, "cluster", `${name}\n${transport}`, () => resources.clusterResource(cluster, transport));
  }

  /**
   * `retiring`: nothing names the cluster any more, but it is still served, with its endpoints kept up to date if it still exists.
   * `leaving`: of the inner cluster of a hop, endpoints that stay in it for a grace.
   */
  endpoint(
    state: DesiredState,
    name: string,
    gateway: string,
    transport: Transport,
    retiring: boolean,
    leaving: readonly Endpoint[] = [],
  ): Wanted {
    const split = splitRouteOf(state, name);
    if (split) {
      if (!isReached(state, split, gateway)) return undefined;
      const backends = backendsOf(split).flatMap((backend) => {
        const cluster = state.clusters.get(backend.cluster);
        return cluster ? [{ backend, cluster, endpoints: state.endpointsOf(backend.cluster) }] : [];
      });
      return this.#make(state, "endpoint", name, () => resources.splitEndpointResource(split, backends));
    }
    if (!(retiring || isNamedDirectly(state, hopOwner(name) ?? name, gateway))) return undefined;
    return this.#endpoint(state, name, transport, leaving);
  }

  /** The same of a user's cluster, or of the inner one of its hop, whether or not anything names it. */
  #endpoint(state: DesiredState, name: string, transport: Transport, leaving: readonly Endpoint[]): Wanted {
    const hopped = hoppedCluster(state, name, transport);
    if (hopped) {
      const keys = leaving.map(addressKey).sort().join(" ");
      const endpoints = state.endpointsOf(hopped.name);
      return this.#make(state, "endpoint", `${name}\n${keys}`, () => resources.hopEndpointResource(hopped, endpoints, leaving));
    }
    const cluster = state.clusters.get(name);
    if (!cluster) return undefined;
    const form = hasHops(transport) && closesByHop(cluster) ? "outer" : "";
    return this.#make(state, "endpoint", `${name}\n${form}`, () =>
      resources.endpointResource(cluster, state.endpointsOf(name), transport),
    );
  }

  /** A cluster that exists, whether or not anything names it, with its endpoints. */
  retired(
    state: DesiredState,
    name: string,
    transport: Transport,
  ): { readonly cluster: Resource; readonly endpoint: Resource } | undefined {
    const made = this.#cluster(state, name, transport);
    const endpoint = this.#endpoint(state, name, transport, []);
    return made && endpoint && made !== "kept" && endpoint !== "kept" ? { cluster: made, endpoint } : undefined;
  }

  listener(state: DesiredState, name: string, gateway: string, transport: Transport): Wanted {
    const listener = state.listeners.get(name);
    if (!listener?.gateways.includes(gateway)) return undefined;
    return this.#make(state, "listener", `${name}\n${transport}`, () =>
      resources.listenerResource(listener, routesOf(state, listener), transport),
    );
  }

  route(state: DesiredState, name: string, gateway: string, health: HealthAnswer = "passing"): Wanted {
    const listener = state.listeners.get(name);
    if (listener?.protocol !== "http" || !listener.gateways.includes(gateway)) return undefined;
    const routes = routesOf(state, listener).filter((route) => route.protocol === "http");
    const form = listener.healthPath === undefined ? undefined : health;
    const encoded = () => resources.routeResource(listener, routes, form);
    return this.#make(state, "route", `${name}\n${form ?? ""}`, encoded, partsOf(routes), form);
  }

  /** A RouteConfiguration with some routes in another form, or left out (DESIGN §8: make before break, per route). */
  routeVariant(
    listener: HttpListener,
    routes: readonly HttpRoute[],
    revision: number,
    health: HealthAnswer | undefined,
  ): Resource {
    this.translations.route += 1;
    return toResource(resources.routeResource(listener, routes, health), revision, partsOf(routes), health);
  }

  #make(
    state: DesiredState,
    type: ResourceType,
    key: string,
    encode: () => Encoded | undefined,
    parts?: ReadonlyMap<string, HttpRoute>,
    health?: HealthAnswer,
  ): Wanted {
    const fullKey = `${type}\n${key}`;
    if (this.#made.has(fullKey)) return this.#made.get(fullKey);
    let made: Wanted;
    try {
      this.translations[type] += 1;
      const encoded = encode();
      made = encoded && toResource(encoded, state.revision, parts, health);
    } catch (error) {
      this.onFault({ type, name: key.split("\n")[0] ?? key, error });
      made = "kept";
    }
    this.#made.set(fullKey, made);
    return made;
  }
}

/** How long after its endpoints' ack a cluster may still be warming, ms; for a split cluster, that of its first backend. */
export function readyDelayMs(state: DesiredState, name: string): number {
  const split = splitRouteOf(state, name);
  if (hopOwner(name) !== undefined) return resources.hopReadyDelayMs;
  const clusters: readonly (Cluster | undefined)[] = split
    ? backendsOf(split).map((backend) => state.clusters.get(backend.cluster))
    : [state.clusters.get(name)];
  return Math.max(0, ...clusters.map((cluster) => (cluster ? readyDelayOf(cluster) : 0)));
}

/** The user's cluster of whose hop the name is the inner one, where the Envoy has hops. */
export function hoppedCluster(state: DesiredState, name: string, transport: Transport): Cluster | undefined {
  const owner = hasHops(transport) ? hopOwner(name) : undefined;
  const cluster = owner === undefined ? undefined : state.clusters.get(owner);
  return cluster && closesByHop(cluster) ? cluster : undefined;
}

function routesOf(state: DesiredState, listener: Listener): Route[] {
  return [...state.routesOfListener(listener.name)].flatMap((name) => state.routes.get(name) ?? []);
}

function partsOf(routes: readonly HttpRoute[]): ReadonlyMap<string, HttpRoute> {
  return new Map(routes.map((route) => [route.name, route]));
}

/** The route whose own cluster this is, `tcp/<route>` or `udp/<route>`; undefined for a user's cluster, or a route that went or splits in the listener. */
function splitRouteOf(state: DesiredState, clusterName: string): TcpRoute | UdpRoute | undefined {
  const routeName = splitRouteName(clusterName);
  const route = routeName === undefined ? undefined : state.routes.get(routeName);
  if (!route || route.protocol === "http" || splitClusterName(route) !== clusterName) return undefined;
  return splitsInListener(route) ? undefined : route;
}

function splitsInListener(route: Route): boolean {
  return route.protocol === "tcp" && route.split === "listener";
}

function isReached(state: DesiredState, route: Route, gateway: string): boolean {
  return listenersOf(route).some((listener) => state.listeners.get(listener)?.gateways.includes(gateway));
}

/** Whether a listener of the gateway has a route that names the cluster itself, not a cluster of the route's own. */
function isNamedDirectly(state: DesiredState, cluster: string, gateway: string): boolean {
  for (const name of state.routesOfCluster(cluster)) {
    const route = state.routes.get(name);
    if (route && (route.protocol === "http" || splitsInListener(route)) && isReached(state, route, gateway)) return true;
  }
  return false;
}
