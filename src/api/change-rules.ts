// The rules for many writes at once: each looks at the configuration as it will be (change-view.ts), and all problems are told
// together, with pointers into the body of POST /v1/changes. The rules themselves are those of model/, as for single writes.
// Called by changes.ts.
import type { Problem } from "../errors.js";
import { clusterRuleProblems } from "../model/cluster-rules.js";
import type { Endpoint } from "../model/endpoint.js";
import { clusterLint, endpointsLint, type Lint, routeLint, weightsLint } from "../model/lint.js";
import { type ProblemCode, problem } from "../model/problem-codes.js";
import {
  clusterProblems,
  endpointProblems,
  fitsAsBefore,
  listenerProblems,
  locationProblems,
  mixesBackends,
  type PlacedEndpoint,
  routeProblems,
  type Sibling,
} from "../model/references.js";
import type { Kind } from "../model/revision.js";
import { backendsOf, clustersOf, listenersOf, type Route } from "../model/route.js";
import { routeRuleProblems, weightProblems } from "../model/route-rules.js";
import { sameContent } from "../model/same.js";
import type { Stored } from "../store/store.js";
import { pointerTo } from "./change-set.js";
import type { ChangeView, StagedSet } from "./change-view.js";
import { etag } from "./preconditions.js";
import { routeBodyProblems } from "./route-body.js";

/** Routes named in one problem. */
const maxNamed = 10;

/** Every problem of every write; none: all of it may be written. */
export async function changeProblems(view: ChangeView): Promise<readonly Problem[]> {
  const { cluster, endpoint, listener, route } = view.staged;
  const problems = [
    ...standing(cluster, "cluster"),
    ...standing(endpoint, "endpoint"),
    ...standing(listener, "listener"),
    ...standing(route, "route"),
  ];
  for (const [name, staged] of listener) problems.push(...(await ofListener(view, name, staged)));
  for (const [name, staged] of cluster) problems.push(...(await ofCluster(view, name, staged)));
  problems.push(...(await ofEndpoints(view)));
  for (const staged of route.values()) problems.push(...(await ofRoute(view, staged)));
  return problems;
}

const unknownCodes: Readonly<Record<Kind, ProblemCode>> = {
  cluster: "unknown_cluster",
  endpoint: "unknown_endpoint",
  listener: "unknown_listener",
  route: "unknown_route",
};

interface AnyStaged {
  readonly change: { readonly at: number | undefined; readonly ifMatch: string | undefined };
  readonly before: Stored<unknown> | undefined;
  readonly after: unknown;
}

/** What is to be deleted, or given weights, must be there; and be what `ifMatch` says. */
function standing(staged: ReadonlyMap<string, AnyStaged>, kind: Kind): readonly Problem[] {
  return [...staged].flatMap(([name, { change, before, after }]) => {
    const problems: Problem[] = [];
    if (!before && after === undefined)
      problems.push(problem(pointerTo(change), unknownCodes[kind], `there is no ${kind} ${name}`));
    const { ifMatch } = change;
    if (ifMatch === undefined || (before && (ifMatch === "*" || ifMatch === etag(before.revision)))) return problems;
    const now = before ? `its ETag is ${etag(before.revision)} now` : "it is not there";
    return [...problems, problem(pointerTo(change, "/ifMatch"), "changed_since", `${kind} ${name} is another one: ${now}`)];
  });
}

/** Problems of an object, at its place in the body. */
function at(change: AnyStaged["change"], within: string, problems: readonly Problem[]): readonly Problem[] {
  return problems.map((one) => ({ ...one, pointer: pointerTo(change, `${within}${one.pointer}`) }));
}

function inUse(change: AnyStaged["change"], what: string, routes: readonly Route[]): readonly Problem[] {
  if (routes.length === 0) return [];
  const names = routes.map(({ name }) => name).sort();
  const more = names.length > maxNamed ? ` and ${names.length - maxNamed} more` : "";
  const noun = names.length === 1 ? "route" : "routes";
  return [
    problem(pointerTo(change), "named_by_route", `${what} is named by ${noun} ${names.slice(0, maxNamed).join(", ")}${more}`),
  ];
}

type StagedListener = StagedSet["listener"] extends ReadonlyMap<string, infer S> ? S : never;
type StagedCluster = StagedSet["cluster"] extends ReadonlyMap<string, infer S> ? S : never;
type StagedRoute = StagedSet["route"] extends ReadonlyMap<string, infer S> ? S : never;

async function ofListener(
  view: ChangeView,
  name: string,
  { change, before, after }: StagedListener,
): Promise<readonly Problem[]> {
  if (!after) return before ? inUse(change, `listener ${name}`, await view.routesOfListener(name)) : [];
  const old = before?.object;
  const sameSocket =
    old?.port === after.port &&
    old.address === after.address &&
    sameContent(old.gateways, after.gateways) &&
    old.protocol === after.protocol;
  if (sameSocket) return [];
  const routes = old && old.protocol !== after.protocol ? await view.routesOfListener(name) : [];
  return at(change, "/object", listenerProblems(after, await view.listenersAt(after.address, after.port), routes));
}

