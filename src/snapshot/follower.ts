// Follows the revisions: the poll is the truth, a notice only makes it sooner. One loop, one read at a time.
// In: Store. Out: Snapshots, loaded first and brought up to date after. Called by app.ts.
import { AppError, reasonOf } from "../errors.js";
import { DesiredState } from "../model/desired-state.js";
import { resourceTypes } from "../model/resource-type.js";
import type { CommittedRevision, Revision } from "../model/revision.js";
import { type KeptState, type RevisionMark, StateMismatch, type Store } from "../store/store.js";
import { failureFacts, type Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import { Freshness, within } from "./freshness.js";
import { contradicts, KnownHistory, type OtherHistory } from "./known-history.js";
import { Snapshots } from "./snapshots.js";

export interface FollowerOptions {
  readonly store: Pick<Store, "head" | "keptOf" | "loadState" | "onCommitted" | "onRevisionHint" | "readAfter">;
  /** Mean time between polls, ms; each wait is 75–125 % of it, so that replicas do not ask in step. */
  readonly pollMs: number;
  readonly removalGraceMs: number;
  /** Told of each revision before it is published, and (undefined) of each full load. Must not throw. */
  readonly onRevision?: ((committed: CommittedRevision | undefined) => void) | undefined;
  /** What was kept on disk, for a start without the database; left out: nothing is. */
  readonly readKept?: (() => Promise<KeptState | undefined>) | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly now?: () => number;
}

export interface Follower {
  readonly snapshots: Snapshots;
  /**
   * Resolves after the first full load, or with what was kept on disk; until then nothing may be served (DESIGN §8: load, then listen).
   * @throws schema_too_new, when that is the first that the database tells
   */
  start(signal: AbortSignal): Promise<void>;
  /** Whether the last read of the database succeeded. */
  isConnected(): boolean;
  /** Set while what was kept on disk is served, because the database has not answered since the start. */
  readonly lastKnownGood: LastKnownGood | undefined;
  /** Set once the database turned out to hold another history: the last time that it did. */
  readonly otherHistory: OtherHistory | undefined;
  close(): Promise<void>;
}

/** What was kept on disk and is served. */
export interface LastKnownGood {
  readonly revision: Revision;
  /** ms since 1970: the database was there then. */
  readonly writtenAt: number;
}

/** With a state on disk, the database gets this long for the first load; then that state is served. */
const firstLoadMs = 2_000;
/** Revisions read in one go; a replica further behind asks again at once. */
const maxRevisionsPerRead = 200;
/** Waits after a failed read grow up to this: what a replica may be late after the database is back. */
const maxRetryMs = 2_000;

/** What made the feed be read; values of a metric's label. */
type PollCause = "timer" | "hint" | "stream" | "more";

export function createFollower(options: FollowerOptions): Follower {
  return new RevisionFollower(options);
}

class RevisionFollower implements Follower {
  readonly snapshots: Snapshots;
  readonly #abort = new AbortController();
  #loop: Promise<void> = Promise.resolve();
  /** Set while a read is wanted sooner than the timer says. */
  #nudgedBy: PollCause | undefined;
  #wake: (() => void) | undefined;
  #connected = false;
  #lastKnownGood: LastKnownGood | undefined;
  #otherHistory: OtherHistory | undefined;
  readonly #known = new KnownHistory();
  /** Id of the revision of which it was told that the database has another history. */
  #toldOf: string | undefined;
  #failures = 0;
  /** Set when the database's schema was too new at a look: a start ends then. */
  #tooNew: AppError | undefined;
  /** What the log was told last of why reading fails; "" while it does not. */
  #trouble = "";
  #removalTimer: NodeJS.Timeout | undefined;
  /** The newest revision that the database was seen to have. */
  #newest: Revision = 0;
  /** type → translations that the metric has. */
  readonly #counted = { cluster: 0, endpoint: 0, listener: 0, route: 0 };
  readonly #stopMeasuring: () => void;
  readonly #freshness: Freshness;
  readonly #now: () => number;

  constructor(private readonly options: FollowerOptions) {
    this.#now = options.now ?? Date.now;
    this.snapshots = new Snapshots({
      removalGraceMs: options.removalGraceMs,
      now: this.#now,
      onFault: ({ type, name, error }) => {
        options.metrics.count("snapshot_failures_total", { reason: "translate" });
        options.log.error(
          { type, name, err: error, revision: this.snapshots.revision },
          "can't be translated; the last good form stays",
        );
      },
      onBuilt: (cause, ms) => options.metrics.observe("snapshot_build_seconds", { cause }, ms / 1_000),
    });
    this.#freshness = new Freshness({
      head: () => options.store.head(),
      own: () => ({ revision: this.snapshots.revision, id: this.snapshots.state?.id ?? "" }),
      isWaitBounded: () => this.#lastKnownGood !== undefined,
      isConnected: () => this.#connected,
      onBehind: (head) => {
        this.#newest = head;
        this.#nudge("stream");
      },
      log: options.log,
      now: this.#now,
    });
    this.snapshots.setFreshness(() => this.#freshness.whenFresh());
    this.#stopMeasuring = options.metrics.beforeScrape(() => this.#measure());
  }

  async start(signal: AbortSignal): Promise<void> {
    signal.addEventListener("abort", () => this.#abort.abort(), { once: true });
    // Once what is on disk is served, the feed goes on from there, and it alone tells another history: a load that comes late is let go.
    const first = this.#tryRead(() => this.#load(() => this.#lastKnownGood === undefined));
    const { readKept } = this.options;
    if (readKept && !(await within(firstLoadMs, first)) && !this.#tooNew) this.#serve(await readKept());
    if (!this.snapshots.state) await first;
    while (!this.snapshots.state) {
      if (this.#tooNew) throw this.#tooNew;
      await this.#pause(this.#retryMs());
      if (this.#abort.signal.aborted) throw this.#abort.signal.reason;
      await this.#tryRead(() => this.#load());
    }
    const stopHints = this.options.store.onRevisionHint(() => this.#nudge("hint"));
    const stopMarks = this.options.store.onCommitted((mark) => this.#known.acknowledge(mark));
    for (const stop of [stopHints, stopMarks]) this.#abort.signal.addEventListener("abort", stop, { once: true });
    this.#loop = this.#follow();
  }

  get lastKnownGood(): LastKnownGood | undefined {
    return this.#lastKnownGood;
  }
  get otherHistory(): OtherHistory | undefined {
    return this.#otherHistory;
  }

  /** Takes what was kept on disk, unless the database was quicker. */
  #serve(kept: KeptState | undefined): void {
    if (!kept || this.snapshots.state) return;
    const { rows, writtenAt } = kept;
    this.#lastKnownGood = { revision: rows.revision, writtenAt };
    this.options.onRevision?.(undefined);
    this.#known.restart(rows, []);
    this.snapshots.load(DesiredState.from(rows), rows.pastRoutes);
    this.#published();
    const ageSeconds = Math.round((this.#now() - writtenAt) / 1_000);
    this.options.log.error(
      { revision: rows.revision, ageSeconds },
      "the database has not answered in time: the last known good state is served",
    );
  }

  /** The feed has answered, and there is no more: what is served is what the database has. */
  #goLive(): void {
    if (!this.#lastKnownGood) return;
    const from = this.#lastKnownGood.revision;
    this.#lastKnownGood = undefined;
    this.options.log.info({ from, revision: this.snapshots.revision }, "the database is back: its state is served again");
  }

  isConnected(): boolean {
    return this.#connected;
  }

  async close(): Promise<void> {
    this.#abort.abort();
    this.#wake?.();
    clearTimeout(this.#removalTimer);
    await this.#loop;
    this.#stopMeasuring();
  }

  async #follow(): Promise<void> {
    let cause: PollCause = "timer";
    while (!this.#abort.signal.aborted) {
      let more = false;
      this.options.metrics.count("feed_polls_total", { cause });
      const read = await this.#tryRead(async () => {
        more = await this.#readNext();
        if (!more) this.#goLive();
      });
      cause = more ? "more" : await this.#pause(read ? this.options.pollMs * (0.75 + Math.random() / 2) : this.#retryMs());
    }
  }

  async #load(isWanted: () => boolean = () => true): Promise<void> {
    const startedAt = performance.now();
    const { log, metrics, store } = this.options;
    const { acknowledged } = this.#known;
    const rows = await store.loadState().catch((error: unknown) => {
      metrics.count("snapshot_failures_total", { reason: error instanceof StateMismatch ? "count" : "load" });
      throw error;
    });
    if (!isWanted()) return;
    this.#newest = rows.revision;
    this.#freshness.loaded();
    this.#known.restart(rows, acknowledged);
    this.options.onRevision?.(undefined);
    this.snapshots.load(DesiredState.from(rows), rows.pastRoutes);
    this.#published();
    const ms = performance.now() - startedAt;
    metrics.observe("snapshot_load_seconds", {}, ms / 1_000);
    const { revision, clusters, endpoints, listeners, routes } = rows;
    const counts = {
      clusters: clusters.length,
      endpoints: endpoints.length,
      listeners: listeners.length,
      routes: routes.length,
    };
    log.info({ revision, ...counts, ms: Math.round(ms) }, "state loaded");
  }

  /** True when more is waiting. */
  async #readNext(): Promise<boolean> {
    const state = this.snapshots.state;
    if (!state) return false;
    const at = { revision: state.revision, id: state.id };
    const { acknowledged } = this.#known;
    const next = await this.options.store.readAfter(at, maxRevisionsPerRead);
    if (next.kind !== "next" || contradicts(next, acknowledged)) {
      if (next.kind === "pruned")
        this.options.log.warn(at, "what came after this replica's revision was pruned: everything is read again");
      else await this.#tellOtherHistory(at);
      await this.#load();
      return false;
    }
    this.#newest = next.head;
    if (next.revisions.length === 0) return false;
    for (const committed of next.revisions) {
      this.#known.add(committed);
      this.options.onRevision?.(committed);
    }
    this.snapshots.apply(next.revisions);
    this.#published();
    this.options.log.debug({ revision: this.snapshots.revision, revisions: next.revisions.length }, "revisions loaded");
    return this.snapshots.revision < next.head;
  }

  /** Once, though the load that follows may fail and be tried again. */
  async #tellOtherHistory(at: RevisionMark): Promise<void> {
    if (this.#toldOf === at.id) return;
    const other = this.#known.lostBut(await this.options.store.keptOf(this.#known.marks), this.#now());
    this.#toldOf = at.id;
    this.#otherHistory = other;
    this.options.metrics.count("feed_histories_total", {});
    this.options.metrics.count("feed_lost_revisions_total", {}, other.lost);
    const facts = { ...at, lostRevisions: other.lost, lostFrom: other.from, lostTo: other.to, lostIsWhole: other.isWhole };
    this.options.log.error(facts, "the database has another history than this replica: everything is read again");
  }

  #published(): void {
    this.#freshness.published();
    this.#scheduleRemoval();
  }

  #scheduleRemoval(): void {
    clearTimeout(this.#removalTimer);
    if (this.#abort.signal.aborted) return;
    const next = this.snapshots.removeRetired();
    if (next !== undefined) this.#removalTimer = setTimeout(() => this.#scheduleRemoval(), Math.max(1, next - this.#now()));
  }

  // ---- Waiting -------------------------------------------------------------------------------------------------------

  async #tryRead(read: () => Promise<void>): Promise<boolean> {
    try {
      await read();
      if (!this.#connected && this.#failures > 0)
        this.options.log.info({ revision: this.snapshots.revision, failures: this.#failures }, "the database answers again");
      this.#connected = true;
      this.#failures = 0;
      this.#trouble = "";
      return true;
    } catch (error) {
      // Told once, and again when it becomes another one: first no answer, then a schema that is too old.
      const trouble = reasonOf(error);
      if (trouble !== this.#trouble)
        this.options.log.error(
          failureFacts(error),
          this.snapshots.state
            ? "can't read from the database; Envoys keep what they have"
            : "can't load from the database; it is tried again, and no Envoy is served until it answers",
        );
      this.#trouble = trouble;
      this.#connected = false;
      this.#failures += 1;
      if (error instanceof AppError && error.code === "schema_too_new") this.#tooNew = error;
      return false;
    }
  }

  #retryMs(): number {
    return Math.random() * Math.min(maxRetryMs, 100 * 2 ** Math.min(this.#failures, 10)) + 50;
  }

  #nudge(cause: PollCause): void {
    this.#nudgedBy ??= cause;
    this.#wake?.();
  }

  /** Returns why it ended. */
  async #pause(ms: number): Promise<PollCause> {
    if (!this.#nudgedBy && !this.#abort.signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const cause = this.#nudgedBy ?? "timer";
    this.#wake = undefined;
    this.#nudgedBy = undefined;
    return cause;
  }

  // ---- Metrics -------------------------------------------------------------------------------------------------------

  #measure(): void {
    const { metrics } = this.options;
    const { count, revision, translations } = this.snapshots;
    metrics.set("snapshot_revision", {}, revision);
    metrics.set("snapshot_gateways", {}, count);
    metrics.set("revision_lag", {}, Math.max(0, this.#newest - revision));
    metrics.set("serving_last_known_good", {}, this.#lastKnownGood ? 1 : 0);
    metrics.set("feed_connected", {}, this.#connected ? 1 : 0);
    for (const type of resourceTypes) {
      metrics.count("snapshot_translations_total", { type }, translations[type] - this.#counted[type]);
      this.#counted[type] = translations[type];
    }
  }
}
