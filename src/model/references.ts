// The rules that tie objects to each other. Pure: the caller (api/) reads and locks what a rule looks at, in the order
// listeners, then clusters by name, so that two writers can neither slip past a rule nor wait for each other.
// Each function gives ALL problems, with JSON pointers into the body of the object that is being written.

import type { Problem } from "../errors.js";
import { addressesOverlap } from "./address.js";
import { type Cluster, speaksHttp } from "./cluster.js";
import { closesByHop, hasKillSwitch } from "./drain-guarantee.js";
import { addressKey, type Endpoint } from "./endpoint.js";
import type { Listener } from "./listener.js";
import { problem } from "./problem-codes.js";
import { backendsOf, listenersOf, type Route, type TcpRoute, type UdpRoute } from "./route.js";
import { sameContent } from "./same.js";

/** At most this many addresses are named when two backends share more. */
const maxSharedNamed = 20;

/** What the rules of a route look at. */
export interface RouteSurroundings {
  readonly listeners: ReadonlyMap<string, Listener>;
  readonly clusters: ReadonlyMap<string, Cluster>;
  /** Routes that name the listener of an L4 route already; the route itself may be among them. */
  readonly neighbours: readonly Route[];
  /** cluster → its endpoints, for an L4 route that `mixesBackends`. */
  readonly endpoints: ReadonlyMap<string, readonly Endpoint[]>;
}

/** True for L4 routes whose backends become the localities of one Envoy cluster: their settings and addresses must fit together. */
export function mixesBackends(route: Route): route is TcpRoute | UdpRoute {
  return route.protocol !== "http" && route.backends.length > 1 && (route.protocol === "udp" || route.split === "endpoints");
}

/** Everything that a route's own write can break. */
export function routeProblems(route: Route, around: RouteSurroundings): readonly Problem[] {
  return [
    ...routeListenerProblems(route, around.listeners),
    ...(route.protocol === "http" ? [] : l4ListenerProblems(route, around)),
    ...routeClusterProblems(route, around.clusters),
    ...(mixesBackends(route) ? [...mixProblems(route, around.clusters), ...sharedInRoute(route, around.endpoints)] : []),
  ];
}

/** JSON pointer of the n-th listener of a route. */
function listenerPointer(route: Route, at: number): string {
  return route.protocol === "http" ? `/listeners/${at}` : "/listener";
}

function listenerFits(route: Route, listener: Listener): boolean {
  if (route.protocol === "tcp") return listener.protocol === "tcp" || listener.protocol === "tls";
  return listener.protocol === route.protocol;
}

function routeListenerProblems(route: Route, listeners: ReadonlyMap<string, Listener>): Problem[] {
  return listenersOf(route).flatMap((name, at) => {
    const pointer = listenerPointer(route, at);
    const listener = listeners.get(name);
    if (!listener) return problem(pointer, "unknown_listener", `there is no listener ${name}`);
    if (listenerFits(route, listener)) return [];
    return problem(
      pointer,
      "protocol_mismatch",
      `a route of protocol ${route.protocol} can't be on listener ${name}, whose protocol is ${listener.protocol}`,
    );
  });
}

/** A tcp or udp listener takes one route; a tls listener takes one per server name, and one for the rest. */
function l4ListenerProblems(route: TcpRoute | UdpRoute, around: RouteSurroundings): Problem[] {
  const listener = around.listeners.get(route.listener);
  if (!listener || !listenerFits(route, listener)) return [];
  const others = around.neighbours.filter(
    (other): other is TcpRoute | UdpRoute => other.protocol !== "http" && other.name !== route.name,
  );
  if (listener.protocol === "tls" && route.protocol === "tcp") return sniProblems(route, others);
  const problems: Problem[] = [];
  const other = others[0];
  if (other)
    problems.push(
      problem(
        "/listener",
        "listener_taken",
        `listener ${listener.name} carries route ${other.name}; a ${listener.protocol} listener takes one route`,
      ),
    );
  if (route.protocol === "tcp" && route.sni.length > 0) {
    problems.push(
      problem("/sni", "sni_not_allowed", `listener ${listener.name} is plain tcp and sees no server name; only tls listeners do`),
    );
  }
  return problems;
}

