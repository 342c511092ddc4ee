// Keeps the state that this replica serves on disk, behind its back: what a start without the database serves (ADR 0034).
// In: publications of Snapshots. Out: StateFile written, now and then. Called by app.ts; what is kept is read by follower.ts.
import { reasonOf } from "../errors.js";
import type { DesiredState, StateRows } from "../model/desired-state.js";
import type { Revision } from "../model/revision.js";
import { type KeptState, type RejectReason, StateFile } from "../store/store.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import type { Snapshots } from "./snapshots.js";

export interface StateKeeperOptions {
  readonly folder: string;
  readonly databaseUrl: string;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Least time between two writes, ms. */
  readonly intervalMs?: number;
}

/** What /readyz tells of it. */
export type KeeperState =
  | { readonly state: "off" }
  /** `revision` left out: nothing has been written yet. */
  | { readonly state: "kept"; readonly revision?: Revision }
  /** `revision`: of the last file that was written. */
  | { readonly state: "failing"; readonly reason: string; readonly revision?: Revision };

const defaultIntervalMs = 2_000;
/** A write is followed by so many times its duration without one: a state that is never still takes 5 % of a core at most. */
const restFactor = 19;
/** After a failed write. */
const retryMs = 10_000;
/** An orderly stop writes what is not written yet, and waits no longer for it. */
const closeTimeoutMs = 2_000;

export class StateKeeper {
  readonly #file: StateFile;
  #snapshots: Snapshots | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  /** The mark of what is on disk. */
  #kept: { readonly revision: Revision; readonly id: string } | undefined;
  #trouble: string | undefined;
  /** No write before, ms of performance.now. */
  #restUntil = 0;
  #closed = false;
  #stopFollowing: () => void = () => {};
  readonly #stopMeasuring: () => void;

  constructor(private readonly options: StateKeeperOptions) {
    const { folder, databaseUrl, log, metrics } = options;
    this.#file = new StateFile({
      folder,
      databaseUrl,
      onReject: (file, reason, error) => this.#rejected(file, reason, error),
    });
    this.#stopMeasuring = metrics.beforeScrape(() => {
      metrics.set("state_file_revision", {}, this.#kept?.revision ?? 0);
      metrics.set("state_file_failing", {}, this.#trouble === undefined ? 0 : 1);
    });
    // Told at once, not when it is needed.
    void this.#file.check().catch((error: unknown) => this.#failed(error));
    log.debug({ file: this.#file.newest }, "the state is kept on disk");
  }

  get state(): KeeperState {
    const revision = this.#kept && { revision: this.#kept.revision };
    return this.#trouble === undefined
      ? { state: "kept", ...revision }
      : { state: "failing", reason: this.#trouble, ...revision };
  }

  /** From now on what the snapshots publish is kept. */
  follow(snapshots: Snapshots): void {
    this.#snapshots = snapshots;
    this.#stopFollowing = snapshots.onPublished(() => this.#schedule());
  }

  /** What was kept last, sound and of this database; undefined: nothing. */
  async read(): Promise<KeptState | undefined> {
    const kept = await this.#file.read();
    if (kept) this.#kept = { revision: kept.rows.revision, id: kept.rows.id };
    return kept;
  }

  /** What is not on disk yet goes there, if that takes 2 s at most. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#stopFollowing();
    clearTimeout(this.#timer);
    const late = new Promise<void>((resolve) => setTimeout(resolve, closeTimeoutMs).unref());
    await Promise.race([(this.#writing ?? Promise.resolve()).then(() => this.#write()), late]);
    this.#stopMeasuring();
  }

  #schedule(): void {
    if (this.#closed || this.#timer || this.#writing || !this.#isBehind()) return;
    const waitMs = Math.max(this.#kept ? 0 : 50, this.#restUntil - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#writing = this.#write().finally(() => {
        this.#writing = undefined;
        this.#schedule();
      });
    }, waitMs).unref();
  }

  #isBehind(): boolean {
    const state = this.#snapshots?.state;
    return state !== undefined && (state.revision !== this.#kept?.revision || state.id !== this.#kept.id);
  }

  async #write(): Promise<void> {
    const { metrics, log, intervalMs = defaultIntervalMs } = this.options;
    const snapshots = this.#snapshots;
    if (!snapshots?.state || !this.#isBehind()) return;
    const rows = rowsOf(snapshots.state, snapshots.pastRoutes);
    const startedAt = performance.now();
    try {
      const bytes = await this.#file.write(rows);
      const ms = performance.now() - startedAt;
      this.#restUntil = performance.now() + Math.max(intervalMs, ms * restFactor);
      this.#kept = { revision: rows.revision, id: rows.id };
      if (this.#trouble !== undefined) log.info({ revision: rows.revision }, "the state can be kept on disk again");
      this.#trouble = undefined;
      metrics.count("state_file_writes_total", { outcome: "written" });
      metrics.observe("state_file_write_seconds", {}, ms / 1_000);
      log.debug({ revision: rows.revision, bytes, ms: Math.round(ms) }, "the state was kept on disk");
    } catch (error) {
      this.#restUntil = performance.now() + Math.max(intervalMs, retryMs);
      metrics.count("state_file_writes_total", { outcome: "failed" });
      this.#failed(error);
    }
  }

  /** Told once, and again when the reason changes. Serving goes on: only a start without the database needs the file. */
  #failed(error: unknown): void {
    const reason = reasonOf(error);
    const isNews = reason !== this.#trouble;
    this.#trouble = reason;
    if (isNews)
      this.options.log.error(
        { reason, folder: this.options.folder },
        "can't keep the state on disk: started again without its database, this replica would serve nobody, or an older state",
      );
  }

  #rejected(file: string, reason: RejectReason, error: unknown): void {
    this.options.metrics.count("state_file_rejected_total", { reason });
    const facts = { file, reason, ...(error === undefined ? {} : { detail: reasonOf(error) }) };
    this.options.log.error(facts, "a state on disk is not served");
  }
}

/** The state as it is now: the objects are never changed in place, so that lists of them stay true while it goes on. */
export function rowsOf(state: DesiredState, pastRoutes: NonNullable<StateRows["pastRoutes"]>): StateRows {
  const endpoints: StateRows["endpoints"][number][] = [];
  for (const ofCluster of state.endpoints.values()) for (const endpoint of ofCluster.values()) endpoints.push(endpoint);
  return {
    revision: state.revision,
    id: state.id,
    clusters: [...state.clusters.values()],
    endpoints,
    listeners: [...state.listeners.values()],
    routes: [...state.routes.values()],
    overlays: [...state.overlays.values()],
    nodeDrains: [...state.nodeDrains].map(([node, phase]) => ({ node, phase })),
    pastRoutes,
  };
}
