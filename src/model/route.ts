// A route: one match and one set of weighted backends. Flat, so that scripts never clobber each other's lists. Pure.

export interface Backend {
  readonly cluster: string;
  /** Relative share, 0–10,000; the sum need not be anything. 0: none, but the cluster stays reachable. */
  readonly weight: number;
}

export type PathMatch =
  | { readonly kind: "exact"; readonly value: string }
  /** Whole path segments: `/api` matches `/api` and `/api/x`, not `/apiary`; `/` matches all. */
  | { readonly kind: "prefix"; readonly value: string }
  /** RE2, against the whole path without its query. */
  | { readonly kind: "regex"; readonly value: string };

/** How one value is compared. `present` asks only whether it is there. */
export type ValueMatch =
  | { readonly kind: "exact"; readonly value: string }
  | { readonly kind: "prefix"; readonly value: string }
  | { readonly kind: "suffix"; readonly value: string }
  | { readonly kind: "contains"; readonly value: string }
  | { readonly kind: "regex"; readonly value: string }
  | { readonly kind: "present" };

/** A condition on one header, query parameter or cookie. `not` inverts it (only where Envoy can: headers and cookies). */
export interface NamedMatch {
  readonly name: string;
  readonly match: ValueMatch;
  readonly not: boolean;
}

export interface HttpMatch {
  readonly path: PathMatch;
  /** Upper case; empty: any. */
  readonly methods: readonly string[];
  readonly headers: readonly NamedMatch[];
  readonly query: readonly NamedMatch[];
  readonly cookies: readonly NamedMatch[];
}

export interface Retry {
  readonly on: readonly RetryOn[];
  readonly attempts: number;
  /** 0: only the route's own timeout bounds a try. */
  readonly perTryTimeoutMs: number;
}
export const retryConditions = [
  "5xx",
  "gateway-error",
  "reset",
  "connect-failure",
  "refused-stream",
  "retriable-4xx",
  "cancelled",
  "deadline-exceeded",
  "resource-exhausted",
  "unavailable",
] as const;
export type RetryOn = (typeof retryConditions)[number];

/** What ties a user to something. All are RDS only, so switching them drains nothing. */
export type Sticky =
  /** Cookie set by Envoy that names the endpoint: a session stays on one endpoint. */
  | { readonly kind: "session-cookie"; readonly cookie: string; readonly ttlMs: number; readonly path: string }
  /** A hash of a header or an existing cookie picks the backend: a user stays on one side of a canary split. */
  | { readonly kind: "canary-header"; readonly header: string }
  | { readonly kind: "canary-cookie"; readonly cookie: string };

/** What a hashing cluster (ring-hash, maglev) hashes. */
export type HashOn =
  | { readonly kind: "header"; readonly name: string }
  | { readonly kind: "cookie"; readonly name: string }
  | { readonly kind: "source-ip" };

export interface Redirect {
  readonly scheme: "http" | "https" | undefined;
  readonly host: string | undefined;
  readonly port: number | undefined;
  /** At most one of the two. `prefix` replaces what a prefix match matched. */
  readonly path: string | undefined;
  readonly prefix: string | undefined;
  readonly status: 301 | 302 | 303 | 307 | 308;
}

/** What an HTTP route does with a request that it matches. */
export type HttpAction =
  | {
      readonly kind: "forward";
      readonly backends: readonly Backend[];
      readonly timeoutMs: number;
      readonly retry: Retry | undefined;
      /** Replaces the matched prefix or exact path; undefined: left alone. */
      readonly rewritePrefix: string | undefined;
      readonly rewriteHost: string | undefined;
      readonly upgrades: readonly "websocket"[];
      readonly sticky: Sticky | undefined;
      readonly hashOn: readonly HashOn[];
    }
  | { readonly kind: "redirect"; readonly redirect: Redirect };

export interface HttpRoute {
  readonly protocol: "http";
  readonly name: string;
  /** Larger goes first. */
  readonly priority: number;
  readonly listeners: readonly string[];
  /** Lower case. Exact (`shop.example.com`) or wildcard (`*.example.com`); empty: every host. */
  readonly hosts: readonly string[];
  readonly match: HttpMatch;
  readonly action: HttpAction;
}

/** L4 over a tcp or tls listener. */
export interface TcpRoute {
  readonly protocol: "tcp";
  readonly name: string;
  readonly listener: string;
  /** Server names, exact or `*.example.com`; only on tls listeners; empty there: every name not taken by another route. */
  readonly sni: readonly string[];
  readonly backends: readonly Backend[];
  /** The same client address goes to the same endpoint. */
  readonly hashOnSourceIp: boolean;
  /** 0: never. */
  readonly idleTimeoutMs: number;
  /** `endpoints`: shifts by EDS, connections survive. `listener`: backends may differ in checks, but every shift drains. */
  readonly split: "endpoints" | "listener";
}

export interface UdpRoute {
  readonly protocol: "udp";
  readonly name: string;
  readonly listener: string;
  readonly backends: readonly Backend[];
  readonly hashOnSourceIp: boolean;
  /** A session without a datagram for this long is forgotten. */
  readonly idleTimeoutMs: number;
}

export type Route = HttpRoute | TcpRoute | UdpRoute;

/** By how much the bound of a stream is longer than its route's timeout, ms (translate/route-action.ts says why). */
export const streamDurationGraceMs = 500;

/** The longest that one request of the route is under way, ms; undefined: it has no end. A WebSocket lives on, so upgrades have none. */
export function longestRequestMs({ timeoutMs, upgrades }: Extract<HttpAction, { kind: "forward" }>): number | undefined {
  return timeoutMs > 0 && upgrades.length === 0 ? timeoutMs + streamDurationGraceMs : undefined;
}

/** True when its clients are bound to an endpoint by a cookie. */
export function hasSessions(route: Route): boolean {
  return route.protocol === "http" && route.action.kind === "forward" && route.action.sticky?.kind === "session-cookie";
}

/** Every cluster that a route names, at any weight, each once, in the order stored. */
export function clustersOf(route: Route): readonly string[] {
  return [...new Set(backendsOf(route).map((backend) => backend.cluster))];
}

export function backendsOf(route: Route): readonly Backend[] {
  if (route.protocol !== "http") return route.backends;
  return route.action.kind === "forward" ? route.action.backends : [];
}

export function listenersOf(route: Route): readonly string[] {
  return route.protocol === "http" ? route.listeners : [route.listener];
}

/** The route with other backends; a redirect is returned as it is. */
export function withBackends(route: Route, backends: readonly Backend[]): Route {
  if (route.protocol !== "http") return { ...route, backends };
  return route.action.kind === "forward" ? { ...route, action: { ...route.action, backends } } : route;
}