async function ofCluster(view: ChangeView, name: string, { change, before, after }: StagedCluster): Promise<readonly Problem[]> {
  if (!after) return before ? inUse(change, `cluster ${name}`, await view.routesOfCluster(name)) : [];
  const own = clusterRuleProblems(after);
  const old = before?.object;
  // A cluster that is new can only be named by routes of this change, whose own rules look at it.
  if (!old || fitsAsBefore(old, after)) return at(change, "/object", own);
  const mixing = await view.holdMixed(name);
  const routes = await view.routesOfCluster(name);
  const around = view.clusters(mixing.flatMap(clustersOf).filter((other) => other !== name));
  return at(change, "/object", [...own, ...clusterProblems(after, routes, around, old)]);
}

async function ofEndpoints(view: ChangeView): Promise<readonly Problem[]> {
  const problems: Problem[] = [];
  /** cluster → endpoints that come to it. */
  const added = new Map<string, PlacedEndpoint[]>();
  for (const { change, before, after } of view.staged.endpoint.values()) {
    if (!after) continue;
    const pointer = pointerTo(change, change.within);
    if (!view.cluster(change.cluster)) {
      problems.push(problem(pointerTo(change, "/cluster"), "unknown_cluster", `there is no cluster ${change.cluster}`));
    } else if (before) problems.push(...locationProblems(before.object, after, pointer));
    else {
      const placed = added.get(change.cluster) ?? [];
      added.set(change.cluster, placed);
      placed.push({ endpoint: after, pointer });
    }
  }
  for (const [cluster, placed] of added) problems.push(...endpointProblems(placed, await siblingsOf(view, cluster)));
  return problems;
}

/** Of routes that this change leaves alone: those that it writes look at their backends by themselves. */
async function siblingsOf(view: ChangeView, cluster: string): Promise<readonly Sibling[]> {
  if (view.staged.cluster.has(cluster) && !view.staged.cluster.get(cluster)?.before) return [];
  const siblings: Sibling[] = [];
  for (const route of await view.holdMixed(cluster)) {
    if (view.staged.route.has(route.name)) continue;
    for (const other of clustersOf(route)) {
      if (other !== cluster) siblings.push({ route: route.name, cluster: other, endpoints: await view.endpointsOf(other) });
    }
  }
  return siblings;
}

async function ofRoute(view: ChangeView, { change, before, after }: StagedRoute): Promise<readonly Problem[]> {
  if (change.weights) return before ? at(change, "", weightProblems(before.object, change.weights)) : [];
  if (!change.body || !after) return [];
  const neighbours = after.protocol === "http" ? [] : await view.routesOfListener(after.listener);
  const endpoints = new Map<string, Awaited<ReturnType<ChangeView["endpointsOf"]>>>();
  if (mixesBackends(after)) for (const name of clustersOf(after)) endpoints.set(name, await view.endpointsOf(name));
  const around = {
    listeners: view.listeners(listenersOf(after)),
    clusters: view.clusters(clustersOf(after)),
    neighbours,
    endpoints,
  };
  return at(change, "/object", [...routeBodyProblems(change.body), ...routeRuleProblems(after), ...routeProblems(after, around)]);
}

/** Advice on everything that is put, at its place in the body. */
export async function changeLint(view: ChangeView): Promise<readonly Lint[]> {
  const lint: Lint[] = [];
  const add = (change: AnyStaged["change"], within: string, advice: readonly Lint[]): void => {
    lint.push(...advice.map((one) => ({ ...one, pointer: pointerTo(change, `${within}${one.pointer}`) })));
  };
  const listed = new Map<string, Endpoint[]>();
  for (const { after } of view.staged.endpoint.values()) {
    if (after) listed.set(after.cluster, [...(listed.get(after.cluster) ?? []), after].slice(-2)); // Two are as good as many.
  }
  for (const [name, { change, before, after }] of view.staged.cluster) {
    if (!after) continue;
    // What routes make of a drain is told where they are written, and here only when the drain's own settings are others: a query each.
    const drainChanges = before && !sameContent(before.object.drain, after.drain);
    add(change, "/object", clusterLint(after, drainChanges ? await view.routesOfCluster(name) : []));
    if (change.body?.endpoints) add(change, "/object", endpointsLint(listed.get(name) ?? [], "/endpoints"));
  }
  for (const { change, after } of view.staged.route.values()) {
    if (!after) continue;
    if (change.weights) add(change, "", weightsLint(backendsOf(after), "/weights"));
    else add(change, "/object", routeLint(after, view.clusters(clustersOf(after))));
  }
  return lint;
}
