// The body of an HTTP route. In: JSON that the schema has passed, and the clusters that it names (they decide the default
// timeout). Out: model/route.ts, defaults filled in, and back. Called by route-body.ts.
import { type Static, Type } from "typebox";
import type { Problem } from "../errors.js";
import type { Cluster } from "../model/cluster.js";
import { problem } from "../model/problem-codes.js";
import {
  type HashOn,
  type HttpAction,
  type HttpRoute,
  type Redirect,
  type Retry,
  retryConditions,
  type Sticky,
} from "../model/route.js";
import { backendsSchema, fromBackendsBody, toBackendsBody } from "./backend-body.js";
import { compact, integer, list, milliseconds, name, object, oneOf, text, word } from "./fields.js";
import { fromMatchBody, matchSchema, toMatchBody } from "./http-match-body.js";

const standard = { priority: 0, timeoutMs: 15_000, attempts: 1, perTryTimeoutMs: 0, ttlMs: 0, path: "/", status: 301 } as const;

const retry = object(
  {
    on: list(word(retryConditions, "What is tried again."), 1, retryConditions.length, "Conditions.", { unique: true }),
    attempts: Type.Optional(integer(1, 10, "Tries after the first.", standard.attempts)),
    perTryTimeoutMs: Type.Optional(
      milliseconds(0, 3_600_000, "Bound of one try; 0: only the route's timeout.", standard.perTryTimeoutMs),
    ),
  },
  { description: "Default: nothing is tried again." },
);

const rewrite = object(
  {
    prefix: Type.Optional(text(1, 1024, "path", "Replaces the matched prefix or exact path.")),
    host: Type.Optional(text(1, 253, "authority", "Replaces the Host header.")),
  },
  { minProperties: 1, description: "What the backend sees. Default: what the client sent." },
);

const redirect = object(
  {
    scheme: Type.Optional(word(["http", "https"], "Scheme of the new address.")),
    host: Type.Optional(text(1, 253, "host-name", "Host of the new address.")),
    port: Type.Optional(integer(1, 65_535, "Port of the new address.")),
    path: Type.Optional(text(1, 1024, "path-and-query", "Whole new path.")),
    prefix: Type.Optional(text(1, 1024, "path", "Replaces the matched prefix or exact path.")),
    status: Type.Optional(
      Type.Unsafe<Redirect["status"]>({
        type: "integer",
        enum: [301, 302, 303, 307, 308],
        default: 301,
        description: "Status. Default 301.",
      }),
    ),
  },
  { description: "Sends the client elsewhere; excludes backends and what belongs to them." },
);

const cookieName = text(1, 128, "cookie-name", "Name of the cookie.");
const headerName = text(1, 128, "header-name", "Name of the header.");
const sticky = oneOf(
  "kind",
  [
    object({
      kind: Type.Literal("session-cookie", {
        description: "Envoy sets a cookie that names the endpoint: a session stays on one endpoint.",
      }),
      cookie: cookieName,
      ttlMs: Type.Optional(
        milliseconds(0, 31_536_000_000, "How long the cookie lives; 0: as long as the browser's session.", standard.ttlMs),
      ),
      path: Type.Optional(text(1, 1024, "path", "Path of the cookie. Default /.")),
    }),
    object({
      kind: Type.Literal("canary-header", {
        description: "The hash of a header picks the backend: a user stays on one side of the split.",
      }),
      header: headerName,
    }),
    object({
      kind: Type.Literal("canary-cookie", { description: "The same by a cookie that the application sets." }),
      cookie: cookieName,
    }),
  ],
  "What ties a user to something. Default: nothing.",
);

const hashOn = oneOf(
  "kind",
  [
    object({ kind: Type.Literal("header"), name: headerName }),
    object({ kind: Type.Literal("cookie"), name: cookieName }),
    object({ kind: Type.Literal("source-ip") }),
  ],
  "What clusters with ring-hash or maglev hash.",
);

/** Fields of an HTTP route, without its name. */
export const httpFields = {
  protocol: Type.Literal("http", { description: "HTTP, on http listeners." }),
  priority: Type.Optional(integer(-1000, 1000, "Larger goes first among routes that match.", standard.priority)),
  listeners: list(name("listener"), 1, 16, "Listeners that carry the route.", { unique: true }),
  hosts: Type.Optional(
    list(text(1, 253, "host", "Host, exact or *.example.com, in any case."), 0, 64, "Hosts; none: every host."),
  ),
  match: Type.Optional(matchSchema),
  backends: Type.Optional(backendsSchema),
  timeoutMs: Type.Optional(
    milliseconds(0, 86_400_000, "Bound of the whole request; 0: none. Default 15000, or 0 with upgrades or a grpc backend."),
  ),
  retry: Type.Optional(retry),
  rewrite: Type.Optional(rewrite),
  redirect: Type.Optional(redirect),
  upgrades: Type.Optional(list(word(["websocket"], "Protocol."), 0, 1, "Upgrades that pass. Default none.", { unique: true })),
  sticky: Type.Optional(sticky),
  hashOn: Type.Optional(list(hashOn, 0, 8, "Hashed together. Default nothing.")),
};
const httpNamed = object({ name: name("route"), ...httpFields });
/** A body that the schema has passed. */
export type HttpRouteBody = Static<typeof httpNamed>;
type Unnamed = Omit<HttpRouteBody, "name">;