function sniProblems(route: TcpRoute, others: readonly Route[]): Problem[] {
  /** server name → route that has it; "" stands for the route without names. */
  const taken = new Map<string, string>();
  for (const other of others) {
    if (other.protocol === "tcp") for (const name of other.sni.length === 0 ? [""] : other.sni) taken.set(name, other.name);
  }
  if (route.sni.length === 0) {
    const holder = taken.get("");
    return holder === undefined
      ? []
      : [problem("/sni", "sni_taken", `route ${holder} already takes every server name that no other route has`)];
  }
  return route.sni.flatMap((name, at) => {
    const holder = taken.get(name);
    return holder === undefined ? [] : [problem(`/sni/${at}`, "sni_taken", `route ${holder} on the same listener has ${name}`)];
  });
}

function clusterFits(route: Route, cluster: Cluster): boolean {
  if (route.protocol === "http") return speaksHttp(cluster.protocol);
  return (route.protocol === "udp") === (cluster.protocol === "udp");
}

function routeClusterProblems(route: Route, clusters: ReadonlyMap<string, Cluster>): Problem[] {
  return backendsOf(route).flatMap(({ cluster: name }, at) => {
    const pointer = `/backends/${at}/cluster`;
    const cluster = clusters.get(name);
    if (!cluster) return problem(pointer, "unknown_cluster", `there is no cluster ${name}`);
    if (clusterFits(route, cluster)) return [];
    return problem(
      pointer,
      "protocol_mismatch",
      `a route of protocol ${route.protocol} can't go to cluster ${name}, whose protocol is ${cluster.protocol}`,
    );
  });
}

/** In what two clusters can't be one Envoy cluster; undefined when they can. */
function mixFault(one: Cluster, other: Cluster): "protocol" | "healthChecks" | "drain/atDeadline" | undefined {
  if (one.protocol !== other.protocol) return "protocol";
  if (!sameContent(one.healthChecks, other.healthChecks)) return "healthChecks";
  return hasKillSwitch(one) === hasKillSwitch(other) ? undefined : "drain/atDeadline";
}

/** True when a change of a cluster can break no route of its own: what routes look at is as it was. */
export function fitsAsBefore(before: Cluster, after: Cluster): boolean {
  return mixFault(before, after) === undefined && closesByHop(before) === closesByHop(after);
}

/** How the author gets out of a clash of two backends. */
function wayOut(route: TcpRoute | UdpRoute): string {
  return route.protocol === "tcp" ? 'make them alike, or give the route `"split": "listener"`' : "make them alike";
}

function mixProblems(route: TcpRoute | UdpRoute, clusters: ReadonlyMap<string, Cluster>): Problem[] {
  const first = clusters.get(route.backends[0]?.cluster ?? "");
  if (!first) return [];
  return route.backends.flatMap(({ cluster: name }, at) => {
    const cluster = clusters.get(name);
    const fault = cluster && mixFault(first, cluster);
    if (fault === undefined) return [];
    return problem(
      `/backends/${at}/cluster`,
      "backends_differ",
      `clusters ${first.name} and ${name} differ in ${fault.replace("/", ".")}: ${wayOut(route)}`,
    );
  });
}

/** Envoy counts only the first of two equal addresses in one cluster, so the split would silently be another one. */
function sharedInRoute(route: TcpRoute | UdpRoute, endpoints: ReadonlyMap<string, readonly Endpoint[]>): Problem[] {
  const problems: Problem[] = [];
  /** address key → cluster that has it. */
  const holders = new Map<string, string>();
  for (const [at, { cluster }] of route.backends.entries()) {
    for (const endpoint of endpoints.get(cluster) ?? []) {
      const key = addressKey(endpoint);
      const holder = holders.get(key);
      if (holder === undefined) holders.set(key, cluster);
      else if (holder !== cluster && problems.length < maxSharedNamed) {
        problems.push(
          problem(
            `/backends/${at}/cluster`,
            "shared_address",
            `${key} is an endpoint of cluster ${holder} and of cluster ${cluster}, and would count once`,
          ),
        );
      }
    }
  }
  return problems;
}

/** An endpoint that is about to be in a cluster, and where it stands in the body. */
export interface PlacedEndpoint {
  readonly endpoint: Endpoint;
  readonly pointer: string;
}

/** The other backends of a route that mixes the endpoints' cluster with them. */
export interface Sibling {
  readonly route: string;
  readonly cluster: string;
  readonly endpoints: readonly Endpoint[];
}

