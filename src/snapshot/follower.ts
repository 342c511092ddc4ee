// Follows the revisions: the poll is the truth, a notice only makes it sooner. One loop, one read at a time.
// In: Store. Out: Snapshots, loaded first and brought up to date after. Called by app.ts.
import { DesiredState } from "../model/desired-state.js";
import type { Revision } from "../model/revision.js";
import type { Store } from "../store/store.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import { Snapshots } from "./snapshots.js";

export interface FollowerOptions {
  readonly store: Store;
  /** Mean time between polls, ms; each wait is 75–125 % of it, so that replicas do not ask in step. */
  readonly pollMs: number;
  readonly removalGraceMs: number;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly now?: () => number;
}

export interface Follower {
  readonly snapshots: Snapshots;
  /** Resolves after the first full load; until then nothing may be served (DESIGN §8: load, then listen). */
  start(signal: AbortSignal): Promise<void>;
  /** Whether the last read of the database succeeded. */
  isConnected(): boolean;
  close(): Promise<void>;
}

/** Revisions read in one go; a replica further behind asks again at once. */
const maxRevisionsPerRead = 200;
/** Streams that open within this time share one read of the head. */
const freshnessShareMs = 50;
/** Waits after a failed read grow up to this. */
const maxRetryMs = 5_000;

export function createFollower(options: FollowerOptions): Follower {
  return new RevisionFollower(options);
}

class RevisionFollower implements Follower {
  readonly snapshots: Snapshots;
  readonly #abort = new AbortController();
  #loop: Promise<void> = Promise.resolve();
  #nudged = false;
  #wake: (() => void) | undefined;
  #connected = false;
  #failures = 0;
  #removalTimer: NodeJS.Timeout | undefined;
  #head: { startsAt: number; read: Promise<Revision | undefined> } | undefined;
  readonly #waiting = new Set<{ revision: Revision; resolve: () => void }>();
  readonly #now: () => number;

  constructor(private readonly options: FollowerOptions) {
    this.#now = options.now ?? Date.now;
    this.snapshots = new Snapshots({
      removalGraceMs: options.removalGraceMs,
      now: this.#now,
      onFault: ({ type, name, error }) =>
        options.log.error(
          { type, name, err: error, revision: this.snapshots.revision },
          "can't be translated; the last good form stays",
        ),
    });
    this.snapshots.setFreshness(() => this.#whenFresh());
  }

  async start(signal: AbortSignal): Promise<void> {
    signal.addEventListener("abort", () => this.#abort.abort(), { once: true });
    while (!(await this.#tryRead(() => this.#load()))) {
      await this.#pause(this.#retryMs());
      if (this.#abort.signal.aborted) throw this.#abort.signal.reason;
    }
    const stopHints = this.options.store.onRevisionHint(() => this.#nudge());
    this.#abort.signal.addEventListener("abort", stopHints, { once: true });
    this.#loop = this.#follow();
  }

  isConnected(): boolean {
    return this.#connected;
  }

  async close(): Promise<void> {
    this.#abort.abort();
    this.#wake?.();
    clearTimeout(this.#removalTimer);
    await this.#loop;
  }

  async #follow(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      let more = false;
      const read = await this.#tryRead(async () => {
        more = await this.#readNext();
      });
      if (!more) await this.#pause(read ? this.options.pollMs * (0.75 + Math.random() / 2) : this.#retryMs());
    }
  }

  async #load(): Promise<void> {
    const started = performance.now();
    const rows = await this.options.store.loadState();
    this.snapshots.load(DesiredState.from(rows));
    this.#published();
    this.options.log.info(
      {
        revision: rows.revision,
        clusters: rows.clusters.length,
        routes: rows.routes.length,
        ms: Math.round(performance.now() - started),
      },
      "state loaded",
    );
  }

  /** True when more is waiting. */
  async #readNext(): Promise<boolean> {
    const state = this.snapshots.state;
    if (!state) return false;
    const next = await this.options.store.readAfter({ revision: state.revision, id: state.id }, maxRevisionsPerRead);
    if (next.kind === "other-history") {
      this.options.log.error(
        { revision: state.revision, id: state.id },
        "the database has another history than this replica: everything is read again",
      );
      await this.#load();
      return false;
    }
    if (next.revisions.length === 0) return false;
    this.snapshots.apply(next.revisions);
    this.#published();
    this.options.log.debug({ revision: this.snapshots.revision, revisions: next.revisions.length }, "revisions loaded");
    return this.snapshots.revision < next.head;
  }

  #published(): void {
    for (const waiting of this.#waiting) {
      if (waiting.revision > this.snapshots.revision) continue;
      this.#waiting.delete(waiting);
      waiting.resolve();
    }
    this.#scheduleRemoval();
  }

  #scheduleRemoval(): void {
    clearTimeout(this.#removalTimer);
    if (this.#abort.signal.aborted) return;
    const next = this.snapshots.removeRetired();
    if (next !== undefined) this.#removalTimer = setTimeout(() => this.#scheduleRemoval(), Math.max(1, next - this.#now()));
  }

  // ---- Freshness: never older after newer ----------------------------------------------------------------------------

  async #whenFresh(): Promise<boolean> {
    const head = await this.#sharedHead();
    if (head === undefined) return false;
    if (this.snapshots.revision >= head) return true;
    this.#nudge();
    await new Promise<void>((resolve) => {
      const waiting = { revision: head, resolve };
      this.#waiting.add(waiting);
      // With the database gone in between, the stream is served what there is after a while rather than never.
      const giveUp = setTimeout(() => this.#waiting.delete(waiting) && resolve(), maxRetryMs);
      giveUp.unref();
    });
    return this.snapshots.revision >= head;
  }

  /** A read that begins after the caller opened: one that is already under way may have seen an older head. */
  #sharedHead(): Promise<Revision | undefined> {
    const now = this.#now();
    if (this.#head && this.#head.startsAt > now) return this.#head.read;
    const startsAt = Math.max(now, (this.#head?.startsAt ?? 0) + freshnessShareMs);
    const read = (
      startsAt > now ? new Promise<void>((resolve) => setTimeout(resolve, startsAt - now).unref()) : Promise.resolve()
    )
      .then(() => this.options.store.head())
      .then(
        (head) => head.revision,
        (error: unknown) => {
          this.options.log.warn({ err: error }, "can't ask the database for its newest revision");
          return undefined;
        },
      );
    this.#head = { startsAt, read };
    return read;
  }

  // ---- Waiting -------------------------------------------------------------------------------------------------------

  async #tryRead(read: () => Promise<void>): Promise<boolean> {
    try {
      await read();
      if (!this.#connected && this.#failures > 0)
        this.options.log.info({ revision: this.snapshots.revision }, "the database answers again");
      this.#connected = true;
      this.#failures = 0;
      return true;
    } catch (error) {
      if (this.#failures === 0)
        this.options.log.error({ err: error }, "can't read from the database; Envoys keep what they have");
      this.#connected = false;
      this.#failures += 1;
      return false;
    }
  }

  #retryMs(): number {
    return Math.random() * Math.min(maxRetryMs, 100 * 2 ** Math.min(this.#failures, 10)) + 50;
  }

  #nudge(): void {
    this.#nudged = true;
    this.#wake?.();
  }

  async #pause(ms: number): Promise<void> {
    if (!this.#nudged && !this.#abort.signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#wake = undefined;
    this.#nudged = false;
  }
}
