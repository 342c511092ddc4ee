// By what means the deadline of a drain is kept for a cluster, and within what time. Pure. In: the cluster and the routes that name
// it. Out: shown by the API, the plan and lint; src/drain/ decides by it. Nothing that Envoy does to a removed endpoint closes its
// connections (ADR 0022), so where none of these means holds, the answer is `left-open`, and says what to set.
import { type Cluster, speaksHttp } from "./cluster.js";
import type { HealthCheck } from "./health-check.js";
import { clustersOf, type HttpRoute, longestRequestMs, type Route } from "./route.js";

/** How a drain's deadline is kept, the surest first. */
export const guaranteeKinds = [
  /** There is nothing to close, nor to wait for: UDP. */
  "none-needed",
  /** The endpoint's active check is made to fail, and Envoy closes its TCP connections then. */
  "kill-switch",
  /** Requests end by the timeouts of their routes. */
  "bounded-by-timeout",
  /** All connections to the endpoint go by way of an inner one, and that one is closed. */
  "hop",
  /** Nothing closes what is still open. */
  "left-open",
] as const;
export type GuaranteeKind = (typeof guaranteeKinds)[number];

export interface DrainGuarantee {
  readonly kind: GuaranteeKind;
  /** From when an Envoy knows that the deadline is over until nothing is open any more, at most, ms; undefined: no bound. */
  readonly closesWithinMs: number | undefined;
  /** For people: why, and for `left-open` what to set. */
  readonly because: string;
}

/** Routes that are named in one reason. */
const maxNamed = 3;

/**
 * True for clusters with the kill switch: a socket that nothing can pass, which an endpoint's metadata selects for its health check
 * (translate/kill-switch.ts). For raw TCP only: over HTTP Envoy does not close what is open when a check fails.
 */
export function hasKillSwitch({ protocol, drain, healthChecks }: Cluster): boolean {
  return protocol === "tcp" && drain.atDeadline === "close" && healthChecks.length > 0;
}

/**
 * The check of a hop's inner cluster (translate/hop.ts): it asks whether the endpoint takes a TCP connection, and nothing else, so that it
 * fails when it is made to, or when the endpoint is gone.
 */
export const hopCheck = {
  intervalMs: 1_000,
  intervalJitterMs: 0,
  timeoutMs: 1_000,
  unhealthyThreshold: 2,
  unhealthyIntervalMs: undefined,
};

/** After its inner connection Envoy closes a WebSocket's own up to this much later, ms. */
const delayedCloseMs = 1_000;

/**
 * True for clusters that have a hop, on Envoys that can: an HTTP cluster that asks. It needs an active check, because an endpoint that
 * comes must not be served before the inner cluster has it, and the check's answer comes later than that.
 */
export function closesByHop({ protocol, drain, healthChecks }: Cluster): boolean {
  return speaksHttp(protocol) && drain.atDeadline === "close" && healthChecks.length > 0;
}

/** `routes`: those that name the cluster; others are left out of the answer. `timeoutMs`: the drain's own, if it has one. */
export function guaranteeOf(cluster: Cluster, routes: readonly Route[], timeoutMs = cluster.drain.timeoutMs): DrainGuarantee {
  if (cluster.protocol === "udp") {
    return { kind: "none-needed", closesWithinMs: 0, because: "a UDP session moves to another endpoint at its next datagram" };
  }
  if (cluster.protocol === "tcp") return ofTcp(cluster);
  return ofHttp(
    cluster,
    routes.filter((route) => clustersOf(route).includes(cluster.name)),
    timeoutMs,
  );
}

function leftOpen(because: string): DrainGuarantee {
  return { kind: "left-open", closesWithinMs: undefined, because };
}

function ofTcp(cluster: Cluster): DrainGuarantee {
  if (!hasKillSwitch(cluster)) {
    return leftOpen(
      'TCP connections last as long as both ends want: "drain": {"atDeadline": "close"} with an active health check closes them',
    );
  }
  return {
    kind: "kill-switch",
    closesWithinMs: Math.max(...cluster.healthChecks.map(failsWithinMs)),
    because: "the endpoint's health check is made to fail, and Envoy closes the endpoint's TCP connections then",
  };
}

type CheckTimes = Pick<
  HealthCheck,
  "intervalMs" | "intervalJitterMs" | "timeoutMs" | "unhealthyThreshold" | "unhealthyIntervalMs"
>;

