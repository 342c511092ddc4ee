// Advice in answers: configurations that are valid and often not what was meant. Never blocks a write. Pure.
// docs/errors.md describes every code. Called by api/ after the rules have passed.
import { type Cluster, speaksHttp } from "./cluster.js";
import { type DrainGuarantee, guaranteeOf } from "./drain-guarantee.js";
import { type Endpoint, takesNew } from "./endpoint.js";
import { mixesBackends } from "./references.js";
import { type Backend, backendsOf, type HttpAction, type Route } from "./route.js";
import { sameContent } from "./same.js";

export const lintCodes = [
  "no_health_check",
  "tcp_check_on_http",
  "round_robin",
  "no_endpoint",
  "one_endpoint",
  "all_weights_zero",
  "sticky_session",
  "sticky_canary",
  "sticky_canary_one_backend",
  "hash_unused",
  "hash_missing",
  "timeout_cuts_streams",
  "settings_of_first_backend",
  "listener_split",
  "left_open_at_deadline",
] as const;
export type LintCode = (typeof lintCodes)[number];

/** One piece of advice; `pointer` is a JSON pointer into the object as the answer shows it. */
export interface Lint {
  readonly code: LintCode;
  readonly pointer: string;
  readonly detail: string;
}

/** `routes`: those that name the cluster, as far as the caller knows them. */
export function clusterLint(cluster: Cluster, routes: readonly Route[]): readonly Lint[] {
  const lint: Lint[] = [];
  if (cluster.healthChecks.length === 0) {
    lint.push({
      code: "no_health_check",
      pointer: "/healthChecks",
      detail: "no health check: an endpoint that is down keeps getting traffic until connections fail",
    });
  }
  for (const [at, check] of cluster.healthChecks.entries()) {
    if (check.kind !== "tcp" || !speaksHttp(cluster.protocol)) continue;
    lint.push({
      code: "tcp_check_on_http",
      pointer: `/healthChecks/${at}/kind`,
      detail: "a TCP check passes while the service answers 500 to everything; check with http or grpc",
    });
  }
  if (cluster.loadBalancing.policy === "round-robin") {
    lint.push({
      code: "round_robin",
      pointer: "/loadBalancing/policy",
      detail: "round robin piles work on slow endpoints where requests differ in cost; least-request does not",
    });
  }
  // Over HTTP it is the routes that leave something open.
  if (speaksHttp(cluster.protocol) && routes.length === 0) return lint;
  return [...lint, ...leftOpenLint(guaranteeOf(cluster, routes), "/drain")];
}

function leftOpenLint({ kind, because }: DrainGuarantee, pointer: string): readonly Lint[] {
  if (kind !== "left-open") return [];
  return [
    { code: "left_open_at_deadline", pointer, detail: `at a drain's deadline what is open is left open and counted: ${because}` },
  ];
}

/** For writes that know all endpoints of the cluster. */
export function endpointsLint(endpoints: readonly Endpoint[], pointer: string): readonly Lint[] {
  const enabled = endpoints.filter((endpoint) => takesNew(endpoint)).length;
  if (enabled === 0)
    return [{ code: "no_endpoint", pointer, detail: "no endpoint is enabled: there is nowhere to send traffic" }];
  if (enabled === 1) return [{ code: "one_endpoint", pointer, detail: "one endpoint is enabled: when it goes, nothing is left" }];
  return [];
}

export function weightsLint(backends: readonly Backend[], pointer: string): readonly Lint[] {
  if (backends.length === 0 || backends.some(({ weight }) => weight > 0)) return [];
  return [{ code: "all_weights_zero", pointer, detail: "every weight is 0: the route answers nothing but errors" }];
}

