// One name, one Envoy: what to send now, if anything. The rules of DESIGN §8 in one place: a removal waits until nothing names the
// cluster, a refused form is not sent again, a route or listener waits for its clusters, one by one.
// Pure but for the variants that the snapshot makes. Called by type-stream.ts for every name that is not on the shared path.

import type { ResourceType } from "../model/resource-type.js";
import { backendsOf, clustersOf, type HttpRoute } from "../model/route.js";
import { isSameForm } from "../snapshot/gateway-snapshot.js";
import type { Resource } from "../snapshot/resource.js";
import type { Snapshots } from "../snapshot/snapshots.js";
import { type Exception, formOf, type Known } from "./sent.js";

/** What the rules ask of the stream as a whole. */
export interface Readiness {
  /** Of these clusters, those that the Envoy has not confirmed: a route to them would answer 503. */
  unready(clusters: readonly string[]): readonly string[];
  /** Whether the Envoy refused the cluster and has no form of it: it will not become ready by waiting. */
  isRefused(cluster: string): boolean;
  /** From when on a removed cluster may go, ms; Infinity while something that the Envoy has may name it. */
  removableAt(cluster: string, now: number): number;
}

export interface Decision {
  /** A resource: send it. "remove": tell that it is gone. "nothing": leave the Envoy as it is. */
  readonly send: Resource | "remove" | "nothing";
  /** What remains to be said of the name afterwards; undefined: the Envoy has what the table has. */
  readonly exception: Exception | undefined;
}

export interface Subject {
  readonly type: ResourceType;
  readonly name: string;
  readonly current: Resource | undefined;
  readonly has: Known;
  readonly exception: Exception | undefined;
}

export function decide(subject: Subject, readiness: Readiness, snapshots: Snapshots, now: number): Decision {
  const { type, current, has, exception } = subject;
  if (exception?.state === "queued" || exception?.state === "trying") return { send: "nothing", exception };
  if (!current) return decideRemoval(subject, readiness, now);
  const refusal = exception?.refusal;
  if (refusal && refusal.hash === current.hash && refusal.retryAt > now) return { send: "nothing", exception };
  if (type === "route" && current.parts) return decideRoute(subject, current, current.parts, readiness, snapshots, now);
  const unready = type === "listener" ? readiness.unready(current.clusters) : [];
  if (unready.length > 0)
    return { send: "nothing", exception: { state: "held", has, at: exception?.at ?? now, keptBack: undefined } };
  return formOf(has)?.hash === current.hash ? { send: "nothing", exception: undefined } : { send: current, exception: undefined };
}

function decideRemoval({ type, name, has, exception }: Subject, readiness: Readiness, now: number): Decision {
  if (has === undefined) return { send: "nothing", exception: undefined };
  if (type !== "cluster") return { send: "remove", exception: undefined };
  const dueAt = Math.max(exception?.notBefore ?? 0, readiness.removableAt(name, now));
  if (dueAt <= now) return { send: "remove", exception: undefined };
  return {
    send: "nothing",
    exception: { state: "removing", has, at: exception?.at ?? now, dueAt, notBefore: exception?.notBefore },
  };
}

/** A RouteConfiguration goes without the routes that must wait; each of these keeps the form that the Envoy has, or is left out. */
function decideRoute(
  subject: Subject,
  current: Resource,
  parts: ReadonlyMap<string, HttpRoute>,
  readiness: Readiness,
  snapshots: Snapshots,
  now: number,
): Decision {
  const { has, exception } = subject;
  const earlier = formOf(has)?.parts;
  const overrides = new Map<string, HttpRoute | undefined>();
  const badForms = new Map([...(exception?.badForms ?? [])].filter(([name, bad]) => isSameForm(parts.get(name), bad.form)));
  // What the Envoy has is live there, whatever we know of its clusters: it goes only once nothing names them.
  const fallback = (name: string) => {
    const form = earlier?.get(name);
    if (form && !isSameForm(form, badForms.get(name)?.form)) return form;
    const newest = parts.get(name);
    // With no earlier form known, the backends that are there go on; a route that lost all of them is left out.
    return has === "unknown" && newest && !badForms.has(name)
      ? withoutClusters(newest, readiness.unready(clustersOf(newest)))
      : undefined;
  };
  for (const name of badForms.keys()) overrides.set(name, fallback(name));
  const waiting =
    readiness.unready(current.clusters).length > 0
      ? [...parts].filter(([, form]) => readiness.unready(clustersOf(form)).length > 0)
      : [];
  // What an earlier stream gave the Envoy is not known: better it keeps all of that for a moment than loses a route.
  const isBrief = waiting.some(([, form]) =>
    readiness.unready(clustersOf(form)).some((cluster) => !readiness.isRefused(cluster)),
  );
  if (isBrief && has === "unknown")
    return {
      send: "nothing",
      exception: { state: "held", has, at: exception?.at ?? now, badForms, keptBack: waiting.map(([name]) => name) },
    };
  for (const [name] of waiting) overrides.set(name, fallback(name));
  const target = overrides.size > 0 ? (snapshots.routeVariant(current, overrides) ?? current) : current;
  const left: Exception | undefined =
    overrides.size === 0
      ? undefined
      : {
          state: waiting.length > 0 ? "held" : "refused",
          has: target,
          at: exception?.at ?? now,
          refusal: badForms.size > 0 ? exception?.refusal : undefined,
          badForms,
          keptBack: [...overrides.keys()].sort(),
        };
  return { send: formOf(has)?.hash === target.hash ? "nothing" : target, exception: left };
}

/** Form → left-out clusters → the form without them: made once, as forms compare by identity. */
const reduced = new WeakMap<HttpRoute, Map<string, HttpRoute | undefined>>();

function withoutClusters(form: HttpRoute, clusters: readonly string[]): HttpRoute | undefined {
  const key = clusters.join(" ");
  const known = reduced.get(form) ?? new Map<string, HttpRoute | undefined>();
  reduced.set(form, known);
  if (known.has(key)) return known.get(key);
  const left = backendsOf(form).filter((backend) => !clusters.includes(backend.cluster));
  const made =
    left.length > 0 && form.action.kind === "forward" ? { ...form, action: { ...form.action, backends: left } } : undefined;
  known.set(key, made);
  return made;
}
