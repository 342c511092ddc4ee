// What every Envoy of one gateway should have now: four tables, kept up to date by what changed and nothing else.
// In: DesiredState and the names that a revision touched. Out: publications in the tables, read by xds/.
// A resource that nothing names any more stays for a grace: requests may still be on their way to it (DESIGN §8).
import { isDeepStrictEqual } from "node:util";
import type { DesiredState } from "../model/desired-state.js";
import { phaseOfVariant } from "../model/node-drain.js";
import { type ResourceType, resourceTypes } from "../model/resource-type.js";
import type { Change, Revision } from "../model/revision.js";
import { viewName } from "../model/rollout.js";
import type { HttpRoute } from "../model/route.js";
import type { Transport } from "../translate/config-source.js";
import { LeavingEndpoints } from "./leaving-endpoints.js";
import type { Resource, Seq } from "./resource.js";
import type { ResourceFactory, Wanted } from "./resource-factory.js";
import { ResourceTable } from "./resource-table.js";
import { noNames, type ResourceNames, touchedBy, touchListener } from "./touched.js";

/** type → name → what of it changed (routes of a RouteConfiguration), undefined: all of it. */
export type RevisionChanges = ReadonlyMap<ResourceType, ReadonlyMap<string, readonly string[] | undefined>>;

/** Revisions whose changes are remembered, for `wait=acked`. */
const maxRememberedRevisions = 256;

interface Retiring {
  readonly dueAt: number;
  readonly unreferencedSeq: Seq;
}

export class GatewaySnapshot {
  readonly tables: Readonly<Record<ResourceType, ResourceTable>> = {
    cluster: new ResourceTable("cluster"),
    endpoint: new ResourceTable("endpoint"),
    listener: new ResourceTable("listener"),
    route: new ResourceTable("route"),
  };
  #seq: Seq = 0;
  #revision: Revision = 0;
  /** Cluster resources that nothing names any more, until their grace is over. */
  readonly #retiring = new Map<string, Retiring>();
  readonly #changes = new Map<Revision, RevisionChanges>();
  readonly #leaving: LeavingEndpoints;

  constructor(
    readonly gateway: string,
    readonly transport: Transport,
    private readonly factory: ResourceFactory,
    private readonly removalGraceMs: number,
    /** What these Envoys see in place of the desired state: a rollout's changes, by its name, or a phase of a drain; undefined: neither. */
    readonly variant?: string,
  ) {
    this.#leaving = new LeavingEndpoints(removalGraceMs);
  }

  /** Under which its Envoys are counted. */
  get view(): string {
    return viewName(this.gateway, this.variant);
  }

