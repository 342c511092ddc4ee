// Prunes the history in the background: small steps, with pauses longer than the steps, on every replica; who comes first does a step.
// In: one step (retention.ts). Out: metrics, and a log line for what went. Called by store.ts.
import { setTimeout as sleep } from "node:timers/promises";
import { reasonOf } from "../errors.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import type { PruneStep } from "./retention.js";

/** Between two looks when there is nothing to prune: 75–125 % of it. */
const idleMs = 10 * 60_000;
/** The first look comes within this: what piled up while all were down is not left for long. */
const firstLookMs = 5_000;
/** A pause is so many times as long as the step before it: the writers' share of the database stays theirs. */
const pausePerStep = 4;
const minPauseMs = 20;

/** What the pruner needs. */
export interface HistoryPrunerOptions {
  readonly step: () => Promise<PruneStep>;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Default: 10 min. */
  readonly idleMs?: number;
}

/** Runs until it is closed. The first look comes soon after the start. */
export class HistoryPruner {
  readonly #abort = new AbortController();
  readonly #loop: Promise<void>;
  /** What the log was told last of why nothing is pruned; "" while nothing is wrong. */
  #trouble = "";

  constructor(private readonly options: HistoryPrunerOptions) {
    this.#loop = this.#run();
  }

  /** Resolves when the step under way has ended. */
  async close(): Promise<void> {
    this.#abort.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const idle = this.options.idleMs ?? idleMs;
    let pauseMs = Math.random() * Math.min(idle, firstLookMs);
    let pruned = 0;
    while (await this.#pause(pauseMs)) {
      const startedAt = performance.now();
      const step = await this.#step();
      pruned += step?.pruned ?? 0;
      const isMore = step?.isMore === true;
      if (!isMore && pruned > 0) this.options.log.info({ pruned, upTo: step?.cut }, "the history was pruned");
      if (!isMore) pruned = 0;
      const stepMs = performance.now() - startedAt;
      pauseMs = isMore ? Math.max(minPauseMs, stepMs * pausePerStep) : idle * (0.75 + Math.random() / 2);
    }
  }

  async #step(): Promise<PruneStep | undefined> {
    const { log, metrics } = this.options;
    try {
      const step = await this.options.step();
      metrics.count("history_pruned_total", {}, step.pruned);
      metrics.set("history_cut_revision", {}, step.cut);
      metrics.set("history_broken", {}, step.break ? 1 : 0);
      if (step.break)
        this.#tell(step.break.detail, () =>
          log.error({ ...step.break }, "the history is not what was written, and is not pruned"),
        );
      else this.#trouble = "";
      return step;
    } catch (error) {
      this.#tell(reasonOf(error), () =>
        log.warn({ reason: reasonOf(error) }, "the history could not be pruned; it is tried again"),
      );
      return undefined;
    }
  }

  #tell(trouble: string, log: () => void): void {
    if (trouble !== this.#trouble) log();
    this.#trouble = trouble;
  }

  /** False: it is closed. */
  async #pause(ms: number): Promise<boolean> {
    await sleep(ms, undefined, { signal: this.#abort.signal, ref: false }).catch(() => {});
    return !this.#abort.signal.aborted;
  }
}
