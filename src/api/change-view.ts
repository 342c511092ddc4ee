// The configuration as it will be when all writes of one change are done, before any is: so rules look at the end, not at an order of
// steps, and all problems are found at once. In: the transaction and a ChangeSet. Out: what each write finds (`before`), what it makes
// of it (`after`), and reads over both. Rows are locked in the order of locks.ts. Called by changes.ts.
import type { Cluster } from "../model/cluster.js";
import { addressKey, type Endpoint } from "../model/endpoint.js";
import type { Listener } from "../model/listener.js";
import { mixesBackends } from "../model/references.js";
import { backendsOf, clustersOf, listenersOf, type Route, withBackends } from "../model/route.js";
import type { Stored, WriteTx } from "../store/store.js";
import {
  type ChangeSet,
  type ClusterChange,
  type EndpointChange,
  expandSets,
  type ListenerChange,
  type RouteChange,
} from "./change-set.js";
import { fromClusterBody } from "./cluster-body.js";
import { fromListenerBody } from "./listener-body.js";
import { fromRouteBody, namesIn } from "./route-body.js";

/** One write with what it found and what it makes of it; `after` undefined: the object goes. */
export interface Staged<T, C> {
  readonly change: C;
  readonly before: Stored<T> | undefined;
  readonly after: T | undefined;
}

/** kind → name → its write. */
export interface StagedSet {
  readonly cluster: ReadonlyMap<string, Staged<Cluster, ClusterChange>>;
  readonly endpoint: ReadonlyMap<string, Staged<Endpoint, EndpointChange>>;
  readonly listener: ReadonlyMap<string, Staged<Listener, ListenerChange>>;
  readonly route: ReadonlyMap<string, Staged<Route, RouteChange>>;
}

/** Objects that rules look at, locked so that they stand still, and not written by this change. */
interface Shared {
  readonly clusters: Map<string, Cluster>;
  readonly listeners: Map<string, Listener>;
}

/** What there will be. */
export class ChangeView {
  constructor(
    private readonly tx: WriteTx,
    readonly staged: StagedSet,
    private readonly shared: Shared,
  ) {}