/**
 * The longest until a check that can't pass any more has taken the endpoint out, ms. A check that is under way passes still; each
 * further one may wait for its timeout, and the next interval begins after that.
 */
function failsWithinMs(check: CheckTimes): number {
  const { intervalMs, intervalJitterMs, timeoutMs, unhealthyThreshold } = check;
  const againMs = Math.max(intervalMs, check.unhealthyIntervalMs ?? 0); // Envoy counts failures at the interval of the unhealthy.
  const first = intervalMs + intervalJitterMs + timeoutMs;
  return timeoutMs + first + (unhealthyThreshold - 1) * (againMs + intervalJitterMs + timeoutMs);
}

/**
 * The longest until a check that passes again has put an endpoint back that it had taken out, ms. The interval is that of the unhealthy
 * until then.
 */
export function returnsWithinMs({ healthChecks }: Cluster): number {
  const times = healthChecks.map(({ healthyThreshold, intervalMs, intervalJitterMs, timeoutMs, unhealthyIntervalMs }) => {
    const againMs = Math.max(intervalMs, unhealthyIntervalMs ?? 0) + intervalJitterMs + timeoutMs;
    return timeoutMs + healthyThreshold * againMs;
  });
  return Math.max(0, ...times);
}

function ofHttp(cluster: Cluster, routes: readonly Route[], timeoutMs: number): DrainGuarantee {
  if (routes.length === 0)
    return leftOpen("no route names the cluster, and what came by earlier ones has no bound that is known");
  const overTcp = routes.filter((route) => route.protocol !== "http");
  if (overTcp.length > 0) {
    return leftOpen(
      `${named(overTcp)} carries it as TCP, and only a cluster of protocol tcp, with "drain": {"atDeadline": "close"} and an active health check, has its TCP connections closed`,
    );
  }
  const http = routes.filter((route): route is HttpRoute => route.protocol === "http");
  const endless = http.filter((route) => longestOf(route) === undefined);
  if (endless.length > 0) return closesByHop(cluster) ? hop : leftOpen(whyEndless(cluster, endless));
  const longestMs = Math.max(...http.map((route) => longestOf(route) ?? 0));
  const late = http.filter((route) => route.action.kind === "forward" && route.action.timeoutMs > timeoutMs);
  if (late.length > 0) {
    if (closesByHop(cluster)) return hop;
    return leftOpen(
      `a request of ${named(late)} may take longer than the drain's ${timeoutMs} ms: raise drain.timeoutMs, or lower the route's timeoutMs`,
    );
  }
  // Requests that began before the drain are over by then; those of sessions that stay come until the deadline.
  const closesWithinMs = cluster.drain.sticky === "until-drained" ? longestMs : Math.max(0, longestMs - timeoutMs);
  return {
    kind: "bounded-by-timeout",
    closesWithinMs,
    because: `every request ends within ${longestMs} ms by its route's timeout`,
  };
}

const hop: DrainGuarantee = {
  kind: "hop",
  closesWithinMs: failsWithinMs(hopCheck) + delayedCloseMs,
  because: "Envoys whose bootstrap has the listener chancery/hop, and that ask by ADS, close what is open; others leave it open",
};

/** 0: a redirect sends nothing to a cluster. */
function longestOf({ action }: HttpRoute): number | undefined {
  return action.kind === "forward" ? longestRequestMs(action) : 0;
}

function whyEndless(cluster: Cluster, routes: readonly HttpRoute[]): string {
  const wish = cluster.drain.atDeadline === "close" ? ', and "atDeadline": "close" needs an active health check' : "";
  const upgrading = routes.filter(({ action }) => action.kind === "forward" && action.upgrades.length > 0);
  if (upgrading.length === 0) return `requests of ${named(routes)} have no timeout${wish}: a timeoutMs there bounds them`;
  return `WebSockets of ${named(upgrading)} last as long as both ends want${wish}: a cluster of their own leaves other requests bounded`;
}

function named(routes: readonly Route[]): string {
  const names = routes.map(({ name }) => name).sort();
  const more = names.length > maxNamed ? ` and ${names.length - maxNamed} more` : "";
  return `${names.length === 1 ? "route" : "routes"} ${names.slice(0, maxNamed).join(", ")}${more}`;
}

/** True when sessions by cookie may stay on an endpoint that drains. */
export function keepsSessions({ protocol, drain }: Cluster): boolean {
  return speaksHttp(protocol) && drain.sticky === "until-drained";
}
