// Which resources an object shows in, and which objects a resource is made of: so that a refusal finds the object, and the object its
// refusals. Pure. Called by api/object-status.ts, and by app.ts for the webhook.
import type { ResourceType } from "../model/resource-type.js";
import { listenersOf, type Route } from "../model/route.js";
import { hopClusterName, hopOwner, splitClusterName, splitRouteName } from "../translate/names.js";
import type { ObjectName } from "./selection.js";

/** A resource, or the named route in it. */
export interface ResourceName {
  readonly type: ResourceType;
  readonly name: string;
  /** Of a RouteConfiguration: only this route of it. */
  readonly part?: string;
}

/** A cluster is in its own resources, and in those of the L4 routes that name it. */
export function resourcesOfCluster(cluster: string, routes: readonly Route[]): readonly ResourceName[] {
  const splits = routes.flatMap((route) => (route.protocol === "http" ? [] : splitClusterName(route)));
  return [cluster, hopClusterName(cluster), ...splits].flatMap((name) => [
    { type: "cluster", name },
    { type: "endpoint", name },
  ]);
}

/** The RouteConfiguration is its routes' business, as far as it is not the whole of it. */
export function resourcesOfListener(listener: string): readonly ResourceName[] {
  return [
    { type: "listener", name: listener },
    { type: "route", name: listener },
  ];
}

/** An HTTP route is a part of its listeners' RouteConfigurations; an L4 route is in the listener, with a cluster of its own. */
export function resourcesOfRoute(route: Route): readonly ResourceName[] {
  if (route.protocol === "http") return listenersOf(route).map((name) => ({ type: "route", name, part: route.name }));
  const own = splitClusterName(route);
  return [
    { type: "listener", name: route.listener },
    { type: "cluster", name: own },
    { type: "endpoint", name: own },
  ];
}

/** What a person would look at when the resource is refused. */
export function objectsOfResource(type: ResourceType, name: string, parts: readonly string[] | undefined): readonly ObjectName[] {
  if (type === "listener") return [{ kind: "listener", name }];
  if (type === "route") return parts?.map((part): ObjectName => ({ kind: "route", name: part })) ?? [{ kind: "listener", name }];
  const route = splitRouteName(name);
  return [route === undefined ? { kind: "cluster", name: hopOwner(name) ?? name } : { kind: "route", name: route }];
}
