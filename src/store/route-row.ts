// A route as the table `routes` holds it; what it names is also in `route_clusters` and `route_listeners` (objects.ts).
// In: a model object, or a row. Out: the other one. Called by objects.ts.
import type { HttpAction, HttpRoute, Redirect, Route } from "../model/route.js";
import type { JsonForm } from "./json-form.js";

/** What `routes` holds, but for space and revision. */
export interface RouteRow {
  readonly name: string;
  readonly spec: JsonForm<Route>;
}

/** For writing; the spec still has its undefined fields, which JSON drops. */
export function toRouteRow(route: Route): RouteRow {
  return { name: route.name, spec: route };
}

/** For reading; needs the spec only, as a change has nothing else. */
export function fromRouteRow({ spec }: Pick<RouteRow, "spec">): Route {
  switch (spec.protocol) {
    case "http":
      return fromHttpRoute(spec);
    case "tcp":
      return {
        protocol: "tcp",
        name: spec.name,
        listener: spec.listener,
        sni: spec.sni,
        backends: spec.backends,
        hashOnSourceIp: spec.hashOnSourceIp,
        idleTimeoutMs: spec.idleTimeoutMs,
        split: spec.split,
      };
    case "udp":
      return {
        protocol: "udp",
        name: spec.name,
        listener: spec.listener,
        backends: spec.backends,
        hashOnSourceIp: spec.hashOnSourceIp,
        idleTimeoutMs: spec.idleTimeoutMs,
      };
  }
}

function fromHttpRoute(spec: JsonForm<HttpRoute>): HttpRoute {
  return {
    protocol: "http",
    name: spec.name,
    priority: spec.priority,
    listeners: spec.listeners,
    hosts: spec.hosts,
    match: spec.match,
    action: fromAction(spec.action),
  };
}

function fromAction(spec: JsonForm<HttpAction>): HttpAction {
  if (spec.kind === "redirect") return { kind: "redirect", redirect: fromRedirect(spec.redirect) };
  return {
    kind: "forward",
    backends: spec.backends,
    timeoutMs: spec.timeoutMs,
    retry: spec.retry,
    rewritePrefix: spec.rewritePrefix,
    rewriteHost: spec.rewriteHost,
    upgrades: spec.upgrades,
    sticky: spec.sticky,
    hashOn: spec.hashOn,
  };
}

function fromRedirect(spec: JsonForm<Redirect>): Redirect {
  return { scheme: spec.scheme, host: spec.host, port: spec.port, path: spec.path, prefix: spec.prefix, status: spec.status };
}
