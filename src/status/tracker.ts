// Which Envoy of this replica has which revision. In memory only, no I/O, no clock: streams report, revisions are published, and
// what changed is left in `changed*` for the flush (flusher.ts).
// Cost: an answer is compared with what its node still owes, not with every revision nor every node. Bounded: 256 revisions.
// A node has a revision once it has acked every type that the revision changed and nothing that it changed is refused or held there.
// Once it had it, refusals of newer bytes no longer count against it: an old or a later refusal never spoils a wait (DESIGN §10).
import type { GatewaySync } from "../model/node.js";
import { type ResourceType, resourceTypes } from "../model/resource-type.js";
import type { Revision } from "../model/revision.js";
import { gatewayOfView } from "../model/rollout.js";
import { FleetNode, isRefusal } from "./fleet-node.js";
import { allNews, allTypes, type NodeReport, type RevisionChanges, typeBits } from "./node-report.js";
import { Cohort, TrackedRevision } from "./tracked-revision.js";

/** Revisions followed at once; older ones are answered from what each node has acked. */
export const maxTrackedRevisions = 256;
/** Revisions before the one that was loaded which are followed too: somebody may still wait for them on another replica. */
export const revisionsBeforeLoad = 16;

/** A gateway's Envoys, or those of them that see a rollout: what a revision changes for them differs, so they are counted apart. */
interface Gateway {
  readonly name: string;
  readonly nodes: Set<FleetNode>;
  /** revision → what is known of it; in the order of revisions. */
  readonly revisions: Map<Revision, TrackedRevision>;
  /** mask of subscribed types → number of nodes. */
  readonly countBySubscription: number[];
}

/** Revisions that were published together. `loaded`: by a full load, so what they changed is not known. */
interface Step {
  readonly from: Revision;
  readonly to: Revision;
  readonly loaded: boolean;
}

/** What the tracker asks and tells. */
export interface TrackerOptions {
  changedBy(gateway: string, revision: Revision): RevisionChanges;
  /** Whether some listener names the gateway; the names of others come from the Envoys alone, and nothing is kept for them. */
  gatewayKnown(gateway: string): boolean;
  /** Told whenever something below changed that the flush or a waiting caller may want to know. */
  onChange(): void;
}

/** All nodes of this replica against all revisions that are followed. */
export class Tracker {
  readonly #nodes = new Map<string, FleetNode>();
  readonly #gateways = new Map<string, Gateway>();
  #steps: Step[] = [];
  #published: Revision = 0;
  /** Comparisons of one node with one cohort or revision since the start: what the work is measured in. */
  evaluations = 0;
  /** What the flush has not taken yet. */
  readonly changedRevisions = new Set<TrackedRevision>();
  /** Gateways in which only the number of nodes changed. */
  readonly changedTotals = new Set<string>();
  readonly changedNodes = new Set<string>();
  /** Nodes with something held or unanswered: most such last for ms, so they are written only if they stay. */
  readonly unsettledNodes = new Set<string>();
  readonly removedNodes = new Set<string>();

  constructor(private readonly options: TrackerOptions) {}

