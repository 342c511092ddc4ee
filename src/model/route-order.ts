// The whole rule by which HTTP routes are tried, one after the other, in one place (DESIGN §5). Pure. Priority (larger first);
// exact path, then regex, then longer prefix; more header, then query, then cookie, then method conditions; within one virtual
// host, the route that names the host more closely; then name. Compared one after the other, never summed. Total: two routes are
// equal only if their names are, so neither the order of creation nor of the list shows.
import type { HttpRoute, PathMatch } from "./route.js";

type Compare = (a: HttpRoute, b: HttpRoute) => number;

/** Among routes whatever their hosts. Negative: `a` is tried first. */
export const compareRoutes: Compare = (a, b) => compareMatches(a, b) || compareNames(a.name, b.name);

/**
 * Within the virtual host of `host` (exact, `*.example.com`, or `*`), which also holds routes for wider hosts and for every host.
 * Of two routes that the match does not tell apart, the one written for this host goes first, so that a host-less fallback can't
 * hide it.
 */
export function compareRoutesIn(host: string): Compare {
  return (a, b) => compareMatches(a, b) || closeness(b, host) - closeness(a, host) || compareNames(a.name, b.name);
}

const pathRank = { exact: 0, regex: 1, prefix: 2 } as const;

const compareMatches: Compare = (a, b) =>
  b.priority - a.priority ||
  pathRank[a.match.path.kind] - pathRank[b.match.path.kind] ||
  prefixLength(b.match.path) - prefixLength(a.match.path) ||
  b.match.headers.length - a.match.headers.length ||
  b.match.query.length - a.match.query.length ||
  b.match.cookies.length - a.match.cookies.length ||
  Number(b.match.methods.length > 0) - Number(a.match.methods.length > 0);

/** By code unit: the same on every machine, unlike localeCompare. */
function compareNames(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** A prefix without slashes at its end: `/api/` matches what `/api` does. `/` stays. */
export function trimPrefix(prefix: string): string {
  return prefix.replace(/\/+$/, "") || "/";
}

/** Only prefixes compare by length; of two exact paths or regexes the longer one is no better match. */
function prefixLength(path: PathMatch): number {
  return path.kind === "prefix" ? trimPrefix(path.value).length : 0;
}

/** How closely a route names the host: itself, else its longest wildcard that covers it, else 0. */
function closeness(route: HttpRoute, host: string): number {
  if (route.hosts.includes(host)) return Number.MAX_SAFE_INTEGER;
  let longest = 0;
  for (const own of route.hosts) if (covers(own, host) && own.length > longest) longest = own.length;
  return longest;
}

/** Whether a wildcard host (`*.example.com`) takes in another host, or a narrower wildcard (`*.eu.example.com`). */
export function covers(wildcard: string, host: string): boolean {
  return wildcard.startsWith("*.") && host.length > wildcard.length - 1 && host !== wildcard && host.endsWith(wildcard.slice(1));
}