/** The same rule from the other side: endpoints that come to a cluster which routes mix with others. */
export function endpointProblems(placed: readonly PlacedEndpoint[], siblings: readonly Sibling[]): readonly Problem[] {
  /** address key → who has it already. */
  const holders = new Map<string, Sibling>();
  for (const sibling of siblings) for (const endpoint of sibling.endpoints) holders.set(addressKey(endpoint), sibling);
  return placed.flatMap(({ endpoint, pointer }) => {
    const holder = holders.get(addressKey(endpoint));
    if (!holder) return [];
    return problem(
      `${pointer}/address`,
      "shared_address",
      `${addressKey(endpoint)} is an endpoint of cluster ${holder.cluster} too, and route ${holder.route} has both clusters as backends`,
    );
  });
}

/** Envoy loses count of an endpoint's connections when it moves to another locality. */
export function locationProblems(before: Endpoint, after: Endpoint, pointer: string): readonly Problem[] {
  return (["region", "zone"] as const).flatMap((key) =>
    before[key] === after[key]
      ? []
      : problem(
          `${pointer}/${key}`,
          "location_fixed",
          `the ${key} of ${addressKey(after)} is ${JSON.stringify(before[key])} and can't be edited: remove the endpoint and add it again`,
        ),
  );
}

/** What a change of a cluster would break. `clusters`: the other backends of those routes that mix it. */
export function clusterProblems(
  cluster: Cluster,
  routes: readonly Route[],
  clusters: ReadonlyMap<string, Cluster>,
  before = cluster,
): readonly Problem[] {
  return routes.flatMap((route) => {
    if (!clusterFits(route, cluster)) {
      return problem(
        "/protocol",
        "breaks_route",
        `route ${route.name} of protocol ${route.protocol} can't go to a cluster of protocol ${cluster.protocol}`,
      );
    }
    if (!mixesBackends(route)) return hopProblems(route, before, cluster);
    return route.backends.flatMap(({ cluster: name }) => {
      const other = name === cluster.name ? undefined : clusters.get(name);
      const fault = other && mixFault(cluster, other);
      if (fault === undefined) return [];
      return problem(
        `/${fault}`,
        "breaks_route",
        `route ${route.name} mixes this cluster with ${name}, and they would differ in ${fault.replace("/", ".")}: ${wayOut(route)}`,
      );
    });
  });
}

/** With or without a hop, the cluster's endpoints have other addresses: in the moment of the change requests would fail. */
function hopProblems(route: Route, before: Cluster, after: Cluster): Problem[] {
  if (closesByHop(before) === closesByHop(after)) return [];
  const pointer = before.drain.atDeadline === after.drain.atDeadline ? "/healthChecks" : "/drain/atDeadline";
  return [
    problem(
      pointer,
      "breaks_route",
      `route ${route.name} names this cluster, and requests would fail while it gets or loses the means to close: make another cluster and shift to it`,
    ),
  ];
}

/** What a listener's write breaks. `atPort`: all listeners on the same port, itself included or not. */
export function listenerProblems(listener: Listener, atPort: readonly Listener[], routes: readonly Route[]): readonly Problem[] {
  const problems: Problem[] = routes
    .filter((route) => !listenerFits(route, listener))
    .map((route) =>
      problem(
        "/protocol",
        "breaks_route",
        `route ${route.name} of protocol ${route.protocol} can't be on a listener of protocol ${listener.protocol}`,
      ),
    );
  problems.push(...fewerRoutes(listener, routes));
  for (const other of atPort) {
    if (other.name === listener.name || other.port !== listener.port) continue;
    const gateway = listener.gateways.find((name) => other.gateways.includes(name));
    const sameSocket =
      (other.protocol === "udp") === (listener.protocol === "udp") && addressesOverlap(other.address, listener.address);
    if (gateway === undefined || !sameSocket) continue;
    problems.push(problem("/port", "address_taken", `listener ${other.name} has ${addressKey(other)} on gateway ${gateway}`));
  }
  return problems;
}

/** A tls listener that becomes a tcp one can't keep several routes, nor one with server names. */
function fewerRoutes(listener: Listener, routes: readonly Route[]): Problem[] {
  if (listener.protocol !== "tcp") return [];
  const named = routes
    .filter((route) => route.protocol === "tcp" && route.sni.length > 0)
    .map((route) =>
      problem("/protocol", "breaks_route", `route ${route.name} has server names, which a plain tcp listener does not see`),
    );
  return routes.length > 1
    ? [...named, problem("/protocol", "breaks_route", `a tcp listener takes one route, and ${routes.length} name this one`)]
    : named;
}
