// Which rows a write locks before it looks at a rule over several objects. The order is the same everywhere, so that writers
// wait and do not deadlock: listeners, then clusters, then routes, each by name.
// A route's writer shares the clusters that it names; whoever changes a cluster or its endpoints holds the cluster alone: so the
// routes of a cluster stand still meanwhile.
import type { Cluster } from "../model/cluster.js";
import type { Listener } from "../model/listener.js";
import { mixesBackends, type RouteSurroundings, type Sibling } from "../model/references.js";
import type { Kind, ObjectKinds } from "../model/revision.js";
import { clustersOf, type Route } from "../model/route.js";
import type { Stored, WriteTx } from "../store/store.js";
import type { RouteBody } from "./route-body.js";
import { namesIn } from "./route-body.js";

async function shareAll<K extends Kind>(tx: WriteTx, kind: K, names: readonly string[]): Promise<Map<string, ObjectKinds[K]>> {
  const found = new Map<string, ObjectKinds[K]>();
  for (const name of names) {
    const stored = await tx.share(kind, name);
    if (stored) found.set(name, stored.object);
  }
  return found;
}

/** An L4 listener takes few routes, and two writers could each be "the only one": so its writers hold it alone. */
async function lockListeners(tx: WriteTx, names: readonly string[], alone: boolean): Promise<ReadonlyMap<string, Listener>> {
  if (!alone) return shareAll(tx, "listener", names);
  const found = new Map<string, Listener>();
  for (const name of names) {
    const stored = await tx.get("listener", name);
    if (stored) found.set(name, stored.object);
  }
  return found;
}

/** What the rules of a route look at, held still; read before its own row is locked. */
export async function lockAroundRoute(tx: WriteTx, body: RouteBody): Promise<Omit<RouteSurroundings, "endpoints">> {
  const names = namesIn(body);
  const isL4 = body.protocol !== "http";
  const listeners = await lockListeners(tx, names.listeners, isL4);
  const clusters = await shareAll(tx, "cluster", names.clusters);
  const neighbours = isL4 ? (await tx.routesOfListener(body.listener)).map(({ object }) => object) : [];
  return { listeners, clusters, neighbours };
}

/** Endpoints of the backends that the route mixes; its clusters are held already, so no endpoint can come to them. */
export async function endpointsOfBackends(tx: WriteTx, route: Route): Promise<RouteSurroundings["endpoints"]> {
  const found = new Map<string, RouteSurroundings["endpoints"] extends ReadonlyMap<string, infer E> ? E : never>();
  if (!mixesBackends(route)) return found;
  for (const cluster of clustersOf(route))
    found.set(
      cluster,
      (await tx.endpointsOf(cluster)).map(({ object }) => object),
    );
  return found;
}

/**
 * Other backends of routes that mix `cluster`, with their endpoints. The routes are locked: two writers who add the same address
 * to two backends meet at the route, and the second one sees what the first one wrote. The caller holds the cluster.
 */
export async function lockSiblings(tx: WriteTx, cluster: string): Promise<readonly Sibling[]> {
  const mixing = (await tx.routesOfCluster(cluster))
    .filter(({ object }) => mixesBackends(object))
    .map(({ object }) => object.name);
  const siblings: Sibling[] = [];
  for (const name of mixing.sort()) {
    const route = (await tx.get("route", name))?.object;
    if (!route || !mixesBackends(route)) continue;
    for (const other of clustersOf(route)) {
      if (other !== cluster)
        siblings.push({ route: name, cluster: other, endpoints: (await tx.endpointsOf(other)).map(({ object }) => object) });
    }
  }
  return siblings;
}

/** What the rules of a changing cluster look at. */
export interface ClusterSurroundings {
  readonly stored: Stored<Cluster> | undefined;
  readonly routes: readonly Route[];
  /** The other backends of routes that mix the cluster. */
  readonly clusters: ReadonlyMap<string, Cluster>;
}

/** The cluster for its own change, with its routes and the clusters that they mix it with, all by name. */
export async function lockCluster(tx: WriteTx, name: string): Promise<ClusterSurroundings> {
  const others = (await mixedWith(tx, name)).others;
  const clusters = await shareAll(
    tx,
    "cluster",
    others.filter((other) => other < name),
  );
  const stored = await tx.get("cluster", name);
  for (const [other, object] of await shareAll(
    tx,
    "cluster",
    others.filter((one) => one > name),
  ))
    clusters.set(other, object);
  if (!stored) return { stored, routes: [], clusters };
  // A route may have come before we held the cluster; its other backends are then locked out of order, which a retry mends.
  const now = await mixedWith(tx, name);
  for (const [other, object] of await shareAll(
    tx,
    "cluster",
    now.others.filter((one) => !clusters.has(one)),
  ))
    clusters.set(other, object);
  return { stored, routes: now.routes, clusters };
}

async function mixedWith(
  tx: WriteTx,
  name: string,
): Promise<{ readonly routes: readonly Route[]; readonly others: readonly string[] }> {
  const routes = (await tx.routesOfCluster(name)).map(({ object }) => object);
  const others = new Set(routes.filter((route) => mixesBackends(route)).flatMap((route) => clustersOf(route)));
  others.delete(name);
  return { routes, others: [...others].sort() };
}