  get seq(): Seq {
    return this.#seq;
  }
  /** The newest revision that this snapshot knows of, whether or not it changed anything here. */
  get revision(): Revision {
    return this.#revision;
  }
  /** What `revision` changed here; undefined when nothing, or when it is forgotten. */
  changedBy(revision: Revision): RevisionChanges | undefined {
    return this.#changes.get(revision);
  }
  /** When the next retired cluster or endpoint of a hop may go, ms; undefined: none waits. */
  nextRemovalAt(): number | undefined {
    let next = this.#leaving.nextDueAt();
    for (const { dueAt } of this.#retiring.values()) next = next === undefined ? dueAt : Math.min(next, dueAt);
    return next;
  }

  /** Brings the tables to `state`, looking only at what `changes` may have touched. True when something was published. */
  apply(state: DesiredState, changes: readonly Change[], now: number): boolean {
    return this.#publish(state, touchedBy(state, changes, this.gateway), now);
  }

  /** Compares everything by content: on the first load, and when the database has another history. */
  rebuild(state: DesiredState, now: number): boolean {
    this.#changes.clear(); // Their numbers may mean other revisions now.
    const dirty = noNames();
    for (const type of resourceTypes) for (const name of this.tables[type].names()) dirty[type].add(name);
    for (const listener of state.listenersOfGateway(this.gateway)) touchListener(state, dirty, listener);
    return this.#publish(state, dirty, now);
  }

  /** Streams are woken: what is in the tables now may be sent to any of them. */
  show(): void {
    for (const type of resourceTypes) this.tables[type].show();
  }

  /** Takes clusters in as retired ones: an Envoy came that has them, and what it routes to them is not known. True when something was published. */
  adopt(state: DesiredState, clusters: readonly string[], now: number): boolean {
    const seq = this.#seq + 1;
    const set: Record<"cluster" | "endpoint", Resource[]> = { cluster: [], endpoint: [] };
    for (const name of clusters) {
      const made = this.tables.cluster.get(name) ? undefined : this.factory.retired(state, name, this.transport);
      if (!made) continue;
      set.cluster.push(made.cluster);
      set.endpoint.push(made.endpoint);
      this.#retiring.set(name, { dueAt: now + this.removalGraceMs, unreferencedSeq: seq });
    }
    if (set.cluster.length === 0) return false;
    this.#seq = seq;
    for (const type of ["cluster", "endpoint"] as const) this.tables[type].commit(seq, undefined, set[type], [], new Map());
    return true;
  }

  /** Removes retired clusters, and endpoints of hops, whose grace is over. True when something was published. */
  removeRetired(state: DesiredState, now: number): boolean {
    const left = this.#removeLeft(state, now);
    const due = new Map(
      [...this.#retiring].filter(([, { dueAt }]) => dueAt <= now).map(([name, { unreferencedSeq }]) => [name, unreferencedSeq]),
    );
    if (due.size === 0) return left;
    this.#seq += 1;
    for (const type of ["cluster", "endpoint"] as const) this.tables[type].commit(this.#seq, undefined, [], [], due);
    for (const name of due.keys()) {
      this.#retiring.delete(name);
      this.#leaving.forget(name);
    }
    return true;
  }

  #removeLeft(state: DesiredState, now: number): boolean {
    const set: Resource[] = [];
    this.#compareEndpoints(state, this.#leaving.dueNames(now), set, now);
    if (set.length === 0) return false;
    this.#seq += 1;
    this.tables.endpoint.commit(this.#seq, undefined, set, [], new Map());
    return true;
  }

  // ---- From names to a publication ----------------------------------------------------------------------------------

  #publish(state: DesiredState, dirty: ResourceNames, now: number): boolean {
    const seq = this.#seq + 1;
    this.#revision = state.revision;
    const set: Record<ResourceType, Resource[]> = { cluster: [], endpoint: [], listener: [], route: [] };
    const removed: Record<ResourceType, Map<string, Seq>> = {
      cluster: new Map(),
      endpoint: new Map(),
      listener: new Map(),
      route: new Map(),
    };
    const touched: string[] = [];
    for (const type of ["listener", "route"] as const) this.#compare(state, type, dirty[type], set[type], removed[type], seq);
    this.#compareClusters(state, dirty.cluster, set.cluster, touched, seq, now);
    this.#compareEndpoints(state, dirty.endpoint, set.endpoint, now);
    const sent = new Set(set.endpoint.map((resource) => resource.name));
    // Envoy warms an added or changed cluster until its endpoints come again, for ever when they don't (facts: envoy-risks §7).
    const again = touched.filter((name) => !sent.has(name) && this.tables.endpoint.get(name));
    this.#rememberChanges(state.revision, set, removed);
    const changed = resourceTypes.filter(
      (type) => set[type].length > 0 || removed[type].size > 0 || (type === "endpoint" && again.length > 0),
    );
    if (changed.length === 0) return false;
    this.#seq = seq;
    for (const type of changed)
      this.tables[type].commit(seq, state.revision, set[type], type === "endpoint" ? again : [], removed[type]);
    return true;
  }

  #compare(
    state: DesiredState,
    type: "listener" | "route",
    names: Iterable<string>,
    set: Resource[],
    removed: Map<string, Seq>,
    seq: Seq,
  ): void {
    const table = this.tables[type];
    for (const name of names) {
      const wanted = type === "listener" ? this.#listener(state, name) : this.#route(state, name);
      if (wanted === "kept") continue;
      const current = table.get(name);
      if (wanted === undefined) {
        if (current) removed.set(name, seq);
      } else if (wanted.hash !== current?.hash) set.push(wanted);
    }
  }

  /** A drained Envoy opens nothing. It keeps routes and clusters: what is in flight goes on over them. */
  #listener(state: DesiredState, name: string): Wanted {
    if (phaseOfVariant(this.variant) === "withdrawn") return undefined;
    return this.factory.listener(state, name, this.gateway, this.transport);
  }