  /** The newest revision that nodes may see; 0 before the first load. */
  get published(): Revision {
    return this.#published;
  }
  get trackedRevisions(): number {
    return this.#steps.reduce((sum, step) => sum + step.to - step.from + 1, 0);
  }
  nodes(): Iterable<FleetNode> {
    return this.#nodes.values();
  }
  get nodeCount(): number {
    return this.#nodes.size;
  }
  node(id: string): FleetNode | undefined {
    return this.#nodes.get(id);
  }
  /** Every (gateway, revision) that is followed. */
  *revisions(): Iterable<TrackedRevision> {
    for (const gateway of this.#gateways.values()) yield* gateway.revisions.values();
  }

  // ---- Streams -------------------------------------------------------------------------------------------------------

  opened(report: NodeReport): void {
    const { id } = report.node;
    const node = this.#nodes.get(id) ?? new FleetNode(id);
    this.#nodes.set(id, node);
    this.removedNodes.delete(id);
    this.#reopen(node, () => node.setOpen(report, true));
  }

  closed(report: NodeReport): void {
    const node = this.#nodes.get(report.node.id);
    if (!node) return;
    this.#reopen(node, () => node.setOpen(report, false));
    if (node.newest) return;
    this.#nodes.delete(node.id);
    this.changedNodes.delete(node.id);
    this.unsettledNodes.delete(node.id);
    this.removedNodes.add(node.id);
  }

  /** After each message of the stream: what it answered may settle what its node owes. `news`: as for Fleet. Returns the node, if known. */
  answered(report: NodeReport, news: number = allNews): FleetNode | undefined {
    const node = this.#nodes.get(report.node.id);
    const gateway = node && this.#gateways.get(node.view);
    if (!node || !gateway) return node;
    const subscribedBefore = node.subscribed;
    const { restarts, exceptionsChanged, refusalsChanged } = node.refresh(news);
    this.evaluations += 1;
    if (restarts) {
      if (node.subscribed !== subscribedBefore) {
        this.#count(gateway, subscribedBefore, -1);
        this.#count(gateway, node.subscribed, 1);
      }
      this.#admit(gateway, node, true);
    } else this.#settle(node);
    if (exceptionsChanged) {
      this.#compareExceptions(gateway, node);
      (refusalsChanged ? this.changedNodes : this.unsettledNodes).add(node.id);
    }
    if (this.changedRevisions.size > 0 || this.changedNodes.size > 0 || this.changedTotals.size > 0) this.options.onChange();
    return node;
  }

  /** Takes the node out of everything, changes its streams, and puts it back as what it is now. */
  #reopen(node: FleetNode, change: () => boolean): void {
    const from = node.newest && this.#gateways.get(node.view);
    const unanswered = [...node.without].filter((tracked) => !tracked.without.get(node)?.some(isRefusal));
    const owed = new Set([...node.pending, ...unanswered.map((tracked) => tracked.cohort)]);
    if (!change()) return;
    if (from) this.#withdraw(from, node);
    const to = node.newest && this.#gateway(node.view);
    node.refresh();
    if (to) {
      to.nodes.add(node);
      this.#count(to, node.subscribed, 1);
      this.#admit(to, node, false);
      this.changedNodes.add(node.id);
    }
    // It left, or came back on a stream that has asked for nothing yet: whoever waits for it learns that it is gone, by name.
    for (const cohort of owed) {
      if (to?.name === cohort.gateway && cohort.concerns(node)) continue;
      cohort.leave(node.id);
      this.#touch(cohort);
    }
    if (from && from.nodes.size === 0 && !this.#isKept(from.name)) this.#gateways.delete(from.name);
    this.options.onChange();
  }

  /** A view of a rollout is there for its Envoys alone. */
  #isKept(name: string): boolean {
    return gatewayOfView(name) === name && this.options.gatewayKnown(name);
  }

  #gateway(name: string): Gateway {
    const known = this.#gateways.get(name);
    if (known) return known;
    const gateway: Gateway = {
      name,
      nodes: new Set(),
      revisions: new Map(),
      countBySubscription: new Array<number>(allTypes + 1).fill(0),
    };
    this.#gateways.set(name, gateway);
    for (const step of this.#steps) this.#follow(gateway, step);
    return gateway;
  }

