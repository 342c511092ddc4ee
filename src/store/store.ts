// The store: Postgres as the other rooms see it. In: a URL and limits. Out: writes, reads, the feed, hints and status.
// The only door of this room. Called by snapshot/, status/, api/ and app.ts; the tables are in migrations/, made by migrate.ts.

import type { StateRows } from "../model/desired-state.js";
import type { Author } from "../model/revision.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import { loadState } from "./desired-state.js";
import { createDrainStore, type DrainStore } from "./drain-store.js";
import { createHistory, type HistoryReads } from "./history.js";
import { HistoryPruner } from "./history-pruner.js";
import { createLeaseStore, type LeaseStore } from "./lease-store.js";
import { createNodeDrainStore, type NodeDrainStore } from "./node-drain-store.js";
import { createReads, type StoreReads } from "./object-reads.js";
import { createObserver, observeReads, observeStatus, watchPools } from "./observed.js";
import { OpenWork } from "./open-work.js";
import { createPool } from "./pool.js";
import { createRebalanceStore, type RebalanceStore } from "./rebalance-store.js";
import { type PruneStep, pruneStep, type RetentionRule } from "./retention.js";
import { type FeedAnswer, readAfter } from "./revision-feed.js";
import { type Channel, RevisionHints } from "./revision-hints.js";
import { keptOf, type RevisionMark, readHead } from "./revisions.js";
import { createRolloutStore, type RolloutStore } from "./rollout-store.js";
import { SchemaGate } from "./schema-version.js";
import { toAppError } from "./sqlstate.js";
import { createStatusStore, type StatusStore } from "./status-store.js";
import { type WriteChoices, type Written, write } from "./write.js";
import type { WriteTx } from "./write-tx.js";

export type { AuditAnswer, BreakKind, ChainBreak, ChainMark } from "./audit.js";
export { firstMark } from "./audit.js";
export { StateMismatch } from "./desired-state.js";
export type { DifferencePage, Span } from "./differences.js";
export type { DrainNode, DrainRecord, JoinedDrain, LoadVerdict } from "./drain-row.js";
export type {
  DrainAck,
  DrainGauges,
  DrainLoad,
  DrainPage,
  DrainRowStore,
  DrainStore,
  SampledGauges,
  SharedGauges,
  WatchedDrain,
} from "./drain-store.js";
export type { DrainEnd, DrainTx, EndpointFilter, NewDrain, Removal } from "./drain-tx.js";
export type { GuardFault } from "./guards.js";
export type { HistoryReads, RevisionFilter, RevisionList, RevisionPage, RevisionsAfter } from "./history.js";
export type { HistoryCut } from "./history-cut.js";
export { beyondCut } from "./history-cut.js";
export type { Lease, LeaseLook, LeaseStore } from "./lease-store.js";
export type { ConnectionsVerdict, NodeDrainRecord } from "./node-drain-row.js";
export type { NodeDrainSign, NodeDrainStore } from "./node-drain-store.js";
export type { NodeDrainEnd } from "./node-drain-tx.js";
export type { ListFilter, ListPage, Page, StoreReads } from "./object-reads.js";
export type { Stored } from "./objects.js";
export type { RebalanceNode, RebalanceRecord } from "./rebalance-row.js";
export type { OpenRebalance, RebalanceLoad, RebalancePage, RebalanceStore } from "./rebalance-store.js";
export type { NewRebalance, RebalanceEnd, RebalanceTx } from "./rebalance-tx.js";
export type { PruneStep, RetentionRule } from "./retention.js";
export { toRetentionRule } from "./retention.js";
export type { FeedAnswer } from "./revision-feed.js";
export type { ObjectCounts, RevisionFacts, RevisionMark } from "./revisions.js";
export type {
  AppliedObjects,
  GatewayPolicy,
  OpenRollout,
  RolloutNode,
  RolloutState,
  RolloutStore,
  StoredRollout,
  StoredRolloutNode,
  Traffic,
} from "./rollout-store.js";
export { type Cohort, type NewRollout, RolloutOvertaken } from "./rollout-writes.js";
export { type KeptState, type RejectReason, StateFile } from "./state-file.js";
export type { NodeFilter, NodeRow, ReplicaBeat, ReplicaLoad, StatusStore, SyncRow } from "./status-store.js";
export { MayBeStaged, type WriteChoices, type Written } from "./write.js";
export type { PutOutcome, WriteTx } from "./write-tx.js";

