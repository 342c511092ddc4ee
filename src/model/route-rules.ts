// What one route must keep by itself, beyond the shape of its body. Pure.
// Each function gives all problems, with JSON pointers into the route's body. Rules that look at other objects: references.ts.

import type { Problem } from "../errors.js";
import { escapePointer, problem } from "./problem-codes.js";
import { regexFault } from "./regex.js";
import { backendsOf, type HttpAction, type HttpRoute, type NamedMatch, type PathMatch, type Route } from "./route.js";

export function routeRuleProblems(route: Route): readonly Problem[] {
  const backends = repeated(
    backendsOf(route).map(({ cluster }) => cluster),
    (at) => `/backends/${at}/cluster`,
    "backend",
  );
  if (route.protocol === "tcp") return [...backends, ...repeated(route.sni, (at) => `/sni/${at}`, "server name")];
  if (route.protocol === "udp") return backends;
  return [
    ...backends,
    ...repeated(route.hosts, (at) => `/hosts/${at}`, "host"),
    ...regexProblems(route),
    ...actionProblems(route.action, route.match.path),
  ];
}

/** One problem for every value that an earlier one equals. */
export function repeated(values: readonly string[], pointer: (at: number) => string, what: string): readonly Problem[] {
  const seen = new Set<string>();
  return values.flatMap((value, at) => {
    if (seen.has(value)) return problem(pointer(at), "duplicate", `${what} ${value} is named twice`);
    seen.add(value);
    return [];
  });
}

function regexProblems(route: HttpRoute): Problem[] {
  const { path, headers, query, cookies } = route.match;
  const lists = { headers, query, cookies } satisfies Record<string, readonly NamedMatch[]>;
  const regexes = Object.entries(lists).flatMap(([list, conditions]) =>
    conditions.flatMap(({ match }, at) =>
      match.kind === "regex" ? [{ pointer: `/match/${list}/${at}/regex`, regex: match.value }] : [],
    ),
  );
  if (path.kind === "regex") regexes.push({ pointer: "/match/path/regex", regex: path.value });
  return regexes.flatMap(({ pointer, regex }) => {
    const fault = regexFault(regex);
    return fault === undefined ? [] : problem(pointer, "invalid_regex", fault);
  });
}

/** A prefix is replaced where one was matched; a regex has none. */
function actionProblems(action: HttpAction, path: PathMatch): Problem[] {
  const problems: Problem[] = [];
  if (action.kind === "redirect") {
    const { redirect } = action;
    if (redirect.path !== undefined && redirect.prefix !== undefined) {
      problems.push(problem("/redirect/prefix", "contradiction", "a redirect gives a whole path or a prefix, not both"));
    }
    if (redirect.prefix !== undefined && path.kind === "regex") {
      problems.push(
        problem(
          "/redirect/prefix",
          "contradiction",
          "a prefix replaces what a prefix or exact path matched; this route matches by regex",
        ),
      );
    }
    return problems;
  }
  if (action.rewritePrefix !== undefined && path.kind === "regex") {
    problems.push(
      problem(
        "/rewrite/prefix",
        "contradiction",
        "a prefix replaces what a prefix or exact path matched; this route matches by regex",
      ),
    );
  }
  if (action.sticky && action.sticky.kind !== "session-cookie" && action.hashOn.length > 0) {
    problems.push(
      problem(
        "/hashOn",
        "contradiction",
        "Envoy hashes once per request: a sticky canary hashes its own header or cookie, so hashOn must be empty",
      ),
    );
  }
  return problems;
}

/** `weights` must name every backend of the route once, and nothing else. */
export function weightProblems(route: Route, weights: Readonly<Record<string, number>>): readonly Problem[] {
  const backends = backendsOf(route).map(({ cluster }) => cluster);
  if (backends.length === 0)
    return [problem("/weights", "contradiction", `route ${route.name} is a redirect and has no backends`)];
  const missing = backends
    .filter((cluster) => !Object.hasOwn(weights, cluster))
    .map((cluster) =>
      problem("/weights", "missing_backend", `cluster ${cluster} is a backend of route ${route.name} and has no weight here`),
    );
  const strange = Object.keys(weights)
    .filter((cluster) => !backends.includes(cluster))
    .map((cluster) =>
      problem(
        `/weights/${escapePointer(cluster)}`,
        "unknown_backend",
        `cluster ${JSON.stringify(cluster.slice(0, 64))} is not a backend of route ${route.name}`,
      ),
    );
  return [...missing, ...strange];
}