/** Fields that say what happens at a backend. */
const forwardFields = ["backends", "timeoutMs", "retry", "rewrite", "upgrades", "sticky", "hashOn"] as const;

/** A route forwards or redirects: what a schema can't say in words that help. */
export function httpBodyProblems(body: Unnamed): readonly Problem[] {
  if (body.redirect === undefined) {
    return body.backends === undefined ? [problem("/backends", "missing_field", "a route has backends, or a redirect")] : [];
  }
  const { scheme, host, port, path, prefix } = body.redirect;
  const aimless = [scheme, host, port, path, prefix].every((part) => part === undefined);
  const problems = aimless
    ? [problem("/redirect", "missing_field", "a redirect changes at least one of scheme, host, port, path, prefix")]
    : [];
  const excluded = forwardFields
    .filter((field) => body[field] !== undefined)
    .map((field) =>
      problem(`/${field}`, "contradiction", `a route with a redirect has no ${field}: the request reaches no backend`),
    );
  return [...problems, ...excluded];
}

function fromRetry(body: NonNullable<Unnamed["retry"]>): Retry {
  return {
    on: body.on,
    attempts: body.attempts ?? standard.attempts,
    perTryTimeoutMs: body.perTryTimeoutMs ?? standard.perTryTimeoutMs,
  };
}

function fromSticky(body: NonNullable<Unnamed["sticky"]>): Sticky {
  switch (body.kind) {
    case "session-cookie":
      return { kind: body.kind, cookie: body.cookie, ttlMs: body.ttlMs ?? standard.ttlMs, path: body.path ?? standard.path };
    case "canary-header":
      return { kind: body.kind, header: body.header.toLowerCase() };
    case "canary-cookie":
      return { kind: body.kind, cookie: body.cookie };
  }
}

function fromHashOn(body: Static<typeof hashOn>): HashOn {
  return body.kind === "header" ? { kind: "header", name: body.name.toLowerCase() } : body;
}

function fromRedirect(body: NonNullable<Unnamed["redirect"]>): Redirect {
  const { scheme, host, port, path, prefix, status } = body;
  return { scheme, host: host?.toLowerCase(), port, path, prefix, status: status ?? standard.status };
}

/** A stream has no end that a timeout could wait for. */
function standardTimeoutMs(body: Unnamed, clusters: ReadonlyMap<string, Cluster>): number {
  const streams =
    (body.upgrades ?? []).length > 0 || (body.backends ?? []).some(({ cluster }) => clusters.get(cluster)?.protocol === "grpc");
  return streams ? 0 : standard.timeoutMs;
}

function fromAction(body: Unnamed, clusters: ReadonlyMap<string, Cluster>): HttpAction {
  if (body.redirect) return { kind: "redirect", redirect: fromRedirect(body.redirect) };
  return {
    kind: "forward",
    backends: fromBackendsBody(body.backends ?? []),
    timeoutMs: body.timeoutMs ?? standardTimeoutMs(body, clusters),
    retry: body.retry && fromRetry(body.retry),
    rewritePrefix: body.rewrite?.prefix,
    rewriteHost: body.rewrite?.host,
    upgrades: body.upgrades ?? [],
    sticky: body.sticky && fromSticky(body.sticky),
    hashOn: (body.hashOn ?? []).map(fromHashOn),
  };
}

/** `clusters`: those that the body names; missing ones are told by model/references.ts. */
export function fromHttpRouteBody(named: string, body: Unnamed, clusters: ReadonlyMap<string, Cluster>): HttpRoute {
  return {
    protocol: "http",
    name: named,
    priority: body.priority ?? standard.priority,
    listeners: body.listeners,
    hosts: (body.hosts ?? []).map((host) => host.toLowerCase()),
    match: fromMatchBody(body.match),
    action: fromAction(body, clusters),
  };
}

function toActionBody(action: HttpAction): Partial<Unnamed> {
  if (action.kind === "redirect") return { redirect: compact(action.redirect) };
  const { backends, timeoutMs, retry: again, rewritePrefix: prefix, rewriteHost: host, sticky: tie } = action;
  return {
    backends: toBackendsBody(backends),
    timeoutMs,
    ...compact({ retry: again && { ...again, on: [...again.on] } }),
    ...(prefix === undefined && host === undefined ? {} : { rewrite: compact({ prefix, host }) }),
    upgrades: [...action.upgrades],
    ...compact({ sticky: tie }),
    hashOn: [...action.hashOn],
  };
}

/** The inverse of fromHttpRouteBody. */
export function toHttpRouteBody(route: HttpRoute): HttpRouteBody {
  const { name: named, protocol, priority, listeners, hosts, match, action } = route;
  return {
    name: named,
    protocol,
    priority,
    listeners: [...listeners],
    hosts: [...hosts],
    match: toMatchBody(match),
    ...toActionBody(action),
  };
}
