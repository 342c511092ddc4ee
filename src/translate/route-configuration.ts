// HTTP listener with its routes → bytes of one envoy.config.route.v3.RouteConfiguration. Pure. Called by resources.ts.
// Routes are encoded once per route object and spliced in: of 2,000 routes, a shifted weight encodes one, and copies the rest.
import type { HttpListener } from "../model/listener.js";
import type { HttpRoute } from "../model/route.js";
import { compareRoutesIn, covers } from "../model/route-order.js";
import { encode } from "../proto/encode.js";
import { bytesField, piecesField, stringField } from "../proto/wire.js";
import { healthRoute } from "./names.js";
import { toRoutes } from "./route.js";

// Field numbers of RouteConfiguration and VirtualHost; a test compares these bytes with encode()'s.
const configurationField = { name: 1, virtualHosts: 2 } as const;
const virtualHostField = { name: 1, domains: 2, routes: 3 } as const;
/** `ignore_port_in_host_matching: true`, field 14: a request for `shop.example.com:8080` is for `shop.example.com`. */
const ignorePort = Buffer.from([14 * 8, 1]);

/** Host → the routes of its virtual host, in the order in which they are tried; hosts sorted. */
export type VirtualHosts = ReadonlyMap<string, readonly HttpRoute[]>;

/**
 * Envoy asks one virtual host only, the closest one. So each holds what is written for its host, and copies of the routes for the
 * wildcards that cover it and for every host. `*` is there if a route is for every host; any other request is a 404 of Envoy's.
 */
export function toVirtualHosts(routes: readonly HttpRoute[]): VirtualHosts {
  const byHost = new Map<string, HttpRoute[]>();
  const everywhere = routes.filter((route) => route.hosts.length === 0);
  for (const route of routes) {
    for (const host of new Set(route.hosts)) {
      const own = byHost.get(host);
      if (own) own.push(route);
      else byHost.set(host, [route]);
    }
  }
  const wildcards = [...byHost].filter(([host]) => host.startsWith("*."));
  const hosts = [...byHost.keys(), ...(everywhere.length > 0 ? ["*"] : [])].sort();
  return new Map(
    hosts.map((host) => {
      const wider = wildcards.filter(([wildcard]) => covers(wildcard, host)).flatMap(([, own]) => own);
      const all = new Set([...(byHost.get(host) ?? []), ...wider, ...everywhere]);
      return [host, [...all].sort(compareRoutesIn(host))];
    }),
  );
}

/** What a listener's health check says: failing while its Envoy is drained, so that a load balancer in front sends nothing new there. */
export type HealthAnswer = "passing" | "failing";

/** Without routes, a RouteConfiguration that answers 404: an Envoy that asks for one and gets none never goes live. */
export function encodeRouteConfiguration(
  { name, healthPath }: Pick<HttpListener, "name" | "healthPath">,
  routes: readonly HttpRoute[],
  health: HealthAnswer,
): Buffer {
  const virtualHosts = toVirtualHosts(routes);
  const check = healthPath === undefined ? [] : [encodeHealthRoute(healthPath, health)];
  // Who checks names any host, mostly the Envoy's address.
  const everywhere: VirtualHosts =
    check.length === 0 || virtualHosts.has("*") ? virtualHosts : new Map([["*", []], ...virtualHosts]);
  const hosts = [...everywhere].flatMap(([host, own]) =>
    piecesField(configurationField.virtualHosts, [
      ...stringField(virtualHostField.name, host),
      ...stringField(virtualHostField.domains, host),
      ...check,
      ...own.map(encodeRoute),
    ]),
  );
  return Buffer.concat([...stringField(configurationField.name, name), ...hosts, ignorePort]);
}

/** Before all routes of a virtual host. */
function encodeHealthRoute(path: string, health: HealthAnswer): Buffer {
  const status = health === "passing" ? 200 : 503;
  const body = { inline_string: health === "passing" ? "ok\n" : "draining\n" };
  const proto = { match: { path }, direct_response: { status, body }, name: healthRoute };
  return Buffer.concat(bytesField(virtualHostField.routes, encode("envoy.config.route.v3.Route", proto)));
}

/** Route object → its entries in VirtualHost.routes, heads included. */
const encoded = new WeakMap<HttpRoute, Buffer>();

function encodeRoute(route: HttpRoute): Buffer {
  let bytes = encoded.get(route);
  if (!bytes) {
    bytes = Buffer.concat(
      toRoutes(route).flatMap((proto) => bytesField(virtualHostField.routes, encode("envoy.config.route.v3.Route", proto))),
    );
    encoded.set(route, bytes);
  }
  return bytes;
}
