// What a route does with a request that it has matched: forward, redirect, or refuse. Pure. Called by route.ts.
// All of it is RDS: a change of it drains nothing.
import {
  type Backend,
  type HashOn,
  type HttpAction,
  longestRequestMs,
  type Redirect,
  type Retry,
  type Sticky,
} from "../model/route.js";
import { toTotal } from "../model/weight.js";
import { any } from "../proto/encode.js";
import type { HashPolicyProto, RedirectActionProto, RetryPolicyProto, RouteActionProto, RouteProto } from "../proto/messages.js";
import { toDuration } from "./duration.js";
import { unreachable } from "./unreachable.js";

export type Forward = Extract<HttpAction, { kind: "forward" }>;

/** What replaces the matched path, with the field that Envoy has for it; undefined: the path is left alone. */
export type Rewrite = string | undefined;

/** A forward whose weights are all 0 is a 503, as of an empty cluster: Envoy refuses weights that sum to 0. */
export function toForward(forward: Forward, rewrite: Rewrite): RouteProto {
  const target = toTarget(forward.backends, forward.sticky);
  if (!target) return { direct_response: { status: 503, body: { inline_string: "no backend takes traffic" } } };
  return {
    route: {
      ...target,
      ...(rewrite === undefined ? {} : { prefix_rewrite: rewrite }),
      ...(forward.rewriteHost === undefined ? {} : { host_rewrite_literal: forward.rewriteHost }),
      timeout: toDuration(forward.timeoutMs),
      ...toRetryPolicy(forward),
      hash_policy: toHashPolicies(forward.sticky, forward.hashOn),
      upgrade_configs: forward.upgrades.map((upgrade_type) => ({ upgrade_type, enabled: { value: true } })),
      ...toMaxStreamDuration(forward),
    },
  };
}

/**
 * The canary split. Order and total stay the same while weights move, so that a sticky canary keeps its users as it grows. A
 * backend of weight 0 is not named: its cluster stays, because reach counts every backend at any weight.
 */
function toTarget(backends: readonly Backend[], sticky: Sticky | undefined): RouteActionProto | undefined {
  const weights = toTotal(backends.map((backend) => backend.weight));
  const shares = backends
    .map((backend, at) => ({ name: backend.cluster, weight: weights[at] ?? 0 }))
    .filter(({ weight }) => weight > 0);
  const [first] = shares;
  if (!first) return undefined;
  if (shares.length === 1) return { cluster: first.name };
  return {
    weighted_clusters: {
      clusters: shares.map(({ name, weight }) => ({ name, weight: { value: weight } })),
      ...(isStickyCanary(sticky) ? { use_hash_policy: { value: true } } : {}),
    },
  };
}

function isStickyCanary(sticky: Sticky | undefined): boolean {
  return sticky?.kind === "canary-header" || sticky?.kind === "canary-cookie";
}

/**
 * A canary's own hash decides alone where it is there (`terminal`), so that what the cluster hashes can't move a user to the
 * other side.
 */
function toHashPolicies(sticky: Sticky | undefined, hashOn: readonly HashOn[]): HashPolicyProto[] {
  const others = hashOn.map(toHashPolicy);
  if (sticky?.kind === "canary-header") return [{ header: { header_name: sticky.header }, terminal: true }, ...others];
  if (sticky?.kind === "canary-cookie") return [{ cookie: { name: sticky.cookie }, terminal: true }, ...others];
  return others;
}

/** A cookie is only read: Envoy makes none for a split, whatever its ttl. */
function toHashPolicy(hashOn: HashOn): HashPolicyProto {
  switch (hashOn.kind) {
    case "header":
      return { header: { header_name: hashOn.name } };
    case "cookie":
      return { cookie: { name: hashOn.name } };
    case "source-ip":
      return { connection_properties: { source_ip: true } };
    default:
      return unreachable(hashOn);
  }
}

/**
 * Envoy's `timeout` starts when the request is complete, so a slow upload outlives it. `max_stream_duration` starts with the
 * request, and where a route has it, Envoy ignores `timeout`. But an end by it is nobody's fault to outlier detection. So the
 * timeout is also that of each try, which counts against the endpoint that was late, and the stream's own bound comes a little
 * after it (streamDurationGraceMs).
 */
function toMaxStreamDuration(forward: Forward): RouteActionProto {
  const longestMs = longestRequestMs(forward);
  return longestMs === undefined ? {} : { max_stream_duration: { max_stream_duration: toDuration(longestMs) } };
}

function toRetryPolicy(forward: Forward): RouteActionProto {
  const tryTimeoutMs = forward.retry?.perTryTimeoutMs || (longestRequestMs(forward) === undefined ? 0 : forward.timeoutMs);
  const policy: RetryPolicyProto = {
    ...(forward.retry ? toRetries(forward.retry) : {}),
    ...(tryTimeoutMs > 0 ? { per_try_timeout: toDuration(tryTimeoutMs) } : {}),
  };
  return Object.keys(policy).length > 0 ? { retry_policy: policy } : {};
}

/**
 * How often another host is looked for before a retry goes to one that has failed already. An endpoint that fails fast has the fewest
 * requests, so least request prefers it: with one of two failing and 3 tries after the first, 25 of 10,000 requests failed at 3, none at 10.
 */
const maxHostSelections = 10;

function toRetries(retry: Retry): RetryPolicyProto {
  return {
    retry_on: retry.on.join(","),
    num_retries: { value: retry.attempts },
    retry_host_predicate: [
      {
        name: "envoy.retry_host_predicates.previous_hosts",
        typed_config: any("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate", {}),
      },
    ],
    host_selection_retry_max_attempts: maxHostSelections,
  };
}

const redirectCodes = {
  301: "MOVED_PERMANENTLY",
  302: "FOUND",
  303: "SEE_OTHER",
  307: "TEMPORARY_REDIRECT",
  308: "PERMANENT_REDIRECT",
} as const;

export function toRedirect(redirect: Redirect, rewrite: Rewrite): RedirectActionProto {
  return {
    ...(redirect.host === undefined ? {} : { host_redirect: redirect.host }),
    ...(redirect.path === undefined ? {} : { path_redirect: redirect.path }),
    response_code: redirectCodes[redirect.status],
    ...(rewrite === undefined ? {} : { prefix_rewrite: rewrite }),
    ...(redirect.scheme === undefined ? {} : { scheme_redirect: redirect.scheme }),
    ...(redirect.port === undefined ? {} : { port_redirect: redirect.port }),
  };
}
