// The snapshots of all gateways that some Envoy asks for, and the moment at which they change together.
// In: revisions from follower.ts. Out: GatewaySnapshot for each stream in xds/, woken through `onPublished`.
import type { DesiredState } from "../model/desired-state.js";
import { phaseOfVariant, variantOfPhase } from "../model/node-drain.js";
import type { ResourceType } from "../model/resource-type.js";
import { type Change, type CommittedRevision, inverseOf, type Revision } from "../model/revision.js";
import { gatewayOfView, type Overlay, viewName } from "../model/rollout.js";
import type { HttpRoute } from "../model/route.js";
import type { Transport } from "../translate/config-source.js";
import { GatewaySnapshot, type RevisionChanges } from "./gateway-snapshot.js";
import { type PastRoute, pastOverrides } from "./past-routes.js";
import { type Preview, preview } from "./preview.js";
import type { Resource } from "./resource.js";
import { ResourceFactory, readyDelayMs, type TranslationFault } from "./resource-factory.js";

export interface SnapshotsOptions {
  /** How long a cluster stays after nothing names it any more. */
  readonly removalGraceMs: number;
  readonly now: () => number;
  readonly onFault: (fault: TranslationFault) => void;
  /** Told after each time that snapshots were brought up to date, before anybody is woken. */
  readonly onBuilt?: (cause: BuildCause, ms: number) => void;
}

/** Why snapshots were built: new revisions, a full load, or the first stream of a gateway. */
export type BuildCause = "revisions" | "load" | "gateway";

/** Route name → the form to use in place of the newest; undefined: leave the route out. */
export type RouteOverrides = ReadonlyMap<string, HttpRoute | undefined>;

/** Changes of routes that are remembered, to recognise what an Envoy has from before: a few KB each. */
const maxPastRoutes = 200;

/** Variants of one RouteConfiguration that are kept; beyond it the oldest is made again when asked for. */
const maxVariants = 64;

export class Snapshots {
  #state: DesiredState | undefined;
  /** `<view>\n<transport>` → snapshot and how many streams hold it. */
  readonly #snapshots = new Map<string, { snapshot: GatewaySnapshot; holders: number }>();
  readonly #factory: ResourceFactory;
  readonly #listeners = new Set<(changed: ReadonlySet<GatewaySnapshot>) => void>();
  readonly #moveListeners = new Set<() => void>();
  /** RouteConfiguration resource → overrides → variant. */
  readonly #variants = new WeakMap<Resource, Map<string, Resource>>();
  readonly #formIds = new WeakMap<HttpRoute, number>();
  #nextFormId = 1;
  /** What routes were before they changed, newest first. */
  #pastRoutes: readonly PastRoute[] = [];
  #freshness: () => Promise<boolean> = async () => true;

  constructor(private readonly options: SnapshotsOptions) {
    this.#factory = new ResourceFactory(options.onFault);
  }

  /** Undefined until the first load. */
  get state(): DesiredState | undefined {
    return this.#state;
  }
  get isLoaded(): boolean {
    return this.#state !== undefined;
  }
  get revision(): Revision {
    return this.#state?.revision ?? 0;
  }
  /** What routes were before they changed, newest first; at most 200. */
  get pastRoutes(): readonly PastRoute[] {
    return this.#pastRoutes;
  }
  /** type → messages encoded since the start: it grows by O(what changed). */
  get translations(): Readonly<Record<ResourceType, number>> {
    return this.#factory.translations;
  }
  /** Snapshots held: of every gateway and transport that a stream asks for. */
  get count(): number {
    return this.#snapshots.size;
  }

  /** Takes a full load: the first one, or after the database turned out to have another history. Compared by content. */
  load(state: DesiredState, pastRoutes: readonly PastRoute[] = []): void {
    const startedAt = performance.now();
    this.#state = state;
    this.#pastRoutes = pastRoutes;
    this.#forgetStrangers();
    this.#factory.begin();
    const changed = new Set(
      [...this.#snapshots.values()].flatMap(({ snapshot }) =>
        this.#within(state, snapshot, () => snapshot.rebuild(state, this.options.now())) ? snapshot : [],
      ),
    );
    this.#built("load", startedAt);
    this.#announce(changed);
    this.#moved();
  }

