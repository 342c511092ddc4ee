// The loop that brings rebalances to their end, on every replica: writes down what this replica's Envoys have open, and takes the steps
// that are due. Which replica takes one does not matter; the database lets one. In: the store, the load reports of this replica. Out:
// counts, drains, log lines, metrics. Called by app.ts; woken by the API.
import type { Loads } from "../status/loads.js";
import type { OpenRebalance, RebalanceLoad, RebalanceRecord, Store } from "../store/store.js";
import type { Clock } from "../telemetry/clock.js";
import { failureFacts, type Logger } from "../telemetry/logger.js";
import { LookLoop } from "../telemetry/look-loop.js";
import type { Metrics } from "../telemetry/metrics.js";
import { nextRebalanceStep } from "./rebalance-step.js";
import { takeRebalanceStep } from "./take-rebalance-step.js";

/** While one is open, and while none is. In ms. */
const busyPollMs = 500;
const idlePollMs = 1_000;

/** The rooms that it goes through. */
export interface RebalanceJobsOptions {
  readonly replica: string;
  readonly store: Pick<Store, "rebalances" | "work">;
  readonly loads: Pick<Loads, "nodes" | "of">;
  /** Name of the cluster that a TCP route has for itself. */
  readonly resourceOf: (route: string) => string;
  /** How often Envoys report their load. */
  readonly setPace: (pace: "idle" | "drain") => void;
  /** A drain has begun or was cancelled. */
  readonly onDrain: () => void;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** One per replica. */
export class RebalanceJobs {
  readonly #loop: LookLoop;
  /** `<rebalance> <node>` → when the report came that was written last. */
  #written = new Map<string, number>();
  #isBusy = false;

  constructor(private readonly options: RebalanceJobsOptions) {
    const work = options.store.work.of("rebalances", () => this.#isBusy);
    this.#loop = new LookLoop({ what: "rebalances", look: () => this.#look(), work, retryMs: idlePollMs, log: options.log });
  }

  start(): void {
    this.#loop.start();
  }

  /** One may have begun or ended: look now. */
  wake(): void {
    this.#loop.wake();
  }

  /** Waits for the step under way. */
  stop(): Promise<void> {
    return this.#loop.stop();
  }

  async #look(): Promise<number> {
    const { metrics, setPace, store } = this.options;
    const open = await store.rebalances.open();
    this.#isBusy = open.length > 0;
    metrics.set("rebalances_open", {}, open.length);
    setPace(open.length > 0 ? "drain" : "idle");
    await this.#saveLoads(open);
    if (open.length === 0) return idlePollMs;
    for (const record of await store.rebalances.read(open.map(({ id }) => id))) await this.#advance(record);
    return busyPollMs;
  }

  /** Each report once, with its age. */
  async #saveLoads(open: readonly OpenRebalance[]): Promise<void> {
    const { clock, loads, replica, resourceOf, store } = this.options;
    const rows: RebalanceLoad[] = [];
    const seen = new Map<string, number>();
    for (const node of open.length === 0 ? [] : loads.nodes()) {
      const load = loads.of(node, clock.now());
      if (!load || load.loadStreams.length === 0) continue;
      const receivedAt = Math.min(...load.loadStreams.map((stream) => stream.receivedAt));
      for (const { id, gateways, route } of open) {
        if (!gateways.includes(load.gateway)) continue;
        const key = `${id} ${node}`;
        seen.set(key, receivedAt);
        if (this.#written.get(key) !== receivedAt)
          rows.push({
            rebalance: id,
            node,
            counts: countsIn(load, resourceOf(route)),
            agoMs: Math.max(0, clock.now() - receivedAt),
          });
      }
    }
    await store.rebalances.saveLoads(replica, rows);
    this.#written = seen;
  }

  /** A step that fails does not keep the others. */
  async #advance(record: RebalanceRecord): Promise<void> {
    if (nextRebalanceStep(record).kind === "wait" || !this.#loop.isRunning) return;
    const { log, metrics, onDrain, store } = this.options;
    const { id, by, route } = record;
    try {
      const taken = await takeRebalanceStep(store, id);
      if (!taken) return;
      const { step } = taken;
      onDrain();
      if (step.kind === "close") {
        const { connections, endpoint, pauseMs } = step;
        metrics.count("rebalance_closed_total", {}, connections);
        const { address, cluster, port } = endpoint;
        log.info(
          { rebalance: id, route, cluster, address, port, connections, pauseMs },
          "a rebalance closes an endpoint's connections",
        );
      } else {
        metrics.count("rebalances_ended_total", { state: step.state });
        log.info({ rebalance: id, route, state: step.state, outcome: step.outcome, by: by.author }, "a rebalance has ended");
      }
    } catch (error) {
      log.warn({ ...failureFacts(error), rebalance: id }, "a step of a rebalance failed; it is tried again");
    }
  }
}

function countsIn(load: NonNullable<ReturnType<Loads["of"]>>, resource: string): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { reports } of load.loadStreams)
    for (const [endpoint, { inFlight }] of reports.at(-1)?.clusters.get(resource) ?? [])
      if (inFlight > 0) counts[endpoint] = (counts[endpoint] ?? 0) + inFlight;
  return counts;
}