  #route(state: DesiredState, name: string): Wanted {
    return this.factory.route(state, name, this.gateway, phaseOfVariant(this.variant) === undefined ? "passing" : "failing");
  }

  #compareClusters(
    state: DesiredState,
    names: Iterable<string>,
    set: Resource[],
    touched: string[],
    seq: Seq,
    now: number,
  ): void {
    for (const name of names) {
      const current = this.tables.cluster.get(name);
      const wanted = this.factory.cluster(state, name, this.gateway, this.transport);
      if (wanted === "kept") continue;
      if (wanted === undefined) {
        if (current && !this.#retiring.has(name))
          this.#retiring.set(name, { dueAt: now + this.removalGraceMs, unreferencedSeq: seq });
        continue;
      }
      this.#retiring.delete(name);
      if (wanted.hash === current?.hash) continue;
      set.push(wanted);
      touched.push(name);
    }
  }

  #compareEndpoints(state: DesiredState, names: Iterable<string>, set: Resource[], now: number): void {
    for (const name of names) {
      const current = this.tables.endpoint.get(name);
      const leaving = this.#leaving.compare(state, name, this.transport, now);
      const wanted = this.factory.endpoint(state, name, this.gateway, this.transport, this.#retiring.has(name), leaving);
      // What is retired keeps its last endpoints until it goes: that is what the grace is for.
      if (wanted !== undefined && wanted !== "kept" && wanted.hash !== current?.hash) set.push(wanted);
    }
  }

  #rememberChanges(
    revision: Revision,
    set: Record<ResourceType, Resource[]>,
    removed: Record<ResourceType, Map<string, Seq>>,
  ): void {
    const changes = new Map<ResourceType, Map<string, readonly string[] | undefined>>();
    for (const type of resourceTypes) {
      const names = new Map<string, readonly string[] | undefined>();
      for (const resource of set[type]) names.set(resource.name, changedParts(this.tables[type].get(resource.name), resource));
      for (const name of removed[type].keys()) names.set(name, undefined);
      if (names.size > 0) changes.set(type, names);
    }
    if (changes.size === 0) return;
    this.#changes.set(revision, changes);
    for (const old of this.#changes.keys()) {
      if (this.#changes.size <= maxRememberedRevisions) break;
      this.#changes.delete(old);
    }
  }
}

/** Routes that differ between two forms of a RouteConfiguration, sorted; undefined when the whole of it is new, or what differs is no route. */
export function changedParts(before: Resource | undefined, after: Resource): readonly string[] | undefined {
  if (!before?.parts || !after.parts) return undefined;
  const names = new Set<string>();
  for (const [name, form] of after.parts) if (!isSameForm(before.parts.get(name), form)) names.add(name);
  for (const name of before.parts.keys()) if (!after.parts.has(name)) names.add(name);
  return names.size === 0 ? undefined : [...names].sort();
}

/** Forms keep their identity from revision to revision, but not over a full reload. */
export function isSameForm(a: HttpRoute | undefined, b: HttpRoute | undefined): boolean {
  return a === b || isDeepStrictEqual(a, b);
}
