// What the rows say at one revision, indexed for translation. Mutable, and owned by one follower: applying a change costs
// O(what changed), where copying 10,000 clusters for each would not.

import type { Cluster } from "./cluster.js";
import { addressKey, type Endpoint } from "./endpoint.js";
import type { Listener } from "./listener.js";
import type { NodeDrainPhase } from "./node-drain.js";
import type { Change, CommittedRevision, OverlayChange, Revision } from "./revision.js";
import { type Overlay, sees } from "./rollout.js";
import { clustersOf, listenersOf, type Route } from "./route.js";

/** Everything at one revision, as a full load brings it. */
export interface StateRows {
  readonly revision: Revision;
  readonly id: string;
  readonly clusters: readonly Cluster[];
  readonly endpoints: readonly Endpoint[];
  readonly listeners: readonly Listener[];
  readonly routes: readonly Route[];
  /** Staged rollouts under way; left out: none. */
  readonly overlays?: readonly Overlay[];
  /** Envoys that are drained; left out: none. */
  readonly nodeDrains?: readonly { readonly node: string; readonly phase: NodeDrainPhase }[];
  /** The newest changes of routes, newest first: what each was before; undefined: it was not there. */
  readonly pastRoutes?: readonly { readonly name: string; readonly before: Route | undefined }[];
}

/** Adds or removes `member` in the set at `key`; an empty set leaves the map. */
function index(map: Map<string, Set<string>>, key: string, member: string, present: boolean): void {
  const set = map.get(key);
  if (present) {
    if (set) set.add(member);
    else map.set(key, new Set([member]));
  } else if (set?.delete(member) && set.size === 0) map.delete(key);
}

const nothing: ReadonlySet<string> = new Set();

export class DesiredState {
  #revision: Revision = 0;
  #id = "";
  readonly clusters = new Map<string, Cluster>();
  /** cluster → address key → endpoint. */
  readonly endpoints = new Map<string, Map<string, Endpoint>>();
  readonly listeners = new Map<string, Listener>();
  readonly routes = new Map<string, Route>();
  /** Staged rollouts under way: what they change is not in the maps above. */
  readonly overlays = new Map<string, Overlay>();
  /** node → the phase of its drain. */
  readonly nodeDrains = new Map<string, NodeDrainPhase>();
  /** listener → routes that name it. */
  readonly #routesByListener = new Map<string, Set<string>>();
  /** cluster → routes that name it, at any weight. */
  readonly #routesByCluster = new Map<string, Set<string>>();
  /** gateway → listeners that its nodes open. */
  readonly #listenersByGateway = new Map<string, Set<string>>();

  static from(rows: StateRows): DesiredState {
    const state = new DesiredState();
    for (const cluster of rows.clusters) state.#apply({ kind: "cluster", name: cluster.name, before: undefined, after: cluster });
    for (const endpoint of rows.endpoints) {
      state.#apply({ kind: "endpoint", name: `${endpoint.cluster}/${addressKey(endpoint)}`, before: undefined, after: endpoint });
    }
    for (const listener of rows.listeners)
      state.#apply({ kind: "listener", name: listener.name, before: undefined, after: listener });
    for (const route of rows.routes) state.#apply({ kind: "route", name: route.name, before: undefined, after: route });
    for (const overlay of rows.overlays ?? []) state.overlays.set(overlay.name, overlay);
    for (const { node, phase } of rows.nodeDrains ?? []) state.nodeDrains.set(node, phase);
    state.#revision = rows.revision;
    state.#id = rows.id;
    return state;
  }

  get revision(): Revision {
    return this.#revision;
  }
  /** The random id of the revision that this state is at. */
  get id(): string {
    return this.#id;
  }

