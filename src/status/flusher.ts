// Writes what Envoys answered to the database: a row per (gateway, revision) that changed, a row per node that came, left or
// refused something, and the replica's lease. One write at a time; what cannot be written stays in the tracker's sets, which are
// bounded, and is written later. Nothing here is ever waited for by xds/.
// In: Tracker's `changed*`. Out: StatusStore. Owned by: fleet.ts.
import { resourceTypes } from "../model/resource-type.js";
import type { Revision } from "../model/revision.js";
import type { ReplicaLoad, StatusStore } from "../store/status-store.js";
import { backOffMs, type Clock, withJitter } from "../telemetry/clock.js";
import { failureFacts, type Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import { type FleetNode, sameExceptions } from "./fleet-node.js";
import { toNodeRow } from "./node-view.js";
import type { TrackedRevision } from "./tracked-revision.js";
import type { Tracker } from "./tracker.js";

/** Where it reads, where it writes, and how often. */
export interface FlusherOptions {
  readonly replica: string;
  readonly store: StatusStore;
  readonly tracker: Tracker;
  /** Whether a caller waits on this replica: then nothing is put off. */
  readonly isAwaited: () => boolean;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly leaseMs: number;
  readonly beatMs: number;
  readonly flushMs: number;
  /** Told with each beat which replicas live, and how many Envoys each has. */
  readonly onBeat?: (replicas: readonly ReplicaLoad[]) => void;
}

/** Nodes that left and are not yet written off; beyond it this replica's rows are written anew from nothing. */
const maxRemoved = 10_000;
const maxBackOffMs = 5_000;
/** While nobody waits here, and others know of this replica, a write is put off for so long: the answers to one push come within it, and are then one write, not two. */
const gatherMs = 20;
/** Rows per beat that are written only because their node acked something: what other replicas show of it is that late, no more. */
const maxRefreshedPerBeat = 200;

/** What one write takes along. */
interface Batch {
  readonly revision: Revision;
  readonly revisions: readonly TrackedRevision[];
  readonly nodes: readonly FleetNode[];
  readonly removed: readonly string[];
}

function ackedKey(node: FleetNode): string {
  return resourceTypes.map((type) => node.acked[type]).join(" ");
}

/** One per replica: the only writer of its rows. */
export class Flusher {
  readonly #startedAt: string;
  #stopTimer: (() => void) | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #stopBeat: (() => void) | undefined;
  #beatIsDue = false;
  #running: Promise<void> | undefined;
  #lastAt = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #closed = false;
  /** False: the database may hold rows of ours that are not true any more, or none of those that should be there. */
  #registered = false;
  #beaten: { readonly at: number; readonly revision: Revision } | undefined;
  readonly #written = new WeakSet<TrackedRevision>();
  readonly #writtenNodes = new WeakMap<FleetNode, { readonly exceptions: FleetNode["exceptions"]; readonly acked: string }>();
  #refreshFrom = 0;

  constructor(private readonly options: FlusherOptions) {
    this.#startedAt = new Date(options.clock.now()).toISOString();
  }

  /** Something changed: write soon. Cheap; called for every answer of every Envoy. */
  request(): void {
    if (this.#closed || this.options.tracker.published === 0 || this.#running || this.#failures > 0) return;
    const now = this.options.clock.now();
    const pauseMs = this.#registered ? gatherMs : 0;
    this.#schedule(this.options.isAwaited() ? now : Math.max(now + pauseMs, this.#lastAt + this.options.flushMs));
    this.#stopBeat ??= this.options.clock.after(withJitter(this.options.beatMs), () => this.#beat());
  }

  /** The next write begins from nothing: after another history, whose rows carry the same numbers. */
  startOver(): void {
    this.#registered = false;
    this.request();
  }

  /** Takes this replica out of the count, so that no wait stays for it. Best effort: the lease ends by itself. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#stopTimer?.();
    this.#stopBeat?.();
    await this.#running;
    if (!this.#beaten) return;
    await this.options.store.removeReplica(this.options.replica).catch((error: unknown) => {
      this.options.log.warn(failureFacts(error), "this replica could not be signed off; its lease ends by itself");
    });
  }

  #schedule(at: number): void {
    if (at >= this.#dueAt) return;
    this.#stopTimer?.();
    this.#dueAt = at;
    this.#stopTimer = this.options.clock.after(Math.max(0, at - this.options.clock.now()), () => {
      this.#dueAt = Number.POSITIVE_INFINITY;
      this.#stopTimer = undefined;
      this.#running = this.#flush().finally(() => {
        this.#running = undefined;
        this.#scheduleNext();
      });
    });
  }

  #scheduleNext(): void {
    if (this.#closed) return;
    if (this.#failures > 0) return this.#schedule(this.options.clock.now() + backOffMs(this.#failures, 100, maxBackOffMs));
    const { changedRevisions, changedNodes, removedNodes, published } = this.options.tracker;
    if (
      changedRevisions.size + changedNodes.size + removedNodes.size > 0 ||
      this.#beatIsDue ||
      published !== this.#beaten?.revision
    )
      this.request();
  }

  #beat(): void {
    if (this.#closed) return;
    this.#beatIsDue = true;
    this.#takeUpTotals();
    this.#takeUpUnsettled();
    this.#takeUpAcked();
    this.#stopBeat = this.options.clock.after(withJitter(this.options.beatMs), () => this.#beat());
    this.request();
  }

  /** Where only the number of nodes changed, no wait depends on it: such rows are written with the beat. */
  #takeUpTotals(): void {
    const { tracker } = this.options;
    for (const tracked of tracker.revisions())
      if (tracker.changedTotals.has(tracked.cohort.gateway)) tracker.changedRevisions.add(tracked);
    tracker.changedTotals.clear();
  }

  #takeUpUnsettled(): void {
    const { tracker } = this.options;
    for (const id of tracker.unsettledNodes) {
      const node = tracker.node(id);
      if (node && !sameExceptions(this.#writtenNodes.get(node)?.exceptions ?? [], node.exceptions)) tracker.changedNodes.add(id);
    }
    tracker.unsettledNodes.clear();
  }

  /** A round robin over the nodes whose row is behind. Bounded, so that a fleet of any size costs the same. */
  #takeUpAcked(): void {
    const { tracker } = this.options;
    const nodes = [...tracker.nodes()];
    let taken = 0;
    let looked = 0;
    for (; looked < nodes.length && taken < maxRefreshedPerBeat; looked++) {
      const node = nodes[(this.#refreshFrom + looked) % nodes.length];
      if (!node || this.#writtenNodes.get(node)?.acked === ackedKey(node)) continue;
      tracker.changedNodes.add(node.id);
      taken += 1;
    }
    this.#refreshFrom = nodes.length > 0 ? (this.#refreshFrom + looked) % nodes.length : 0;
  }

  // ---- One write -----------------------------------------------------------------------------------------------------

  async #flush(): Promise<void> {
    const { clock, log, metrics, tracker } = this.options;
    this.#lastAt = clock.now();
    this.#judgeRegistration();
    let batch: Batch | undefined;
    try {
      if (!this.#registered) await this.#register();
      batch = this.#take();
      await this.#write(batch);
      if (this.#failures > 0) log.info({ revision: tracker.published }, "what Envoys answered is written to the database again");
      this.#failures = 0;
      metrics.count("status_flushes_total", { outcome: "ok" });
    } catch (error) {
      if (batch) this.#putBack(batch);
      // Also when it was something else that failed: without it, the next try might write nothing, and take that for an answer.
      this.#beatIsDue = true;
      if (this.#failures === 0)
        log.warn(failureFacts(error), "what Envoys answered can't be written to the database; it is kept and tried again");
      this.#failures += 1;
      metrics.count("status_flushes_total", { outcome: "failed" });
    }
  }

  /** A lease that is over may have cost us our rows; too many departures are cheaper to forget than to list. */
  #judgeRegistration(): void {
    const { clock, leaseMs, tracker } = this.options;
    if (this.#beaten && clock.now() - this.#beaten.at > leaseMs) this.#registered = false;
    if (tracker.removedNodes.size > maxRemoved) this.#registered = false;
  }

  /** Revision 0 first: until our rows are written, no wait may pass this replica by. */
  async #register(): Promise<void> {
    const { clock, leaseMs, replica, store, tracker } = this.options;
    await store.removeReplica(replica);
    const at = clock.now();
    await store.heartbeat({ id: replica, startedAt: this.#startedAt, revision: 0, leaseMs });
    this.#beaten = { at, revision: 0 };
    this.#registered = true;
    tracker.removedNodes.clear();
    for (const node of tracker.nodes()) tracker.changedNodes.add(node.id);
    for (const tracked of tracker.revisions()) tracker.changedRevisions.add(tracked);
  }

  #take(): Batch {
    const { tracker } = this.options;
    const batch: Batch = {
      revision: tracker.published,
      revisions: [...tracker.changedRevisions],
      nodes: [...tracker.changedNodes].flatMap((id) => tracker.node(id) ?? []),
      removed: [...tracker.removedNodes],
    };
    tracker.changedRevisions.clear();
    tracker.changedNodes.clear();
    tracker.removedNodes.clear();
    return batch;
  }

  #putBack(batch: Batch): void {
    const { tracker } = this.options;
    const followed = new Set(tracker.revisions());
    for (const tracked of batch.revisions) if (followed.has(tracked)) tracker.changedRevisions.add(tracked);
    for (const node of batch.nodes) if (tracker.node(node.id) === node) tracker.changedNodes.add(node.id);
    for (const id of batch.removed) if (!tracker.node(id)) tracker.removedNodes.add(id);
  }

  /** Never the revision before the rows: a replica that is seen to have loaded a revision has said what its Envoys owe of it. */
  async #write(batch: Batch): Promise<void> {
    const { clock, leaseMs, metrics, replica, store, tracker } = this.options;
    const rows = batch.revisions.flatMap((tracked) => {
      const sync = tracker.syncOf(tracked);
      if (sync.total === 0 && sync.gone.length === 0 && !this.#written.has(tracked)) return [];
      this.#written.add(tracked);
      return { replica, gateway: tracked.cohort.gateway, revision: tracked.revision, sync };
    });
    const at = clock.now();
    const isTimed = this.#beatIsDue;
    const isBeat = isTimed || batch.revision !== this.#beaten?.revision;
    const beat = { id: replica, startedAt: this.#startedAt, revision: batch.revision, leaseMs, nodes: tracker.nodeCount };
    this.#beatIsDue = false;
    // A beat that is due by its time goes alone: it also tells of the other replicas.
    const [withRows, alone] = rows.length > 0 && !isTimed ? [isBeat, false] : [false, isBeat];
    if (rows.length > 0) await store.saveSync(replica, rows, withRows ? beat : undefined);
    if (alone) this.options.onBeat?.(await store.heartbeat(beat));
    if (isBeat) this.#beaten = { at, revision: batch.revision };
    if (batch.nodes.length + batch.removed.length > 0) {
      const nodeRows = batch.nodes.flatMap((node) => {
        this.#writtenNodes.set(node, { exceptions: node.exceptions, acked: ackedKey(node) });
        return toNodeRow(node, replica) ?? [];
      });
      await store.saveNodes(replica, nodeRows, batch.removed);
      metrics.count("status_rows_written_total", { table: "nodes" }, nodeRows.length + batch.removed.length);
    }
    metrics.count("status_rows_written_total", { table: "sync" }, rows.length);
  }
}
