// A route's body: http, tcp or udp, told apart by `protocol`. In: JSON that the schema has passed. Out: model/route.ts, and back.
// The calls are in routes.ts; rules beyond the shape are in model/route-rules.ts and model/references.ts.
import { type Static, Type } from "typebox";
import type { Problem } from "../errors.js";
import type { Cluster } from "../model/cluster.js";
import type { Route } from "../model/route.js";
import { name, object, oneOf } from "./fields.js";
import { fromHttpRouteBody, httpBodyProblems, httpFields, toHttpRouteBody } from "./http-route-body.js";
import { fromTcpRouteBody, fromUdpRouteBody, tcpFields, toTcpRouteBody, toUdpRouteBody, udpFields } from "./l4-route-body.js";

const named = { name: name("route") };
const mayBeNamed = { name: Type.Optional(name("route")) };
const what = "One match and one set of backends.";
/** What POST takes and GET shows. */
export const routeSchema = oneOf(
  "protocol",
  [object({ ...named, ...httpFields }), object({ ...named, ...tcpFields }), object({ ...named, ...udpFields })],
  what,
);
/** What PUT takes: the name is in the path, and may be repeated. */
export const routePut = oneOf(
  "protocol",
  [object({ ...mayBeNamed, ...httpFields }), object({ ...mayBeNamed, ...tcpFields }), object({ ...mayBeNamed, ...udpFields })],
  what,
);
/** A body that the schema has passed. */
export type RouteBody = Static<typeof routePut>;

/** Contradictions that must be told before the body can become a route. */
export function routeBodyProblems(body: RouteBody): readonly Problem[] {
  return body.protocol === "http" ? httpBodyProblems(body) : [];
}

/** Names that the body refers to, each once, sorted: the order in which their rows are locked. */
export function namesIn(body: RouteBody): { readonly listeners: readonly string[]; readonly clusters: readonly string[] } {
  const listeners = body.protocol === "http" ? body.listeners : [body.listener];
  const clusters = (body.backends ?? []).map(({ cluster }) => cluster);
  return { listeners: [...new Set(listeners)].sort(), clusters: [...new Set(clusters)].sort() };
}

/** `clusters`: those that the body names; they decide the default timeout. */
export function fromRouteBody(routeName: string, body: RouteBody, clusters: ReadonlyMap<string, Cluster>): Route {
  switch (body.protocol) {
    case "http":
      return fromHttpRouteBody(routeName, body, clusters);
    case "tcp":
      return fromTcpRouteBody(routeName, body);
    case "udp":
      return fromUdpRouteBody(routeName, body);
  }
}

/** The inverse of fromRouteBody. */
export function toRouteBody(route: Route): Static<typeof routeSchema> {
  switch (route.protocol) {
    case "http":
      return toHttpRouteBody(route);
    case "tcp":
      return toTcpRouteBody(route);
    case "udp":
      return toUdpRouteBody(route);
  }
}
