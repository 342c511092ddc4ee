// The loop that brings drains to their end, on every replica: looks at what is open, and takes the steps that are due. Which replica
// takes one does not matter; the database lets one. In: the store. Out: steps, log lines, metrics. Called by app.ts; woken by the API,
// and by the feed when there is one.
import type { DrainRecord, Store } from "../store/store.js";
import { failureFacts, type Logger } from "../telemetry/logger.js";
import { LookLoop } from "../telemetry/look-loop.js";
import type { Metrics } from "../telemetry/metrics.js";
import { isReported, nextStep, tally } from "./next-step.js";
import { takeStep } from "./take-step.js";

/** While drains are open; half of what a drain may be late. In ms. */
const busyPollMs = 500;
/** Drains read at once: a fleet of thousands has as many rows for each, and a step has little time. */
const batchSize = 20;
/** While none is: the feed tells whether to look. In ms. */
const idlePollMs = 1_000;

export interface DrainJobsOptions {
  readonly store: Pick<Store, "drains" | "work">;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** One per replica. */
export class DrainJobs {
  readonly #loop: LookLoop;
  #isBusy = false;

  constructor(private readonly options: DrainJobsOptions) {
    const work = options.store.work.of("drains", () => this.#isBusy);
    this.#loop = new LookLoop({ what: "drains", look: () => this.#look(), work, retryMs: idlePollMs, log: options.log });
  }

  start(): void {
    this.#loop.start();
  }

  /** Something may have changed: look now. */
  wake(): void {
    this.#loop.wake();
  }

  /** Waits for the step under way. */
  stop(): Promise<void> {
    return this.#loop.stop();
  }

  /** Returns when to look again. */
  async #look(): Promise<number> {
    const { store } = this.options;
    const open = await store.drains.open();
    const seen: Seen[] = [];
    for (let at = 0; at < open.length && this.#loop.isRunning; at += batchSize) {
      for (const drain of await store.drains.read(open.slice(at, at + batchSize))) {
        seen.push(seenOf(drain));
        await this.#advance(drain);
      }
    }
    this.#measure(seen);
    this.#isBusy = open.length > 0;
    return open.length > 0 ? busyPollMs : idlePollMs;
  }

  /** A step that fails does not keep the others. */
  async #advance(drain: DrainRecord): Promise<void> {
    const due = nextStep(drain);
    if (due.kind === "wait" || !this.#loop.isRunning) return;
    const { log, metrics, store } = this.options;
    try {
      const taken = await takeStep(store, drain.id, due);
      if (!taken) return;
      const { step } = taken;
      if (taken.drain.afterwards === "restore") log.debug({ drain: drain.id, ...step }, "a step of a rebalance");
      else if (step.kind === "close")
        log.info({ drain: drain.id, ...step }, "a drain's deadline has passed: closing what is left");
      else {
        const { safeToStop, leftOpen, outcome } = step;
        log.info({ drain: drain.id, safeToStop, leftOpen, outcome, by: drain.by.author }, "a drain has ended");
        metrics.count("drains_ended_total", { safe: String(safeToStop) });
        metrics.count("drain_left_open_total", {}, leftOpen);
        metrics.observe("drain_seconds", { safe: String(safeToStop) }, taken.drain.ageMs / 1_000);
      }
    } catch (error) {
      log.warn({ ...failureFacts(error), drain: drain.id }, "a step of a drain failed; it is tried again");
    }
  }

  #measure(seen: readonly Seen[]): void {
    const { metrics } = this.options;
    for (const state of ["draining", "closing"] as const)
      metrics.set("drains_open", { state }, seen.filter((drain) => drain.state === state).length);
    metrics.set(
      "drain_in_flight",
      {},
      seen.reduce((sum, { inFlight }) => sum + inFlight, 0),
    );
  }
}

interface Seen {
  readonly state: DrainRecord["state"];
  readonly inFlight: number;
}

function seenOf(drain: DrainRecord): Seen {
  const { inFlight, unattributed } = tally(drain.nodes, isReported(drain));
  return { state: drain.state, inFlight: inFlight + unattributed };
}