  routesOfListener(listener: string): ReadonlySet<string> {
    return this.#routesByListener.get(listener) ?? nothing;
  }
  routesOfCluster(cluster: string): ReadonlySet<string> {
    return this.#routesByCluster.get(cluster) ?? nothing;
  }
  listenersOfGateway(gateway: string): ReadonlySet<string> {
    return this.#listenersByGateway.get(gateway) ?? nothing;
  }
  gateways(): readonly string[] {
    return [...this.#listenersByGateway.keys()].sort();
  }
  endpointsOf(cluster: string): readonly Endpoint[] {
    return [...(this.endpoints.get(cluster)?.values() ?? [])];
  }

  /** Applies one committed revision. `committed.revision` must be the next one: the feed has no gaps. */
  apply(committed: CommittedRevision): void {
    for (const change of committed.changes) this.#apply(change);
    for (const change of committed.overlays ?? []) this.#applyOverlay(change);
    for (const { node, phase } of committed.nodeDrains ?? []) {
      if (phase) this.nodeDrains.set(node, phase);
      else this.nodeDrains.delete(node);
    }
    this.#revision = committed.revision;
    this.#id = committed.id;
  }

  /** The rollout whose changes the Envoy sees; undefined: it sees the desired state. A gateway has one rollout at a time. */
  overlayOf(gateway: string, node: string): Overlay | undefined {
    for (const overlay of this.overlays.values()) if (sees(overlay, gateway, node)) return overlay;
    return undefined;
  }

  /**
   * What `look` sees with the changes applied. They are undone before this returns, also when it throws, so it must be synchronous:
   * nobody else ever sees them. Objects come back as the very same ones, because route forms compare by identity.
   */
  tryOut<T>(changes: readonly Change[], look: () => T): T {
    const undo: Change[] = [];
    try {
      for (const change of changes) {
        undo.push(this.#inverse(change));
        this.#apply(change);
      }
      return look();
    } finally {
      for (const change of undo.reverse()) this.#apply(change);
    }
  }

  /** What puts the object back as it is now. */
  #inverse(change: Change): Change {
    switch (change.kind) {
      case "cluster":
        return { ...change, before: change.after, after: this.clusters.get(change.name) };
      case "endpoint": {
        const subject = change.after ?? change.before;
        const now = subject && this.endpoints.get(subject.cluster)?.get(addressKey(subject));
        return { ...change, before: subject, after: now };
      }
      case "listener":
        return { ...change, before: change.after, after: this.listeners.get(change.name) };
      case "route":
        return { ...change, before: change.after, after: this.routes.get(change.name) };
    }
  }

  #apply(change: Change): void {
    switch (change.kind) {
      case "cluster":
        if (change.after) this.clusters.set(change.name, change.after);
        else this.clusters.delete(change.name);
        return;
      case "endpoint":
        return this.#applyEndpoint(change.before, change.after);
      case "listener":
        return this.#applyListener(change.name, change.after);
      case "route":
        return this.#applyRoute(change.name, change.after);
    }
  }

  /** A move to another stage does not repeat what is changed. */
  #applyOverlay({ name, after }: OverlayChange): void {
    const changes = after?.changes ?? this.overlays.get(name)?.changes;
    if (after && changes) this.overlays.set(name, { name, shares: after.shares, changes });
    else this.overlays.delete(name);
  }

  #applyEndpoint(before: Endpoint | undefined, after: Endpoint | undefined): void {
    const subject = after ?? before;
    if (!subject) return;
    const ofCluster = this.endpoints.get(subject.cluster) ?? new Map<string, Endpoint>();
    if (after) ofCluster.set(addressKey(after), after);
    else ofCluster.delete(addressKey(subject));
    if (ofCluster.size > 0) this.endpoints.set(subject.cluster, ofCluster);
    else this.endpoints.delete(subject.cluster);
  }

  #applyListener(name: string, after: Listener | undefined): void {
    for (const gateway of this.listeners.get(name)?.gateways ?? []) index(this.#listenersByGateway, gateway, name, false);
    if (!after) {
      this.listeners.delete(name);
      return;
    }
    this.listeners.set(name, after);
    for (const gateway of after.gateways) index(this.#listenersByGateway, gateway, name, true);
  }

  #applyRoute(name: string, after: Route | undefined): void {
    const before = this.routes.get(name);
    if (before) this.#indexRoute(before, false);
    if (!after) {
      this.routes.delete(name);
      return;
    }
    this.routes.set(name, after);
    this.#indexRoute(after, true);
  }

  #indexRoute(route: Route, present: boolean): void {
    for (const cluster of clustersOf(route)) index(this.#routesByCluster, cluster, route.name, present);
    for (const listener of listenersOf(route)) index(this.#routesByListener, listener, route.name, present);
  }
}
