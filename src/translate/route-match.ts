// What a route matches: path, method, headers, query parameters, cookies. Pure. Called by route.ts.
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#config-route-v3-routematch
import assert from "node:assert";
import type { HttpMatch, NamedMatch, PathMatch, ValueMatch } from "../model/route.js";
import { trimPrefix } from "../model/route-order.js";
import type {
  CookieMatcherProto,
  HeaderMatcherProto,
  QueryParameterMatcherProto,
  RouteMatchProto,
  StringMatcherProto,
} from "../proto/messages.js";
import { unreachable } from "./unreachable.js";

/**
 * The match for one of its paths and one of its methods; undefined: any. What Envoy can't say in one route, route.ts says in
 * several.
 */
export function toRouteMatch(match: HttpMatch, path: RouteMatchProto, method: string | undefined): RouteMatchProto {
  return {
    ...path,
    headers: [...(method === undefined ? [] : [toMethodMatcher(method)]), ...match.headers.map(toHeaderMatcher)],
    query_parameters: match.query.map(toQueryMatcher),
    cookies: match.cookies.map(toCookieMatcher),
  };
}

export function toPath(path: PathMatch): RouteMatchProto {
  switch (path.kind) {
    case "exact":
      return { path: path.value };
    case "prefix": {
      // Envoy's plain prefix `/api` would match `/apiary`; the separated one takes no slash at its end, hence not `/`.
      const prefix = trimPrefix(path.value);
      return prefix === "/" ? { prefix } : { path_separated_prefix: prefix };
    }
    case "regex":
      return { safe_regex: { regex: path.value } };
    default:
      return unreachable(path);
  }
}

function toMethodMatcher(method: string): HeaderMatcherProto {
  return { name: ":method", string_match: { exact: method } };
}

function toHeaderMatcher({ name, match, not }: NamedMatch): HeaderMatcherProto {
  if (match.kind === "present") return { name, present_match: true, invert_match: not };
  return {
    name,
    invert_match: not,
    string_match: toStringMatch(match),
    // "is not x" holds for a request without the header; Envoy would leave such a request unmatched.
    treat_missing_header_as_empty: not,
  };
}

function toQueryMatcher({ name, match, not }: NamedMatch): QueryParameterMatcherProto {
  assert(!not, `Envoy can't negate a condition on a query parameter (${name})`);
  return match.kind === "present" ? { name, present_match: true } : { name, string_match: toStringMatch(match) };
}

function toCookieMatcher({ name, match, not }: NamedMatch): CookieMatcherProto {
  return {
    name,
    // There is no present_match for cookies.
    string_match: match.kind === "present" ? { safe_regex: { regex: ".*" } } : toStringMatch(match),
    invert_match: not,
  };
}

function toStringMatch(match: Exclude<ValueMatch, { kind: "present" }>): StringMatcherProto {
  switch (match.kind) {
    case "exact":
      return { exact: match.value };
    case "prefix":
      return { prefix: match.value };
    case "suffix":
      return { suffix: match.value };
    case "contains":
      return { contains: match.value };
    case "regex":
      return { safe_regex: { regex: match.value } };
    default:
      return unreachable(match);
  }
}