  #count(gateway: Gateway, subscribed: number, by: number): void {
    gateway.countBySubscription[subscribed] = (gateway.countBySubscription[subscribed] ?? 0) + by;
    if (gateway.revisions.size > 0) this.changedTotals.add(gateway.name);
  }

  #withdraw(gateway: Gateway, node: FleetNode): void {
    gateway.nodes.delete(node);
    this.#count(gateway, node.subscribed, -1);
    for (const cohort of node.pending) {
      cohort.pending.delete(node);
      this.#touch(cohort);
    }
    node.pending.clear();
    for (const tracked of node.without) {
      tracked.without.delete(node);
      this.changedRevisions.add(tracked);
    }
    node.without.clear();
  }

  // ---- Comparing -----------------------------------------------------------------------------------------------------

  #touch(cohort: Cohort): void {
    for (const tracked of cohort.revisions) this.changedRevisions.add(tracked);
  }

  /** Compares the node with everything that its gateway follows: when it comes, or (`known`) asks for other types than before. */
  #admit(gateway: Gateway, node: FleetNode, known: boolean): void {
    for (const cohort of new Set([...gateway.revisions.values()].map((tracked) => tracked.cohort))) {
      const hadAll = known && !cohort.pending.has(node);
      this.#enter(cohort, node);
      if (node.exceptions.length === 0 && node.without.size === 0) continue;
      for (const tracked of cohort.revisions) this.#compare(tracked, node, hadAll && !tracked.without.has(node));
    }
  }

  #enter(cohort: Cohort, node: FleetNode): void {
    this.evaluations += 1;
    if (cohort.concerns(node) && cohort.gone.delete(node.id)) this.#touch(cohort);
    const owes = cohort.owes(node);
    if (owes === cohort.pending.has(node)) return;
    if (owes) {
      cohort.pending.add(node);
      node.pending.add(cohort);
    } else {
      cohort.pending.delete(node);
      node.pending.delete(cohort);
    }
    this.#touch(cohort);
  }

  /** After an answer: what the node owed, and what it was without. */
  #settle(node: FleetNode): void {
    // Iterated live: `#enter` takes away at most the cohort that it is given.
    const mayLack = node.exceptions.length > 0 || node.without.size > 0;
    for (const cohort of node.pending) {
      this.#enter(cohort, node);
      if (!mayLack) continue;
      // It did not have these revisions until now, so a refusal of newer bytes means that it never will.
      for (const tracked of cohort.revisions) this.#compare(tracked, node, false);
    }
    if (mayLack) for (const tracked of [...node.without]) this.#compare(tracked, node, false);
  }

  /** Something new is refused or held: it may belong to a revision that was counted as had. */
  #compareExceptions(gateway: Gateway, node: FleetNode): void {
    const oldest = node.exceptions.reduce((least, exception) => Math.min(least, exception.revision), Number.POSITIVE_INFINITY);
    for (const tracked of gateway.revisions.values()) {
      if (tracked.cohort.published < oldest) continue;
      this.#compare(tracked, node, !tracked.without.has(node) && !tracked.cohort.pending.has(node));
    }
  }

  #compare(tracked: TrackedRevision, node: FleetNode, hadIt: boolean): void {
    this.evaluations += 1;
    const missing = tracked.missing(node, hadIt);
    const before = tracked.without.get(node);
    if (missing.length === 0) {
      if (!before) return;
      tracked.without.delete(node);
      node.without.delete(tracked);
    } else {
      if (before && before.length === missing.length && before.every((exception, index) => exception === missing[index])) return;
      tracked.without.set(node, missing);
      node.without.add(tracked);
    }
    this.changedRevisions.add(tracked);
  }

  // ---- Revisions -----------------------------------------------------------------------------------------------------

  /**
   * Nodes are sent this revision from now on, with all before it. A first call is a full load; a smaller revision than the last is
   * another history, and everything that was followed is forgotten. Returns whether that happened.
   */
  publish(revision: Revision): "next" | "loaded" | "same" {
    if (revision === this.#published) return "same";
    const loaded = this.#published === 0 || revision < this.#published;
    if (loaded) this.#forgetAll();
    const first = loaded ? revision - revisionsBeforeLoad + 1 : Math.max(this.#published + 1, revision - maxTrackedRevisions + 1);
    const step: Step = { from: Math.max(1, first), to: revision, loaded };
    this.#published = revision;
    this.#steps.push(step);
    if (loaded) this.#readAll();
    for (const gateway of this.#gateways.values()) this.#follow(gateway, step);
    this.#forgetOld();
    this.options.onChange();
    return loaded ? "loaded" : "next";
  }

  /** What was acked of another history is no answer to this one. */
  #readAll(): void {
    for (const gateway of this.#gateways.values()) {
      gateway.countBySubscription.fill(0);
      for (const node of gateway.nodes) {
        node.refresh();
        this.#count(gateway, node.subscribed, 1);
      }
    }
  }

  /** Begins to follow what a step changed for one gateway. */
  #follow(gateway: Gateway, step: Step): void {
    if (step.loaded && !this.options.gatewayKnown(gateway.name)) return;
    const changed: { revision: Revision; changes: RevisionChanges | undefined }[] = [];
    const required: Record<ResourceType, Revision> = { cluster: 0, endpoint: 0, listener: 0, route: 0 };
    for (let revision = step.from; revision <= step.to; revision++) {
      const changes = step.loaded ? undefined : this.options.changedBy(gateway.name, revision);
      if (changes?.size === 0) continue;
      changed.push({ revision, changes });
      for (const type of changes?.keys() ?? resourceTypes) required[type] = revision;
    }
    const cohorts = new Map<number, Cohort>();
    for (const { revision, changes } of changed) {
      const types = changes ? [...changes.keys()].reduce((mask, type) => mask | typeBits[type], 0) : allTypes;
      const cohort = cohorts.get(types) ?? this.#openCohort(gateway, step.to, types, required);
      cohorts.set(types, cohort);
      const tracked = new TrackedRevision(revision, cohort, changes);
      cohort.revisions.add(tracked);
      gateway.revisions.set(revision, tracked);
      this.changedRevisions.add(tracked);
      for (const node of gateway.nodes) if (node.exceptions.length > 0) this.#compare(tracked, node, false);
    }
  }

  #openCohort(gateway: Gateway, published: Revision, types: number, required: Readonly<Record<ResourceType, Revision>>): Cohort {
    const own = Object.fromEntries(resourceTypes.map((type) => [type, types & typeBits[type] ? required[type] : 0]));
    const cohort = new Cohort(gateway.name, published, types, { cluster: 0, endpoint: 0, listener: 0, route: 0, ...own });
    for (const node of gateway.nodes) {
      node.refresh(types); // What it has acked moves on by itself where a revision changed nothing for it.
      this.#enter(cohort, node);
    }
    return cohort;
  }

  #forgetOld(): void {
    let excess = this.trackedRevisions - maxTrackedRevisions;
    while (excess > 0) {
      const oldest = this.#steps.shift();
      if (!oldest) return;
      const last = Math.min(oldest.to, oldest.from + excess - 1);
      for (let revision = oldest.from; revision <= last; revision++) this.#forget(revision);
      if (last < oldest.to) this.#steps.unshift({ ...oldest, from: last + 1 });
      excess -= last - oldest.from + 1;
    }
  }

  #forget(revision: Revision): void {
    for (const gateway of this.#gateways.values()) {
      const tracked = gateway.revisions.get(revision);
      if (!tracked) continue;
      gateway.revisions.delete(revision);
      this.changedRevisions.delete(tracked);
      for (const node of tracked.without.keys()) this.#nodes.get(node.id)?.without.delete(tracked);
      tracked.cohort.revisions.delete(tracked);
      if (tracked.cohort.revisions.size === 0)
        for (const node of tracked.cohort.pending) this.#nodes.get(node.id)?.pending.delete(tracked.cohort);
      if (gateway.revisions.size === 0 && gateway.nodes.size === 0) this.#gateways.delete(gateway.name);
    }
  }

  #forgetAll(): void {
    for (const step of this.#steps) for (let revision = step.from; revision <= step.to; revision++) this.#forget(revision);
    this.#steps = [];
  }

  // ---- Answers -------------------------------------------------------------------------------------------------------

  /** gateway → how far its nodes here are with the revision. A gateway is in it if the revision changed something for it. */
  sync(revision: Revision): ReadonlyMap<string, GatewaySync> {
    const oldest = this.#steps[0];
    const found = new Map<string, GatewaySync>();
    for (const gateway of this.#gateways.values()) {
      const tracked =
        gateway.revisions.get(revision) ?? (oldest && revision < oldest.from ? this.#reconstruct(gateway, revision) : undefined);
      if (tracked) found.set(gateway.name, this.syncOf(tracked));
    }
    return found;
  }

  syncOf(tracked: TrackedRevision): GatewaySync {
    const { cohort } = tracked;
    const counts = this.#gateways.get(cohort.gateway)?.countBySubscription ?? [];
    return tracked.sync(counts.reduce((total, count, subscribed) => total + (subscribed & cohort.types ? count : 0), 0));
  }

  /** A revision that is no longer followed: had by who has acked every type up to it, less what is refused of exactly that revision. */
  #reconstruct(gateway: Gateway, revision: Revision): TrackedRevision {
    const required = { cluster: revision, endpoint: revision, listener: revision, route: revision };
    const cohort = new Cohort(gateway.name, revision, allTypes, required);
    const tracked = new TrackedRevision(revision, cohort, undefined);
    for (const node of gateway.nodes) {
      this.evaluations += 1;
      if (cohort.owes(node)) cohort.pending.add(node);
      const missing = tracked.missing(node, true);
      if (missing.length > 0) tracked.without.set(node, missing);
    }
    return tracked;
  }
}
