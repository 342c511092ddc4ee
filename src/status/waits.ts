// Callers who wait until every Envoy has a revision, on whichever replica it is connected. This replica's Envoys are read from
// memory; the others' rows are read each 100 ms, and at a hint. One loop for all callers, and none while nobody waits.
// In: Tracker (own), StatusStore (others). Out: Sync. Owned by: fleet.ts.
import { AppError } from "../errors.js";
import type { GatewaySync } from "../model/node.js";
import type { Revision } from "../model/revision.js";
import type { StatusStore } from "../store/status-store.js";
import { backOffMs, type Clock } from "../telemetry/clock.js";
import { failureFacts, type Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import { mergeSync, type Sync } from "./sync.js";
import { revisionsBeforeLoad, type Tracker } from "./tracker.js";

/** Where a wait looks, and how many there may be. */
export interface WaitsOptions {
  readonly replica: string;
  readonly store: StatusStore;
  readonly tracker: Tracker;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Callers that may wait at once; one more is `too_many_requests`. */
  readonly maxWaits: number;
}

/** Time between two reads of the other replicas' rows. */
const pollMs = 100;
/** Hints come in bursts, one per replica that flushes; reads are this far apart at least. */
const minPollMs = 5;
const maxRetryMs = 1_000;

/** What the other replicas said when they were last asked. */
interface Remote {
  /** When the question was sent; only an answer to a question asked after a caller came counts for it. */
  readonly askedAt: number;
  readonly behind: readonly string[];
  readonly rows: readonly (readonly [string, GatewaySync])[];
  /** Some replica said nothing: it has no Envoy that the revision concerns, or it does not follow the revision any more. */
  readonly isSilent: boolean;
}

interface Wait {
  readonly revision: Revision;
  /** How many of each gateway's Envoys are enough. */
  readonly quorumPercent: number;
  readonly from: number;
  readonly resolve: (sync: Sync) => void;
}

/** All callers of this replica who wait for Envoys. */
export class Waits {
  readonly #open = new Set<Wait>();
  /** revision → the other replicas' answer. */
  readonly #remote = new Map<Revision, Remote>();
  /** Counts questions: times could be equal. */
  #question = 0;
  #stopPoll: (() => void) | undefined;
  #pollAt = Number.POSITIVE_INFINITY;
  #polling = false;
  #hinted = false;
  #lastPollAt = Number.NEGATIVE_INFINITY;
  #stopCheck: (() => void) | undefined;
  #failures = 0;
  #closed = false;

  constructor(private readonly options: WaitsOptions) {}

  get count(): number {
    return this.#open.size;
  }

  /**
   * Resolves when every Envoy counted has the revision (or the quorum of them), when one refused something of it (or so many that the
   * quorum can't come about), or with what there is when the time is
   * over, the caller goes (`signal`) or the process stops.
   * @throws too_many_requests
   */
  wait(revision: Revision, timeoutMs: number, signal: AbortSignal | undefined, quorumPercent = 100): Promise<Sync> {
    const { clock, maxWaits, metrics } = this.options;
    if (this.#open.size >= maxWaits) {
      metrics.count("limit_hits_total", { limit: "api_max_waits" });
      throw new AppError("too_many_requests", { limit: "waits", maximum: maxWaits });
    }
    const startedAt = clock.now();
    return new Promise<Sync>((resolve) => {
      const finish = (sync: Sync): void => {
        if (!this.#open.delete(wait)) return;
        stopTimeout();
        signal?.removeEventListener("abort", giveUp);
        if (this.#open.size === 0) this.#rest();
        metrics.count("sync_waits_total", { state: sync.state });
        metrics.observe("sync_wait_seconds", { state: sync.state }, Math.max(0, clock.now() - startedAt) / 1000);
        resolve(sync);
      };
      const wait: Wait = { revision, quorumPercent, from: this.#question, resolve: finish };
      const giveUp = (): void => finish(this.#view(wait));
      const stopTimeout = clock.after(timeoutMs, giveUp);
      this.#open.add(wait);
      if (this.#closed || signal?.aborted) return giveUp();
      signal?.addEventListener("abort", giveUp, { once: true });
      this.#check();
      this.#poll(clock.now());
    });
  }

  /**
   * How far the revision is now, on all replicas: one look, without a wait. What can't be known of the others is not claimed: with the
   * database away, or of a revision that is so old that a replica which says nothing may have forgotten it.
   */
  async look(revision: Revision): Promise<Sync> {
    const { log, replica, store, tracker } = this.options;
    const remote = await otherReplicas(store, replica)
      .then((others) => askOthers(store, replica, others, revision))
      .catch((error: unknown) => {
        log.warn({ err: error, revision }, "what Envoys on other replicas have can't be read");
        return undefined;
      });
    const mayBeForgotten = remote?.isSilent === true && tracker.published - revision >= revisionsBeforeLoad;
    const others = {
      known: remote !== undefined && !mayBeForgotten,
      behind: [...(tracker.published < revision ? [replica] : []), ...(remote?.behind ?? [])],
    };
    return mergeSync(revision, [...tracker.sync(revision), ...(remote?.rows ?? [])], others);
  }

  /** Something changed on this replica. Cheap: many changes in one turn are looked at once. */
  changed(): void {
    if (this.#open.size === 0) return;
    this.#stopCheck ??= this.options.clock.after(0, () => {
      this.#stopCheck = undefined;
      this.#check();
    });
  }

  /** Another replica has written. */
  hinted(): void {
    if (this.#open.size === 0) return;
    if (this.#polling) this.#hinted = true;
    else this.#poll(Math.max(this.options.clock.now(), this.#lastPollAt + minPollMs));
  }

  close(): void {
    this.#closed = true;
    for (const wait of this.#open) wait.resolve(this.#view(wait));
    this.#rest();
  }

  #rest(): void {
    this.#stopPoll?.();
    this.#stopPoll = undefined;
    this.#pollAt = Number.POSITIVE_INFINITY;
    this.#stopCheck?.();
    this.#stopCheck = undefined;
    this.#remote.clear();
  }

  // ---- Judging -------------------------------------------------------------------------------------------------------

  #view({ revision, quorumPercent, from }: Wait): Sync {
    const { replica, tracker } = this.options;
    const remote = this.#remote.get(revision);
    const known = remote !== undefined && remote.askedAt > from;
    const behind = [...(tracker.published < revision ? [replica] : []), ...(known ? remote.behind : [])];
    return mergeSync(revision, [...tracker.sync(revision), ...(remote?.rows ?? [])], { known, behind }, quorumPercent);
  }

  #check(): void {
    for (const wait of this.#open) {
      const sync = this.#view(wait);
      if (sync.state !== "pending") wait.resolve(sync);
    }
  }

  // ---- Asking the others ---------------------------------------------------------------------------------------------

  #poll(at: number): void {
    if (this.#polling || at >= this.#pollAt) return;
    this.#stopPoll?.();
    this.#pollAt = at;
    this.#stopPoll = this.options.clock.after(Math.max(0, at - this.options.clock.now()), () => {
      this.#stopPoll = undefined;
      this.#pollAt = Number.POSITIVE_INFINITY;
      void this.#ask();
    });
  }

  async #ask(): Promise<void> {
    const { clock, log } = this.options;
    this.#polling = true;
    this.#hinted = false;
    this.#lastPollAt = clock.now();
    try {
      await this.#readOthers();
      this.#failures = 0;
    } catch (error) {
      if (this.#failures === 0) log.warn(failureFacts(error), "what Envoys on other replicas have can't be read; waits go on");
      this.#failures += 1;
    }
    this.#polling = false;
    this.#check();
    if (this.#open.size === 0) return this.#rest();
    const pause = this.#failures > 0 ? pollMs + backOffMs(this.#failures, pollMs, maxRetryMs) : this.#hinted ? minPollMs : pollMs;
    this.#poll(clock.now() + pause);
  }

  async #readOthers(): Promise<void> {
    const { replica, store } = this.options;
    const awaited = new Set([...this.#open].map((wait) => wait.revision));
    this.#question += 1;
    const askedAt = this.#question;
    const others = await otherReplicas(store, replica);
    for (const revision of awaited)
      this.#remote.set(revision, { askedAt, ...(await askOthers(store, replica, others, revision)) });
    for (const revision of this.#remote.keys()) if (!awaited.has(revision)) this.#remote.delete(revision);
  }
}

type Replicas = Awaited<ReturnType<StatusStore["liveReplicas"]>>;

async function otherReplicas(store: StatusStore, replica: string): Promise<Replicas> {
  return (await store.liveReplicas()).filter(({ id }) => id !== replica);
}

/** To be asked after `others` were read: a replica that is seen to have loaded a revision has written its rows before (flusher.ts). */
async function askOthers(
  store: StatusStore,
  replica: string,
  others: Replicas,
  revision: Revision,
): Promise<Omit<Remote, "askedAt">> {
  const behind = others.filter((other) => other.revision < revision).map(({ id }) => id);
  const rows = others.length > 0 ? (await store.readSync(revision)).filter((row) => row.replica !== replica) : [];
  const isSilent = others.some(({ id }) => !rows.some((row) => row.replica === id));
  return { behind, rows: rows.map(({ gateway, sync }) => [gateway, sync] as const), isSilent };
}
