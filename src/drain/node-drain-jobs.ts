// Brings drains of Envoys to their end, on every replica: writes down what its own Envoys say, looks at all of them, and takes the steps
// that are due. Which replica takes one does not matter; the database lets one. Costs nothing while no Envoy is drained.
// In: the store, the fleet, loads. Out: rows, steps, log lines, metrics. Called by create-jobs.ts; woken by the API.
import type { DesiredState } from "../model/desired-state.js";
import type { Fleet } from "../status/fleet.js";
import type { Loads } from "../status/loads.js";
import type { NodeDrainRecord, NodeDrainSign, Store } from "../store/store.js";
import type { Clock } from "../telemetry/clock.js";
import { failureFacts, type Logger } from "../telemetry/logger.js";
import { LookLoop } from "../telemetry/look-loop.js";
import type { Metrics } from "../telemetry/metrics.js";
import { believeConnections, type NodeDrainStep, nextNodeStep } from "./node-drain-step.js";

/** Between looks: while one is waited for, and while all that are drained have ended, or none is. In ms. */
const busyMs = 500;
const idleMs = 2_000;

/** The rooms that it looks at. */
export interface NodeDrainJobsOptions {
  readonly replica: string;
  readonly store: Pick<Store, "nodeDrains">;
  /** Says whether any Envoy is drained; undefined before the first load. */
  readonly state: () => Pick<DesiredState, "nodeDrains"> | undefined;
  readonly fleet: Pick<Fleet, "ownNodes">;
  readonly loads: Pick<Loads, "of">;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** One per replica. */
export class NodeDrainJobs {
  readonly #loop: LookLoop;
  /** `<id>` → when the Envoy was known to have no listeners, by this replica's clock: an upper bound. */
  readonly #acked = new Map<string, number>();

  constructor(private readonly options: NodeDrainJobsOptions) {
    this.#loop = new LookLoop({ what: "drains of Envoys", look: () => this.#look(), retryMs: busyMs, log: options.log });
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
    const { metrics, state, store } = this.options;
    if ((state()?.nodeDrains.size ?? 0) === 0) {
      for (const each of ["open", "ended"] as const) metrics.set("node_drains", { state: each }, 0);
      return busyMs;
    }
    const drains = await store.nodeDrains.look();
    const lookedAt = this.options.clock.now();
    this.#noteAcks(drains, lookedAt);
    await store.nodeDrains.save(this.options.replica, this.#signs(drains, lookedAt));
    for (const drain of drains) await this.#advance(drain);
    const open = drains.filter(({ endedAt }) => endedAt === undefined).length;
    metrics.set("node_drains", { state: "open" }, open);
    metrics.set("node_drains", { state: "ended" }, drains.length - open);
    return open > 0 ? busyMs : idleMs;
  }

  #noteAcks(drains: readonly NodeDrainRecord[], lookedAt: number): void {
    const open = new Set(drains.map(({ id }) => id));
    for (const id of this.#acked.keys()) if (!open.has(id)) this.#acked.delete(id);
    for (const { id, ackedAgeMs } of drains)
      if (ackedAgeMs !== undefined && !this.#acked.has(id)) this.#acked.set(id, lookedAt - ackedAgeMs);
  }

  /** What this replica's streams say of Envoys whose listeners are withdrawn. */
  #signs(drains: readonly NodeDrainRecord[], now: number): readonly NodeDrainSign[] {
    const { fleet, loads } = this.options;
    const open = drains.filter(({ endedAt, phase }) => endedAt === undefined && phase === "withdrawn");
    if (open.length === 0) return [];
    const withdrawn = new Set<string>();
    for (const node of fleet.ownNodes()) if (node.hasNoListeners) withdrawn.add(node.id);
    return open.flatMap(({ node, id }): NodeDrainSign[] => {
      const ackedAt = this.#acked.get(id);
      const report =
        ackedAt === undefined ? undefined : believeConnections(ackedAt, loads.of(node, now)?.clientConnections ?? [], now);
      return withdrawn.has(node) || report ? [{ node, id, acked: withdrawn.has(node), report }] : [];
    });
  }

  /** A step that fails does not keep the others. */
  async #advance(drain: NodeDrainRecord): Promise<void> {
    const due = nextNodeStep(drain);
    if (due.kind === "wait" || !this.#loop.isRunning) return;
    const { log, metrics, store } = this.options;
    const { node, by } = drain;
    try {
      const step = await takeNodeStep(store, drain, due);
      if (!step) return;
      log.info({ node, by: by.author, ...step, step: step.kind }, "a step of an Envoy's drain");
      if (step.kind !== "end") return;
      metrics.count("node_drains_ended_total", { safe: String(step.safeToStop) });
      metrics.observe("node_drain_seconds", { safe: String(step.safeToStop) }, drain.ageMs / 1_000);
    } catch (error) {
      log.warn({ ...failureFacts(error), node }, "a step of an Envoy's drain failed; it is tried again");
    }
  }
}

const reasons = {
  withdraw: "the lame duck's time is over: its listeners go",
  end: "the drain has ended",
  forget: "it has been away for an hour: its drain is forgotten",
} as const;

/** Everything is read again under the row's lock. undefined: another replica has it, or it is not due after all. */
export async function takeNodeStep(
  store: Pick<Store, "nodeDrains">,
  { node, by }: Pick<NodeDrainRecord, "node" | "by">,
  due: Exclude<NodeDrainStep, { kind: "wait" }>,
): Promise<Exclude<NodeDrainStep, { kind: "wait" }> | undefined> {
  const reason = `drain of Envoy ${node} (by ${by.author}): ${reasons[due.kind]}`.slice(0, maxReasonLength);
  const { value } = await store.nodeDrains.write(node, reason, async (tx) => {
    const drain = await tx.nodeDrains.claim(node);
    if (!drain) return undefined;
    const step = nextNodeStep(drain);
    switch (step.kind) {
      case "wait":
        return undefined;
      case "withdraw":
        await tx.nodeDrains.withdraw(drain);
        return step;
      case "end":
        await tx.nodeDrains.end(node, step);
        return step;
      case "forget":
        await tx.nodeDrains.lift(drain);
        return step;
    }
  });
  return value;
}

const maxReasonLength = 512;