/** `clusters`: those that the route names; any that are missing are left out of the advice. */
export function routeLint(route: Route, clusters: ReadonlyMap<string, Cluster>): readonly Lint[] {
  const backends = backendsOf(route);
  const named = backends.flatMap(({ cluster }) => clusters.get(cluster) ?? []);
  const lint = [...weightsLint(backends, "/backends"), ...outlivesDrainLint(route, named)];
  if (route.protocol === "http") return route.action.kind === "forward" ? [...lint, ...forwardLint(route.action, named)] : lint;
  // A cluster of the route's own hashes whenever the route asks for it; the clusters of a listener split must do so themselves.
  const asked = route.hashOnSourceIp && route.protocol === "tcp" && route.split === "listener";
  lint.push(...hashLint(asked, route.hashOnSourceIp, "/hashOnSourceIp", named));
  if (route.protocol === "tcp" && route.split === "listener" && backends.length > 1) {
    lint.push({
      code: "listener_split",
      pointer: "/split",
      detail: "every change of weights or backends drains the listener and cuts its long connections",
    });
  }
  const first = named[0];
  if (first && mixesBackends(route) && named.some((cluster) => !sameSettings(first, cluster))) {
    lint.push({
      code: "settings_of_first_backend",
      pointer: "/backends",
      detail: `backends differ in connect timeout, load balancing, outlier detection, circuit breakers or slow start: those of ${first.name} hold for all`,
    });
  }
  return lint;
}

/** What this route makes of a cluster that would not be left open without it. Of those that it leaves open, the first is told. */
function outlivesDrainLint(route: Route, clusters: readonly Cluster[]): readonly Lint[] {
  const open = clusters.filter(({ protocol }) => speaksHttp(protocol)).map((cluster) => guaranteeOf(cluster, [route]));
  return open.flatMap((guarantee) => leftOpenLint(guarantee, route.protocol === "http" ? "/timeoutMs" : "/backends")).slice(0, 1);
}

type Forward = Extract<HttpAction, { kind: "forward" }>;

function forwardLint(action: Forward, clusters: readonly Cluster[]): Lint[] {
  const asked = action.hashOn.length > 0;
  const canary = action.sticky !== undefined && action.sticky.kind !== "session-cookie";
  return [...stickyLint(action), ...hashLint(asked, asked || canary, "/hashOn", clusters), ...timeoutLint(action, clusters)];
}

function stickyLint(action: Forward): Lint[] {
  const { sticky, backends } = action;
  if (!sticky) return [];
  if (sticky.kind === "session-cookie") {
    return [
      {
        code: "sticky_session",
        pointer: "/sticky",
        detail:
          "sessions stay where they are: load is uneven after scaling, an endpoint drains only as its sessions end, and the cookie tells the endpoint's address",
      },
    ];
  }
  const lint: Lint[] = [
    {
      code: "sticky_canary",
      pointer: "/sticky",
      detail:
        "requests without this header or cookie are split at random, and the share counts users, not requests: one heavy user weighs more",
    },
  ];
  if (backends.length < 2)
    lint.push({
      code: "sticky_canary_one_backend",
      pointer: "/backends",
      detail: "a sticky canary splits nothing while there is one backend",
    });
  return lint;
}

/** `asked`: the route names what to hash. `hashes`: something is hashed, be it for another purpose. */
function hashLint(asked: boolean, hashes: boolean, pointer: string, clusters: readonly Cluster[]): Lint[] {
  const hashing = clusters.find(({ loadBalancing: { policy } }) => policy === "ring-hash" || policy === "maglev");
  if (hashing && !hashes) {
    return [
      {
        code: "hash_missing",
        pointer,
        detail: `cluster ${hashing.name} hashes, and this route gives it nothing to hash: endpoints are chosen at random`,
      },
    ];
  }
  if (asked && !hashing)
    return [{ code: "hash_unused", pointer, detail: "no backend's load balancing is ring-hash or maglev, so nothing is hashed" }];
  return [];
}

function timeoutLint(action: Forward, clusters: readonly Cluster[]): Lint[] {
  const streams = action.upgrades.length > 0 || clusters.some(({ protocol }) => protocol === "grpc");
  if (!streams || action.timeoutMs === 0) return [];
  return [
    {
      code: "timeout_cuts_streams",
      pointer: "/timeoutMs",
      detail: `WebSockets and gRPC streams are cut after ${action.timeoutMs} ms; 0 means no timeout`,
    },
  ];
}

function sameSettings(one: Cluster, other: Cluster): boolean {
  return (["connectTimeoutMs", "loadBalancing", "outlierDetection", "circuitBreakers", "slowStartMs"] as const).every((key) =>
    sameContent(one[key], other[key]),
  );
}
