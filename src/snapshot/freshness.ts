// Never older after newer: whether what this replica serves is as new as what the database had when a stream opened.
// In: the database's newest revision, one read for all streams that open at once, and what is served. Out: a promise for each stream.
// Called by follower.ts, which says what it has published.
import type { Revision } from "../model/revision.js";
import type { RevisionMark } from "../store/store.js";
import { failureFacts, type Logger } from "../telemetry/logger.js";

export interface FreshnessOptions {
  /** Asks the database for its newest revision. */
  readonly head: () => Promise<RevisionMark>;
  /** What is served now. */
  readonly own: () => RevisionMark;
  /** Whether a stream waits for the database's answer for a bounded time only: something is served without it. */
  readonly isWaitBounded: () => boolean;
  /** Whether the feed can read. While it can't, that has been told, and every stream that opens would tell it again. */
  readonly isConnected: () => boolean;
  /** The database has more than is served: it is to be read now. */
  readonly onBehind: (head: Revision) => void;
  readonly log: Logger;
  readonly now: () => number;
}

/** Where the wait is bounded: so long. */
const maxAnswerMs = 1_000;
/** Streams that open within this time share one read of the head. */
const shareMs = 50;
/** With the database gone between its answer and the load, a stream is told that nobody knows after this, rather than never. */
const maxLoadMs = 5_000;

/** What the database had, held against what was served as the read began. */
interface Head {
  readonly revision: Revision;
  /** What was served is of another history: no number of it says anything, until everything was read again. */
  readonly isOfOtherHistory: boolean;
  readonly loads: number;
}

export class Freshness {
  #head: { readonly startsAt: number; readonly read: Promise<Head | undefined> } | undefined;
  readonly #waiting = new Set<{ readonly isMet: () => boolean; readonly resolve: () => void }>();
  /** Full loads so far. */
  #loads = 0;

  constructor(private readonly options: FreshnessOptions) {}

  /** Everything was read again, and is about to be published. */
  loaded(): void {
    this.#loads += 1;
  }

  /** What is served has changed. */
  published(): void {
    for (const waiting of this.#waiting) {
      if (!waiting.isMet()) continue;
      this.#waiting.delete(waiting);
      waiting.resolve();
    }
  }

  /** True: what is served is at least what the database had after this call. False: nobody can tell. */
  async whenFresh(): Promise<boolean> {
    const read = this.#sharedHead();
    const head = await (this.options.isWaitBounded() ? within(maxAnswerMs, read) : read);
    if (head === undefined) return false;
    // A state of the history before, and not its newest, must not go out to an Envoy that had a newer one of it from another replica.
    const isMet = (): boolean =>
      this.options.own().revision >= head.revision && (!head.isOfOtherHistory || this.#loads > head.loads);
    if (isMet()) return true;
    this.options.onBehind(head.revision);
    await new Promise<void>((resolve) => {
      const waiting = { isMet, resolve };
      this.#waiting.add(waiting);
      const giveUp = setTimeout(() => this.#waiting.delete(waiting) && resolve(), maxLoadMs);
      giveUp.unref();
    });
    return isMet();
  }

  /** A read that begins after the caller opened: one that is already under way may have seen an older head. */
  #sharedHead(): Promise<Head | undefined> {
    const now = this.options.now();
    if (this.#head && this.#head.startsAt > now) return this.#head.read;
    const startsAt = Math.max(now, (this.#head?.startsAt ?? 0) + shareMs);
    const begin =
      startsAt > now ? new Promise<void>((resolve) => setTimeout(resolve, startsAt - now).unref()) : Promise.resolve();
    const read = begin
      .then(() => this.#readHead())
      .catch((error: unknown) => {
        const level = this.options.isConnected() ? "warn" : "debug";
        this.options.log[level](failureFacts(error), "can't ask the database for its newest revision");
        return undefined;
      });
    this.#head = { startsAt, read };
    return read;
  }

  async #readHead(): Promise<Head> {
    const loads = this.#loads;
    const own = this.options.own();
    const { revision, id } = await this.options.head();
    const isOfOtherHistory = revision < own.revision || (revision === own.revision && id !== own.id);
    return { revision, isOfOtherHistory, loads };
  }
}

/** What the promise brings within so many ms; undefined: it has not by then. */
export function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms, undefined);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
