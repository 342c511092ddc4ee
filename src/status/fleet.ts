// The fleet: every Envoy, what it has, what it refused; and the answer to "does everybody have revision n?".
// In: NodeReports from xds/, revisions from snapshot/. Out: rows in the store, Sync for callers who wait, NodeViews for the API.
// xds/ never waits for anything here, and nothing here throws into it. Called by: xds, api, app.ts.
import type { GatewaySync, ResourceException } from "../model/node.js";
import { resourceTypes } from "../model/resource-type.js";
import type { Revision } from "../model/revision.js";
import type { NodeFilter, NodeRow, ReplicaLoad, StatusStore } from "../store/status-store.js";
import { type Clock, systemClock } from "../telemetry/clock.js";
import { failureFacts, type Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import type { FleetNode } from "./fleet-node.js";
import { Flusher } from "./flusher.js";
import { allNews, type NodeReport, type RevisionChanges } from "./node-report.js";
import { type NodeView, type RevisionAuthor, toNodeRow, toNodeView } from "./node-view.js";
import { type NewRefusal, RefusalLog } from "./refusal-log.js";
import type { Sync } from "./sync.js";
import { Tracker } from "./tracker.js";
import { Waits } from "./waits.js";

/** What the fleet is told of the other rooms, and its times. */
export interface FleetOptions {
  /** This replica's id. */
  readonly replica: string;
  readonly store: StatusStore;
  /** What a revision changed for a gateway; empty: nothing, or forgotten. */
  readonly changedBy: (gateway: string, revision: Revision) => RevisionChanges;
  readonly gatewayKnown: (gateway: string) => boolean;
  /** Whether the Envoy is drained; left out: none is. */
  readonly isDrained?: (node: string) => boolean;
  /** Who made a revision; undefined when the database does not know it. */
  readonly authorOf: (revision: Revision) => Promise<RevisionAuthor | undefined>;
  /** Tells when another replica may have written what its Envoys answered. Returns how to stop it. */
  readonly onSyncHint: (callback: () => void) => () => void;
  /** Told of each resource that an Envoy of this replica newly refuses. Must not throw. */
  readonly onRefusal?: ((refusal: NewRefusal) => void) | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly clock?: Clock;
  /** ms; the database counts a replica as gone when it has not beaten for this long. Default 10 s. */
  readonly leaseMs?: number;
  /** ms between beats. Default 3 s. */
  readonly beatMs?: number;
  /** ms between writes while nobody waits. Default 100. */
  readonly flushMs?: number;
  /** Callers that may wait at once. Default 1,000. */
  readonly maxWaits?: number;
}

/** How the fleet is spread over live replicas. */
export interface Shares {
  /** Envoys connected here. */
  readonly own: number;
  /** Live replica → Envoys connected to it, as it said last. */
  readonly others: ReadonlyMap<string, number>;
}

/** A page of nodes. */
export interface NodeList {
  readonly items: readonly NodeView[];
  /** True when the database could not be asked: only this replica's own nodes are listed. */
  readonly partial: boolean;
}

const defaultListLimit = 100;
const defaultLeaseMs = 10_000;
/** Authors of revisions that are remembered; they never change. */
const maxAuthors = 1_000;
/** Authors looked up for one list, those of the newest revisions. */
const maxAuthorsPerList = 50;

/** The Envoys of this replica, and through the store those of the others. */
export class Fleet {
  readonly #tracker: Tracker;
  readonly #flusher: Flusher;
  readonly #waits: Waits;
  readonly #refusals: RefusalLog;
  readonly #authors = new Map<Revision, RevisionAuthor>();
  readonly #stops: (() => void)[];
  readonly #openListeners = new Set<(node: string) => void>();
  #evaluationsCounted = 0;
  #loads: { readonly at: number; readonly replicas: readonly ReplicaLoad[] } | undefined;

  constructor(private readonly options: FleetOptions) {
    const {
      clock = systemClock,
      leaseMs = defaultLeaseMs,
      beatMs = 3_000,
      flushMs = 100,
      maxWaits = 1_000,
      replica,
      store,
      metrics,
    } = options;
    const log = options.log.child({ room: "status" });
    const { changedBy, gatewayKnown } = options;
    const onChange = (): void => {
      this.#flusher.request();
      this.#waits.changed();
    };
    this.#tracker = new Tracker({ changedBy, gatewayKnown, onChange });
    this.#waits = new Waits({ replica, store, tracker: this.#tracker, clock, log, metrics, maxWaits });
    const isAwaited = (): boolean => this.#waits.count > 0;
    this.#flusher = new Flusher({
      replica,
      store,
      tracker: this.#tracker,
      isAwaited,
      clock,
      log,
      metrics,
      leaseMs,
      beatMs,
      flushMs,
      onBeat: (replicas) => {
        this.#loads = { at: clock.now(), replicas };
      },
    });
    this.#refusals = new RefusalLog((refusal) => {
      metrics.count("refusals_total", { type: refusal.type });
      options.onRefusal?.(refusal);
    });
    this.#stops = [options.onSyncHint(() => this.#waits.hinted()), metrics.beforeScrape(() => this.#measure())];
  }

  // ---- Told by xds/ and snapshot/ ------------------------------------------------------------------------------------

  /** A stream said who it is. */
  opened(report: NodeReport): void {
    this.#tracker.opened(report);
    for (const listener of this.#openListeners) listener(report.node.id);
  }
  /** The stream has ended; its report is not read again. */
  closed(report: NodeReport): void {
    this.#tracker.closed(report);
  }
  /**
   * The stream acked, refused, held, or subscribed to something. Call it when the report is whole again, once per message. `news`: bits
   * of what may be other than at the last call (`typeBits`, `exceptionsBit`): nothing else is read again.
   */
  answered(report: NodeReport, news: number = allNews): void {
    const node = this.#tracker.answered(report, news);
    if (node) this.#refusals.look(node);
  }
  /** Streams are served from this revision on. The first call is the first load; call it before streams are woken. */
  published(revision: Revision): void {
    if (this.#tracker.publish(revision) === "loaded") this.#flusher.startOver();
  }

  // ---- Asked by api/ -------------------------------------------------------------------------------------------------

  /** gateway → how far the Envoys of this replica are; from memory. */
  sync(revision: Revision): ReadonlyMap<string, GatewaySync> {
    return this.#tracker.sync(revision);
  }

  /**
   * Waits until every Envoy of every live replica has the revision, or one refused something of it, at most `timeoutMs`.
   * With the database away it answers `pending`: nothing is known of the others. `quorumPercent`: of each gateway's Envoys, so many
   * are enough.
   * @throws too_many_requests
   */
  waitSync(revision: Revision, timeoutMs: number, signal?: AbortSignal, quorumPercent = 100): Promise<Sync> {
    return this.#waits.wait(revision, timeoutMs, signal, quorumPercent);
  }

  /** How far the revision is now, on all replicas, without waiting. What is known of an old one: who has everything up to it. */
  lookSync(revision: Revision): Promise<Sync> {
    return this.#waits.look(revision);
  }

  /** The Envoys of all replicas, by id; at most `limit` (100). Own ones from memory, the others as their rows say. */
  async nodes(filter: NodeFilter = {}): Promise<NodeList> {
    const { store, log } = this.options;
    const limit = filter.limit ?? defaultListLimit;
    let partial = false;
    const rows = await store.nodes({ ...filter, limit }).catch((error: unknown) => {
      log.warn(failureFacts(error), "nodes of other replicas can't be listed");
      partial = true;
      return [];
    });
    const byId = new Map(rows.map((row) => [row.id, row]));
    // A row of ours that was written before an answer may still say what the node has got since.
    if (filter.lacks) for (const row of rows) if (row.replica === this.options.replica) byId.delete(row.id);
    for (const own of this.#ownRows(filter)) {
      if (this.#winsOver(own, byId.get(own.id))) byId.set(own.id, own);
    }
    const found = [...byId.values()]
      .filter((row) => this.#isCurrent(row))
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .slice(0, limit);
    const authors = await this.#authorsOf(found);
    return { items: found.map((row) => this.#view(row, authors)), partial };
  }

  /** One Envoy; undefined when no replica knows it. */
  async node(id: string): Promise<NodeView | undefined> {
    return (await this.nodes({ id, limit: 1 })).items[0];
  }

  /** gateway → its connected Envoys, on all live replicas: own ones from memory, the others as their rows say. @throws database_unavailable */
  async countNodes(gateways: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const counts = new Map(await this.options.store.countNodes(gateways, this.options.replica));
    const asked = new Set(gateways);
    for (const { gateway } of this.#tracker.nodes()) if (asked.has(gateway)) counts.set(gateway, (counts.get(gateway) ?? 0) + 1);
    return counts;
  }

  /** Called with the node of each stream that is opened here. Returns how to stop it. Must not throw. */
  onOpened(listener: (node: string) => void): () => void {
    this.#openListeners.add(listener);
    return () => this.#openListeners.delete(listener);
  }

  /** Envoys whose newest stream is on this replica; a live view. */
  ownNodes(): Iterable<FleetNode> {
    return this.#tracker.nodes();
  }

  /** undefined: not known, as this replica has not beaten within its lease. */
  shares(): Shares | undefined {
    const { clock = systemClock, leaseMs = defaultLeaseMs, replica } = this.options;
    if (!this.#loads || clock.now() - this.#loads.at > leaseMs) return undefined;
    const others = this.#loads.replicas.filter(({ id }) => id !== replica).map(({ id, nodes }) => [id, nodes] as const);
    return { own: this.#tracker.nodeCount, others: new Map(others) };
  }

  /** Ends all waits with what there is, and lets no new one begin: before the streams end, so that no wait takes that for an answer. */
  endWaits(): void {
    this.#waits.close();
  }

  /** Signs this replica off. To be called when no stream is open any more. */
  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#waits.close();
    await this.#flusher.close();
  }

  // ---- Nodes ---------------------------------------------------------------------------------------------------------

  #ownRows(filter: NodeFilter): NodeRow[] {
    const rows: NodeRow[] = [];
    for (const node of this.#tracker.nodes()) {
      if (filter.id !== undefined && node.id !== filter.id) continue;
      if (filter.gateway !== undefined && node.gateway !== filter.gateway) continue;
      if (filter.after !== undefined && node.id <= filter.after) continue;
      if (filter.lacks && !node.exceptions.some((exception) => isOneOf(exception, filter.lacks ?? []))) continue;
      const row = toNodeRow(node, this.options.replica);
      if (row) rows.push(row);
    }
    return rows;
  }

  /**
   * Another replica's row that stands although ours was written is of a newer stream: the Envoy has moved, and we have yet to notice.
   * The database decides which is newer, by its own clock; the replicas' clocks are not compared.
   */
  #winsOver(own: NodeRow, stored: NodeRow | undefined): boolean {
    return !stored?.connected || stored.replica === own.replica || this.#tracker.changedNodes.has(own.id);
  }

  /** A row of ours whose node is not here any more is about to be removed. */
  #isCurrent(row: NodeRow): boolean {
    return row.replica !== this.options.replica || this.#tracker.node(row.id) !== undefined;
  }

  #view(row: NodeRow, authors: ReadonlyMap<Revision, RevisionAuthor>): NodeView {
    const own = row.replica === this.options.replica ? this.#tracker.node(row.id) : undefined;
    const { gatewayKnown, isDrained } = this.options;
    const flags = { gatewayKnown: gatewayKnown(row.gateway), draining: isDrained?.(row.id) ?? false };
    return toNodeView(row, flags, own?.ackedRevision, authors);
  }

  async #authorsOf(rows: readonly NodeRow[]): Promise<ReadonlyMap<Revision, RevisionAuthor>> {
    const refused = new Set(
      rows.flatMap((row) => row.exceptions.flatMap((exception) => (exception.kind === "refused" ? exception.revision : []))),
    );
    for (const revision of [...refused].sort((a, b) => b - a).slice(0, maxAuthorsPerList)) {
      if (this.#authors.has(revision)) continue;
      const author = await this.options.authorOf(revision).catch(() => undefined); // Shown without it; the store has logged why.
      if (!author) continue;
      if (this.#authors.size >= maxAuthors) this.#authors.clear();
      this.#authors.set(revision, author);
    }
    return this.#authors;
  }

  // ---- Metrics -------------------------------------------------------------------------------------------------------

  #measure(): void {
    const { metrics } = this.options;
    const nodes = { true: 0, false: 0 };
    const kinds = {
      refused: "xds_resources_refused",
      held: "xds_resources_held",
      unanswered: "xds_resources_unanswered",
    } as const;
    const counts = new Map<string, number>();
    for (const node of this.#tracker.nodes()) {
      nodes[this.options.gatewayKnown(node.gateway) ? "true" : "false"] += 1;
      for (const { kind, type } of node.exceptions) counts.set(`${kind} ${type}`, (counts.get(`${kind} ${type}`) ?? 0) + 1);
    }
    for (const known of ["true", "false"] as const) metrics.set("status_nodes", { gateway_known: known }, nodes[known]);
    for (const kind of ["refused", "held", "unanswered"] as const) {
      for (const type of resourceTypes) metrics.set(kinds[kind], { type }, counts.get(`${kind} ${type}`) ?? 0);
    }
    metrics.set("status_revisions_tracked", {}, this.#tracker.trackedRevisions);
    metrics.set("sync_waits_open", {}, this.#waits.count);
    metrics.count("status_evaluations_total", {}, this.#tracker.evaluations - this.#evaluationsCounted);
    this.#evaluationsCounted = this.#tracker.evaluations;
  }
}

function isOneOf({ type, name }: ResourceException, resources: NonNullable<NodeFilter["lacks"]>): boolean {
  return resources.some((resource) => resource.type === type && resource.name === name);
}
