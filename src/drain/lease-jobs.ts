// The loop that ends leases, on every replica: drains endpoints whose lease is over, as far as the guard lets them go, and puts back
// those that were renewed meanwhile. In: the store. Out: drains, log lines, metrics. Called by app.ts. Its timer only says when to look:
// what is over says the database's clock, and while nobody looks, nothing is.
import { randomBytes } from "node:crypto";
import { addressKey } from "../model/endpoint.js";
import { chooseEnding } from "../model/lease-guard.js";
import type { Author } from "../model/revision.js";
import type { Store, WriteTx } from "../store/store.js";
import { failureFacts, type Logger } from "../telemetry/logger.js";
import { LookLoop } from "../telemetry/look-loop.js";
import type { Metrics } from "../telemetry/metrics.js";
import { cancel } from "./take-step.js";

/** Well below the gap that is noted (leaseGraceMs). In ms. */
const pollMs = 400;
/** Drains that one look begins in one cluster: they are to fit into the short transactions of jobs. */
const maxAtOnce = 50;

export interface LeaseJobsOptions {
  readonly store: Pick<Store, "leases" | "work">;
  /** Begins an ordinary drain of one endpoint, within the transaction. */
  readonly startDrain: (tx: WriteTx, drain: StartedByLease) => Promise<void>;
  /** A drain has begun or was cancelled. */
  readonly onDrain: () => void;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** What is drained, and by whom. */
export interface StartedByLease {
  readonly id: string;
  readonly cluster: string;
  /** Address key. */
  readonly endpoint: string;
  readonly by: Author;
}

/** One per replica. */
export class LeaseJobs {
  readonly #loop: LookLoop;
  /** Some are held: the next look must see that they no longer are. */
  #isBusy = false;

  constructor(private readonly options: LeaseJobsOptions) {
    const work = options.store.work.of("leases", () => this.#isBusy);
    this.#loop = new LookLoop({ what: "leases", look: () => this.#look(), work, retryMs: pollMs, log: options.log });
  }

  start(): void {
    this.#loop.start();
  }

  /** Waits for the step under way. */
  stop(): Promise<void> {
    return this.#loop.stop();
  }

  async #look(): Promise<number> {
    const { metrics, store } = this.options;
    const { over, renewed, held } = await store.leases.look();
    metrics.set("endpoint_leases_held", {}, held);
    this.#isBusy = held > 0;
    for (const one of renewed) await this.#step({ endpoint: one.name }, () => this.#putBack(one));
    for (const cluster of over) await this.#step({ cluster }, () => this.#end(cluster));
    return pollMs;
  }

  /** A step that fails does not keep the others. */
  async #step(facts: object, take: () => Promise<void>): Promise<void> {
    if (!this.#loop.isRunning) return;
    try {
      await take();
    } catch (error) {
      this.options.log.warn({ ...failureFacts(error), ...facts }, "a step of leases failed; it is tried again");
    }
  }

  async #end(cluster: string): Promise<void> {
    const { log, metrics, onDrain, startDrain, store } = this.options;
    const reason = "the lease was not renewed in time";
    const { value } = await store.leases.write(reason, async (tx) => {
      if (!(await tx.get("cluster", cluster))) return undefined;
      const over = await tx.leases.claimOver(cluster);
      const endpoints = (await tx.endpointsOf(cluster)).map(({ object }) => object);
      const { go, stay, because } = chooseEnding(endpoints, over, await tx.leases.ended(cluster));
      const begun = go.slice(0, maxAtOnce);
      for (const name of begun) {
        const id = randomBytes(8).toString("hex");
        const endpoint = name.slice(cluster.length + 1);
        await startDrain(tx, { id, cluster, endpoint, by: { author: "lease", requestId: id, reason } });
        await tx.leases.end(cluster, name, id);
      }
      return { begun, held: because === undefined ? 0 : await tx.leases.hold(stay, because), because };
    });
    if (!value) return;
    if (value.begun.length > 0) {
      metrics.count("endpoint_leases_ended_total", {}, value.begun.length);
      log.warn({ cluster, endpoints: value.begun.slice(0, 10), count: value.begun.length }, "leases are over: draining");
      onDrain();
    }
    if (value.held > 0)
      log.warn({ cluster, count: value.held, because: value.because }, "leases are over, but the endpoints stay");
  }

  async #putBack({ name, cluster, drain: id }: { readonly name: string; readonly cluster: string; readonly drain: string }) {
    const { log, onDrain, store } = this.options;
    const { value: isBack } = await store.leases.write(
      "the lease was renewed during the drain",
      async (tx) => {
        const drain = await tx.drains.hold(id); // A drain's row is locked before clusters and endpoints.
        if (!(await tx.get("cluster", cluster))) return false;
        const endpoint = await tx.get("endpoint", name);
        if (!endpoint || (await tx.leases.claimRenewed(name)) !== id) return false;
        await tx.leases.goOn(cluster, name);
        return drain !== undefined && (await cancel(tx, drain, `the lease of ${addressKey(endpoint.object)} was renewed`));
      },
      id,
    );
    if (!isBack) return;
    log.info({ endpoint: name, drain: id }, "a lease was renewed during its drain: the endpoint is back");
    onDrain();
  }
}