/** A full load reads every table in one go; longer than this it is given up. */
const loadTimeoutMs = 60_000;
/** Connections for the steps of drains, and their limit: short, as a drain that a hanging replica holds is late for that long. */
const jobsPoolSize = 2;
const maxJobQueryTimeoutMs = 1_500;
/** An orderly stop does not wait longer for statements under way. */
const closeTimeoutMs = 5_000;

/** Where Postgres is, and the limits of dealing with it. Times in ms. */
export interface StoreOptions {
  readonly databaseUrl: string;
  /** Use LISTEN and NOTIFY as hints. Off behind a pooler in transaction mode: everything works by polling. */
  readonly notify: boolean;
  /** Without NOTIFY, and with serializable transactions that are tried again: for distributed engines. Default: false. */
  readonly portable?: boolean | undefined;
  /** Connections for the admin API's reads and writes. */
  readonly apiPoolSize: number;
  /** Connections for the feed and status, which API load must not starve. At least 2. */
  readonly feedPoolSize: number;
  readonly connectTimeoutMs: number;
  readonly queryTimeoutMs: number;
  /** Age at which a connection is made anew. */
  readonly connectionAgeMs: number;
  /** How much of the history is kept; undefined: all of it. */
  readonly retention?: RetentionRule | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Postgres as the other rooms see it. */
export interface Store {
  /**
   * One transaction, and a revision if something changed. `work` may run several times; nothing but its last run counts.
   * @throws database_unavailable, write_contention, in_use, already_exists, invalid_reference, precondition_failed (`baseRevision`), and
   * what `work` throws
   */
  write<T>(author: Author, work: (tx: WriteTx) => Promise<T>, choices?: WriteChoices): Promise<Written<T>>;
  readonly read: StoreReads;
  readonly history: HistoryReads;
  /** One step of pruning the history, as `retention` has it done in the background. @throws database_unavailable */
  prune(rule: RetentionRule): Promise<PruneStep>;
  /** The newest revision. @throws database_unavailable */
  head(): Promise<RevisionMark>;
  /** Which of these revisions the database still has, by id. @throws database_unavailable */
  keptOf(marks: readonly RevisionMark[]): Promise<ReadonlySet<string>>;
  /** Called for each revision that this process committed, before its writer is told. Returns the unsubscription. */
  onCommitted(callback: (mark: RevisionMark) => void): () => void;
  /** Everything at one revision. @throws StateMismatch when the rows are not those that the revision recorded, database_unavailable, schema_too_new */
  loadState(): Promise<StateRows>;
  /** What was committed after `at`, at most `limit` revisions. @throws database_unavailable, schema_too_new */
  readAfter(at: RevisionMark, limit: number): Promise<FeedAnswer>;
  /** Why the database's schema is too new for this program, in words, as the feed last saw it; undefined: it is not. */
  schemaFault(): string | undefined;
  /** Called when something may have been committed: never the truth, often sooner than the poll. Returns the unsubscription. */
  onRevisionHint(callback: () => void): () => void;
  /** Called when a replica may have saved sync. */
  onSyncHint(callback: () => void): () => void;
  /** Which jobs have anything to do, as the feed last saw it. */
  readonly work: Pick<OpenWork, "mayBe" | "onCame" | "of">;
  readonly status: StatusStore;
  readonly rollouts: RolloutStore;
  readonly drains: DrainStore;
  readonly rebalances: RebalanceStore;
  readonly nodeDrains: NodeDrainStore;
  readonly leases: LeaseStore;
  close(): Promise<void>;
}

/** Connects when first used: the database need not be up. */
export async function createStore(options: StoreOptions): Promise<Store> {
  const { portable = false, queryTimeoutMs, log, metrics } = options;
  const notify = options.notify && !portable;
  const prepares = notify; // Whoever turns notices off has a pooler in between, which may not show as one (prepared.ts).
  const api = createPool({ ...options, name: "api", size: options.apiPoolSize, prepares });
  const feed = createPool({ ...options, name: "feed", size: options.feedPoolSize, prepares });
  const load = createPool({ ...options, name: "load", size: 1, queryTimeoutMs: loadTimeoutMs });
  const jobsQueryTimeoutMs = Math.min(queryTimeoutMs, maxJobQueryTimeoutMs);
  const jobs = createPool({ ...options, name: "jobs", size: jobsPoolSize, queryTimeoutMs: jobsQueryTimeoutMs, prepares });
  const committed = new Set<(mark: RevisionMark) => void>();
  const onCommitted = (mark: RevisionMark): void => {
    for (const callback of committed) callback(mark);
  };
  const jobOptions = { pool: jobs, queryTimeoutMs: jobsQueryTimeoutMs, notify, portable, onCommitted, log, metrics };
  const hinted: Readonly<Record<Channel, Set<() => void>>> = { revision: new Set(), sync: new Set() };
  const onHint = (channel: Channel): void => {
    metrics.count("feed_hints_total", { channel });
    for (const callback of hinted[channel]) callback();
  };
  const hints = notify ? new RevisionHints({ ...options, onHint }) : undefined;
  const subscribe = (channel: Channel, callback: () => void): (() => void) => {
    const entry = (): void => callback(); // An entry of its own, so that one callback may be given twice.
    hinted[channel].add(entry);
    return () => hinted[channel].delete(entry);
  };
  const work = new OpenWork();
  const schema = new SchemaGate();
  const observe = createObserver(metrics, schema);
  const prune = (rule: RetentionRule): Promise<PruneStep> => observe("prune", () => pruneStep(load, rule, queryTimeoutMs));
  const { retention } = options;
  const pruner = retention && new HistoryPruner({ step: () => prune(retention), log, metrics });
  const stopWatching = watchPools({ api, feed, load, jobs }, metrics);
  const loadAll = (): Promise<StateRows> =>
    loadState(load, schema, loadTimeoutMs).catch((error: unknown) => {
      throw toAppError(error);
    });
  return {
    write: (author, work, choices) =>
      observe("write", () => write({ ...jobOptions, pool: api, queryTimeoutMs }, author, work, choices)),
    read: observeReads(createReads(api), observe),
    history: createHistory(api),
    prune,
    head: () => observe("head", () => readHead(feed)),
    keptOf: (marks) => observe("kept_of", () => keptOf(feed, marks)),
    onCommitted: (callback) => {
      committed.add(callback);
      return () => committed.delete(callback);
    },
    loadState: () => observe("load_state", loadAll),
    readAfter: (at, limit) => observe("read_after", () => readAfter({ pool: feed, schema, work }, at, limit)),
    schemaFault: () => schema.reason,
    work,
    onRevisionHint: (callback) => subscribe("revision", callback),
    onSyncHint: (callback) => subscribe("sync", callback),
    status: observeStatus(createStatusStore(feed, notify), observe),
    rollouts: createRolloutStore(api, feed, observe),
    drains: createDrainStore({ api, feed, jobs: jobOptions, observe }),
    rebalances: createRebalanceStore(api, feed, jobOptions, observe),
    nodeDrains: createNodeDrainStore({ api, feed, jobs: jobOptions, observe }),
    leases: createLeaseStore(api, jobOptions, observe),
    async close() {
      stopWatching();
      await pruner?.close();
      const closed = Promise.all([hints?.close(), api.end(), feed.end(), load.end(), jobs.end()]);
      const timer = new Promise<"late">((done) => setTimeout(done, closeTimeoutMs, "late").unref());
      if ((await Promise.race([closed, timer])) === "late")
        log.warn({}, "the database did not let go of its connections in time");
    },
  };
}
