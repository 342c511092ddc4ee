// HTTP route → envoy.config.route.v3.Route: one, or several in a row where Envoy can't say it in one. Pure.
// Called by route-configuration.ts.
import type { HttpAction, HttpRoute, PathMatch } from "../model/route.js";
import { trimPrefix } from "../model/route-order.js";
import { any } from "../proto/encode.js";
import type { AnyProto, RouteMatchProto, RouteProto } from "../proto/messages.js";
import { toDuration } from "./duration.js";
import { httpFilterNames } from "./http-filters.js";
import { type Rewrite, toForward, toRedirect } from "./route-action.js";
import { toPath, toRouteMatch } from "./route-match.js";

export function toRoutes(route: HttpRoute): readonly RouteProto[] {
  const filters = toFilterConfigs(route.action);
  return toBranches(route.match.path, rewriteOf(route.action)).flatMap(({ path, rewrite }) =>
    toMethods(route.match.methods).map((method) => ({
      match: toRouteMatch(route.match, path, method),
      ...toAction(route.action, rewrite),
      typed_per_filter_config: filters,
      name: route.name,
    })),
  );
}

/**
 * A route for each method. One with a regex of alternatives would do, but Envoy takes no regex of more than about 100
 * characters.
 */
function toMethods(methods: readonly string[]): readonly (string | undefined)[] {
  return methods.length > 0 ? [...methods].sort() : [undefined];
}

function rewriteOf(action: HttpAction): Rewrite {
  return action.kind === "forward" ? action.rewritePrefix : action.redirect.prefix;
}

function toAction(action: HttpAction, rewrite: Rewrite): RouteProto {
  return action.kind === "forward" ? toForward(action, rewrite) : { redirect: toRedirect(action.redirect, rewrite) };
}

interface Branch {
  readonly path: RouteMatchProto;
  readonly rewrite: Rewrite;
}

/**
 * Envoy replaces the matched characters and nothing else, so the slash between prefix and rest must come out once. Rewriting
 * `/api` to `/` takes two routes: `/api` → `/`, and `/api/…` → `/…`; not a regex, for its bounded size. Of an exact path or a
 * regex all is replaced.
 */
function toBranches(path: PathMatch, rewrite: Rewrite): readonly Branch[] {
  if (rewrite === undefined || path.kind !== "prefix") return [{ path: toPath(path), rewrite }];
  const prefix = trimPrefix(path.value);
  const target = trimPrefix(rewrite);
  if (prefix === "/") return [{ path: toPath(path), rewrite: target === "/" ? "/" : `${target}/` }];
  if (target !== "/") return [{ path: toPath(path), rewrite: target }];
  return [
    { path: { path: prefix }, rewrite: "/" },
    { path: { prefix: `${prefix}/` }, rewrite: "/" },
  ];
}

/** The filters that this route switches on, by name. */
function toFilterConfigs(action: HttpAction): Record<string, AnyProto> {
  if (action.kind !== "forward" || action.sticky?.kind !== "session-cookie") return {};
  const { cookie, ttlMs, path } = action.sticky;
  const state = any("envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState", {
    cookie: { name: cookie, ttl: toDuration(ttlMs), path },
  });
  return {
    [httpFilterNames.statefulSession]: any("envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute", {
      stateful_session: { session_state: { name: "envoy.http.stateful_session.cookie", typed_config: state } },
    }),
  };
}