  /** Known are those that a write is about, that a written route names, and what `holdMixed` brought. */
  cluster(name: string): Cluster | undefined {
    const staged = this.staged.cluster.get(name);
    return staged ? staged.after : this.shared.clusters.get(name);
  }
  listener(name: string): Listener | undefined {
    const staged = this.staged.listener.get(name);
    return staged ? staged.after : this.shared.listeners.get(name);
  }
  clusters(names: readonly string[]): ReadonlyMap<string, Cluster> {
    return new Map(names.flatMap((name) => this.#pair(name, this.cluster(name))));
  }
  listeners(names: readonly string[]): ReadonlyMap<string, Listener> {
    return new Map(names.flatMap((name) => this.#pair(name, this.listener(name))));
  }

  async routesOfCluster(name: string): Promise<readonly Route[]> {
    const staged = this.staged.cluster.get(name);
    const there = staged && !staged.before ? [] : await this.tx.routesOfCluster(name);
    return this.#withStaged(there, (route) => clustersOf(route).includes(name));
  }
  async routesOfListener(name: string): Promise<readonly Route[]> {
    const staged = this.staged.listener.get(name);
    const there = staged && !staged.before ? [] : await this.tx.routesOfListener(name);
    return this.#withStaged(there, (route) => listenersOf(route).includes(name));
  }
  async endpointsOf(cluster: string): Promise<readonly Endpoint[]> {
    const staged = this.staged.cluster.get(cluster);
    if (staged && !staged.after) return [];
    const there = staged && !staged.before ? [] : await this.tx.endpointsOf(cluster);
    const own = [...this.staged.endpoint].filter(([, { change }]) => change.cluster === cluster);
    const written = new Set(own.map(([name]) => name));
    const kept = there.map(({ object }) => object).filter((endpoint) => !written.has(`${cluster}/${addressKey(endpoint)}`));
    return [...kept, ...own.flatMap(([, { after }]) => after ?? [])];
  }
  async listenersAt(address: string, port: number): Promise<readonly Listener[]> {
    const there = (await this.tx.listenersAt(address, port)).filter(({ name }) => !this.staged.listener.has(name));
    return [...there, ...[...this.staged.listener.values()].flatMap(({ after }) => (after?.port === port ? after : []))];
  }

  /** Holds routes that mix the cluster with others, and those others, and returns the routes. */
  async holdMixed(cluster: string): Promise<readonly Route[]> {
    const mixing = (await this.routesOfCluster(cluster)).filter(mixesBackends);
    const others = mixing.flatMap(clustersOf).filter((name) => !this.staged.cluster.has(name) && !this.shared.clusters.has(name));
    for (const [name, { object }] of await this.tx.shareAll("cluster", unique(others))) this.shared.clusters.set(name, object);
    await this.tx.getAll("route", unique(mixing.map(({ name }) => name)));
    return mixing;
  }

  #withStaged(there: readonly Stored<Route>[], names: (route: Route) => boolean): readonly Route[] {
    const kept = there.map(({ object }) => object).filter(({ name }) => !this.staged.route.has(name));
    return [...kept, ...[...this.staged.route.values()].flatMap(({ after }) => (after && names(after) ? after : []))];
  }

  #pair<T>(name: string, object: T | undefined): readonly (readonly [string, T])[] {
    return object === undefined ? [] : [[name, object]];
  }
}

/** Locks what the writes are about and name, and works out what they make of it. Endpoints that a cluster's list leaves out join `set`. */
export async function stage(tx: WriteTx, set: ChangeSet): Promise<ChangeView> {
  const bodies = [...set.route.values()].flatMap(({ body }) => body ?? []);
  const l4 = bodies.flatMap((body) => (body.protocol === "http" ? [] : body.listener));
  const heldListeners = await tx.getAll("listener", unique([...set.listener.keys(), ...l4]));
  const namedListeners = unique(bodies.flatMap((body) => namesIn(body).listeners)).filter((name) => !heldListeners.has(name));
  const sharedListeners = await tx.shareAll("listener", namedListeners);
  const endpointClusters = [...set.endpoint.values()].map(({ cluster }) => cluster);
  const heldClusters = await tx.getAll("cluster", unique([...set.cluster.keys(), ...endpointClusters]));
  const namedClusters = unique(bodies.flatMap((body) => namesIn(body).clusters)).filter((name) => !heldClusters.has(name));
  const sharedClusters = await tx.shareAll("cluster", namedClusters);
  const routes = await tx.getAll("route", unique([...set.route.keys()]));
  await readSets(tx, set, heldClusters);
  const endpoints = await tx.getAll("endpoint", unique([...set.endpoint.keys()]));

  const shared: Shared = {
    clusters: objectsOf(new Map([...heldClusters, ...sharedClusters])),
    listeners: objectsOf(new Map([...heldListeners, ...sharedListeners])),
  };
  const cluster = stageAll(set.cluster, heldClusters, (name, { body }) => body && fromClusterBody(name, body));
  const listener = stageAll(set.listener, heldListeners, (name, { body }) => body && fromListenerBody(name, body));
  const endpoint = stageAll(set.endpoint, endpoints, (_, change) => change.endpoint);
  const clustersAfter = new Map(shared.clusters);
  for (const [name, { after }] of cluster) {
    if (after) clustersAfter.set(name, after);
    else clustersAfter.delete(name);
  }
  const route = stageAll(set.route, routes, (name, change, before) => routeAfter(name, change, before, clustersAfter));
  return new ChangeView(tx, { cluster, endpoint, listener, route }, shared);
}

/** The sets of clusters that name all their endpoints: what there is and is not named has to go. */
async function readSets(tx: WriteTx, set: ChangeSet, held: ReadonlyMap<string, unknown>): Promise<void> {
  const there = new Map<string, readonly Endpoint[]>();
  for (const [name, { body }] of set.cluster) {
    if (body?.endpoints && held.has(name))
      there.set(
        name,
        (await tx.endpointsOf(name)).map(({ object }) => object),
      );
  }
  expandSets(set, there);
}

function stageAll<T, C>(
  changes: ReadonlyMap<string, C>,
  stored: ReadonlyMap<string, Stored<T>>,
  after: (name: string, change: C, before: T | undefined) => T | undefined,
): Map<string, Staged<T, C>> {
  return new Map(
    [...changes].map(([name, change]) => {
      const before = stored.get(name);
      return [name, { change, before, after: after(name, change, before?.object) }];
    }),
  );
}

function routeAfter(
  name: string,
  { body, weights }: RouteChange,
  before: Route | undefined,
  clusters: ReadonlyMap<string, Cluster>,
): Route | undefined {
  if (body) return fromRouteBody(name, body, clusters);
  if (!weights || !before) return undefined;
  const backends = backendsOf(before).map((backend) => ({ ...backend, weight: weights[backend.cluster] ?? backend.weight }));
  return withBackends(before, backends);
}

function objectsOf<T>(stored: ReadonlyMap<string, Stored<T>>): Map<string, T> {
  return new Map([...stored].map(([name, { object }]) => [name, object]));
}

function unique(names: readonly string[]): readonly string[] {
  return [...new Set(names)].sort();
}