  /** Takes the revisions that follow, in order. Each is its own publication, so that a wait for one does not wait for the next. */
  apply(revisions: readonly CommittedRevision[]): void {
    const state = this.#state;
    if (!state) return;
    const startedAt = performance.now();
    const changed = new Set<GatewaySnapshot>();
    for (const committed of revisions) {
      // What a rollout changed that ends now goes, too, or has become the base: Envoys that saw it are brought up to date in place.
      const ended = new Map((committed.overlays ?? []).map(({ name }) => [name, state.overlays.get(name)?.changes ?? []]));
      state.apply(committed);
      this.#notePast([...committed.changes, ...[...ended.values()].flat().map(inverseOf)]);
      this.#factory.begin();
      for (const { snapshot } of this.#snapshots.values()) {
        const changes = [...committed.changes, ...(ended.get(snapshot.variant ?? "") ?? [])];
        if (this.#within(state, snapshot, () => snapshot.apply(state, changes, this.options.now()))) changed.add(snapshot);
      }
    }
    this.#forgetStrangers();
    this.#built("revisions", startedAt);
    this.#announce(changed);
    if (revisions.some(({ overlays = [], nodeDrains = [] }) => overlays.length + nodeDrains.length > 0)) this.#moved();
  }

  /** Gateways that nobody asks for, and that lost their last listener since. */
  #forgetStrangers(): void {
    for (const [key, { snapshot, holders }] of this.#snapshots)
      if (holders === 0 && !this.isKnown(snapshot.gateway)) this.#snapshots.delete(key);
  }

  /** What the changes would do to each gateway; nothing is published. undefined: they were made on another state, or none is loaded. */
  preview(changes: readonly Change[]): Preview | undefined {
    return this.#state && preview(this.#state, changes);
  }

  /** Lets go of retired clusters, and of endpoints of hops, whose grace is over. Returns when to call again, ms, or undefined. */
  removeRetired(): number | undefined {
    const now = this.options.now();
    const state = this.#state;
    this.#factory.begin();
    const changed = new Set(
      [...this.#snapshots.values()].flatMap(({ snapshot }) =>
        state && this.#within(state, snapshot, () => snapshot.removeRetired(state, now)) ? snapshot : [],
      ),
    );
    if (changed.size > 0) this.#announce(changed);
    const next = [...this.#snapshots.values()].flatMap(({ snapshot }) => snapshot.nextRemovalAt() ?? []);
    return next.length > 0 ? Math.min(...next) : undefined;
  }

  /** Keeps clusters that an Envoy still has in the snapshot for a grace, although nothing names them: as far as they still exist. */
  adopt(snapshot: GatewaySnapshot, clusters: readonly string[]): void {
    this.#factory.begin();
    const state = this.#state;
    if (state && this.#within(state, snapshot, () => snapshot.adopt(state, clusters, this.options.now())))
      this.#announce(new Set([snapshot]));
  }

  /**
   * The snapshot that an Envoy is to have: its gateway's, or that of its drain, or of the rollout which it is in. Made when the first stream
   * asks for it. Unknown gateways get an empty one; without a node, what all others have. Pair with `release`.
   */
  acquire(gateway: string, transport: Transport, node?: string): GatewaySnapshot {
    const variant = this.#variantOf(gateway, node);
    const key = keyOf(viewName(gateway, variant), transport);
    const held = this.#snapshots.get(key);
    if (held) {
      held.holders += 1;
      return held.snapshot;
    }
    const snapshot = new GatewaySnapshot(gateway, transport, this.#factory, this.options.removalGraceMs, variant);
    this.#snapshots.set(key, { snapshot, holders: 1 });
    const startedAt = performance.now();
    this.#factory.begin();
    const state = this.#state;
    if (state) this.#within(state, snapshot, () => snapshot.rebuild(state, this.options.now()));
    snapshot.show();
    this.#built("gateway", startedAt);
    return snapshot;
  }

  /** A gateway that nobody asks for any more and that has no listener is forgotten: names come from the Envoys, and are unbounded. */
  release(snapshot: GatewaySnapshot): void {
    const key = keyOf(snapshot.view, snapshot.transport);
    const held = this.#snapshots.get(key);
    if (held?.snapshot !== snapshot) return;
    held.holders -= 1;
    if (held.holders === 0 && (snapshot.variant !== undefined || !this.isKnown(snapshot.gateway))) this.#snapshots.delete(key);
  }

  /**
   * Whether the Envoy is to have another snapshot than this, so that its stream must be opened again: `leaves` a rollout that is over, where
   * it has been given what all have already; or `enters` one, or moves in its drain.
   */
  moveOf({ gateway, variant }: GatewaySnapshot, node: string): "enters" | "leaves" | undefined {
    const wanted = this.#variantOf(gateway, node);
    if (wanted === variant) return undefined;
    const isOfRollout = variant !== undefined && phaseOfVariant(variant) === undefined;
    return isOfRollout && phaseOfVariant(wanted) === undefined ? "leaves" : "enters";
  }

  /** Whether the Envoy is drained, or on its way to be. False as long as nothing is loaded. */
  isDrained(node: string): boolean {
    return this.#state?.nodeDrains.has(node) ?? false;
  }

  /** Whether a listener names the gateway, or the gateway of the view. */
  isKnown(view: string): boolean {
    const gateway = gatewayOfView(view);
    if ((this.#state?.listenersOfGateway(gateway).size ?? 0) > 0) return true;
    return this.#overlaid("listener").some(({ after }) => after?.gateways.includes(gateway));
  }

  /** What a revision changed for a gateway, or a view of it, over all transports; empty when nothing, or when nobody has asked for it. */
  changedBy(view: string, revision: Revision): RevisionChanges {
    const merged = new Map<Parameters<RevisionChanges["get"]>[0], Map<string, readonly string[] | undefined>>();
    for (const { snapshot } of this.#snapshots.values()) {
      if (snapshot.view !== view) continue;
      for (const [type, names] of snapshot.changedBy(revision) ?? []) {
        const into = merged.get(type) ?? new Map<string, readonly string[] | undefined>();
        for (const [name, parts] of names) into.set(name, parts);
        merged.set(type, into);
      }
    }
    return merged;
  }

  /** How long after its endpoints' ack a cluster may still be warming in an Envoy that has this snapshot, ms. */
  readyDelayMs(snapshot: GatewaySnapshot, cluster: string): number {
    const state = this.#state;
    return state ? this.#within(state, snapshot, () => readyDelayMs(state, cluster)) : 0;
  }

  /** The RouteConfiguration with some routes in another form; undefined when its listener is gone meanwhile. Shared by all streams that need the same. */
  routeVariant(resource: Resource, overrides: RouteOverrides, health = resource.health): Resource | undefined {
    // Of a listener, a RouteConfiguration holds the name alone: whether it is the base's or a rollout's makes no difference.
    const listener =
      this.#state?.listeners.get(resource.name) ?? this.#overlaid("listener").find(({ name }) => name === resource.name)?.after;
    if (listener?.protocol !== "http" || !resource.parts) return undefined;
    const key = [...overrides]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, form]) => `${name}=${form ? this.#formId(form) : 0}`)
      .concat(health ?? "")
      .join(" ");
    const variants = this.#variants.get(resource) ?? new Map<string, Resource>();
    this.#variants.set(resource, variants);
    const known = variants.get(key);
    if (known) return known;
    const routes = [...resource.parts].flatMap(([name, form]) => (overrides.has(name) ? (overrides.get(name) ?? []) : form));
    for (const [name, form] of overrides) if (form && !resource.parts.has(name)) routes.push(form);
    const variant = this.#factory.routeVariant(listener, routes, resource.revision, health);
    for (const oldest of variants.keys()) {
      if (variants.size < maxVariants) break;
      variants.delete(oldest);
    }
    variants.set(key, variant);
    return variant;
  }

  /** The form of the RouteConfiguration with this hash, looked for among those that it may have been left in; undefined: not found. */
  pastRouteForm(current: Resource, hash: string): Resource | undefined {
    // Before its drain, or during it, an Envoy had the other answer to its health check.
    if (current.health) {
      const other = this.routeVariant(current, new Map(), current.health === "failing" ? "passing" : "failing");
      if (other?.hash === hash) return other;
    }
    for (const overrides of pastOverrides(current, this.#pastRoutes)) {
      const variant = this.routeVariant(current, overrides);
      if (variant?.hash === hash) return variant;
    }
    return undefined;
  }

  #notePast(changes: readonly Change[]): void {
    const past = changes.flatMap((change): PastRoute[] =>
      change.kind === "route" ? [{ name: change.name, before: change.before }] : [],
    );
    if (past.length > 0) this.#pastRoutes = [...past, ...this.#pastRoutes].slice(0, maxPastRoutes);
  }

  /** Called after each publication with the snapshots that changed. Returns how to stop it. */
  onPublished(listener: (changed: ReadonlySet<GatewaySnapshot>) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Called when rollouts or drains of Envoys have begun, moved or ended: some streams may have a `moveOf`. Returns how to stop it. */
  onMoved(listener: () => void): () => void {
    this.#moveListeners.add(listener);
    return () => this.#moveListeners.delete(listener);
  }

  /** True once this replica has everything that was committed before the call; false when the database can't be asked. */
  whenFresh(): Promise<boolean> {
    return this.#freshness();
  }
  /** Set by the follower, which alone knows the database's head. */
  setFreshness(freshness: () => Promise<boolean>): void {
    this.#freshness = freshness;
  }

  /** A drain goes before a rollout: a drained Envoy is in no stage. */
  #variantOf(gateway: string, node: string | undefined): string | undefined {
    if (node === undefined) return undefined;
    const phase = this.#state?.nodeDrains.get(node);
    return phase ? variantOfPhase(phase) : this.#state?.overlayOf(gateway, node)?.name;
  }

  /** Looks at the state as the snapshot's Envoys see it. What the factory has made for others is not theirs. */
  #within<T>(state: DesiredState, { variant }: GatewaySnapshot, look: () => T): T {
    const overlay: Overlay | undefined = variant === undefined ? undefined : state.overlays.get(variant);
    if (!overlay) return look();
    this.#factory.begin();
    try {
      return state.tryOut(overlay.changes, look);
    } finally {
      this.#factory.begin();
    }
  }

  /** What rollouts change of one kind. */
  #overlaid<K extends Change["kind"]>(kind: K): readonly Extract<Change, { kind: K }>[] {
    const isOfKind = (change: Change): change is Extract<Change, { kind: K }> => change.kind === kind;
    return [...(this.#state?.overlays.values() ?? [])].flatMap(({ changes }) => changes.filter(isOfKind));
  }

  #formId(form: HttpRoute): number {
    const known = this.#formIds.get(form);
    if (known) return known;
    this.#formIds.set(form, this.#nextFormId);
    return this.#nextFormId++;
  }

  #built(cause: BuildCause, startedAt: number): void {
    this.options.onBuilt?.(cause, performance.now() - startedAt);
  }

  #moved(): void {
    for (const listener of this.#moveListeners) listener();
  }

  #announce(changed: ReadonlySet<GatewaySnapshot>): void {
    for (const snapshot of changed) snapshot.show();
    for (const listener of this.#listeners) listener(changed);
  }
}

function keyOf(view: string, transport: Transport): string {
  return `${view}\n${transport}`;
}
