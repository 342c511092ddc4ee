// Drives the staged rollouts that are under way: looks at each, judges it, and takes the step. Every replica runs one; the steps are
// conditional transitions in the database, so it does not matter which of them takes one, nor that one dies between two.
// In: the store. Out: revisions like any client's (stage, promotion, abort). Called by app.ts.
import { AppError, errorCodes } from "../errors.js";
import { countGuards } from "../model/guard.js";
import type { Author, Change, Revision } from "../model/revision.js";
import { cohortOf, isWhole, type RolloutStage } from "../model/rollout.js";
import type { Fleet } from "../status/fleet.js";
import type { Cohort, OpenRollout, Store, StoredRollout, WriteTx } from "../store/store.js";
import type { Logger } from "../telemetry/logger.js";
import { LookLoop } from "../telemetry/look-loop.js";
import type { Metrics } from "../telemetry/metrics.js";
import { type AbortCause, judge } from "./judge.js";
import type { RolloutWatch } from "./watch.js";

/** Between looks while one is under way, and while none is. */
const busyMs = 250;
const idleMs = 1_000;
/** Nodes of a gateway that are read at once. */
const nodesPerPage = 1_000;

/** The rooms that it goes through, and the writes of the API that it makes. */
export interface DriverOptions {
  readonly store: Pick<Store, "write" | "rollouts" | "work">;
  readonly fleet: Pick<Fleet, "nodes">;
  readonly watch: RolloutWatch;
  /** Makes each object what it is after the changes, through the rules of all writes; within a transaction. */
  readonly promote: (tx: WriteTx, changes: readonly Change[]) => Promise<void>;
  /** Takes what `revision` changed back, where nobody has changed it since; within a transaction. */
  readonly putBack: (tx: WriteTx, changes: readonly Change[], revision: Revision) => Promise<void>;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Connected Envoys of a gateway that are not drained, by id, on all replicas. @throws database_unavailable */
export async function connectedNodes(fleet: Pick<Fleet, "nodes">, gateway: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (let after: string | undefined; ; ) {
    const page = await fleet.nodes({ gateway, limit: nodesPerPage, after });
    found.push(...page.items.filter(({ connected, draining }) => connected && !draining).map(({ id }) => id));
    if (page.items.length < nodesPerPage) return found;
    after = page.items.at(-1)?.id;
  }
}

/** Who sees a stage's changes. @throws database_unavailable */
export async function cohortFor(
  fleet: Pick<Fleet, "nodes">,
  rollout: string,
  stage: RolloutStage,
  gateways: readonly string[],
): Promise<Cohort> {
  const shares = new Map<string, number>();
  const expected = new Map<string, readonly string[]>();
  for (const gateway of gateways) {
    const { share, nodes } = cohortOf(rollout, stage, await connectedNodes(fleet, gateway));
    shares.set(gateway, share);
    expected.set(gateway, nodes);
  }
  return { shares, expected };
}

/** One per replica. */
export class RolloutDriver {
  readonly #loop: LookLoop;
  #isBusy = false;

  constructor(private readonly options: DriverOptions) {
    const work = options.store.work.of("rollouts", () => this.#isBusy);
    this.#loop = new LookLoop({ what: "rollouts", look: () => this.#look(), work, retryMs: busyMs, log: options.log });
  }

  start(): void {
    this.#loop.start();
  }

  async close(): Promise<void> {
    await this.#loop.stop();
    this.options.watch.close();
  }

  async #look(): Promise<number> {
    const { metrics, store, watch } = this.options;
    const open = await store.rollouts.open();
    this.#isBusy = open.length > 0;
    metrics.set("rollouts_open", {}, open.length);
    await watch.look(open, Date.now());
    for (const one of open) await this.#step(one);
    return open.length > 0 ? busyMs : idleMs;
  }

  async #step(open: OpenRollout): Promise<void> {
    const { rollout } = open;
    const decision = judge(open);
    switch (decision.kind) {
      case "wait":
        return;
      case "acked":
        return this.options.store.rollouts.markAcked(rollout.name, rollout.stage);
      case "next":
        return rollout.state === "watching" ? this.#finish(rollout) : this.#advance(rollout);
      case "abort":
        return rollout.state === "watching"
          ? this.#takeBack(rollout, decision.cause, decision.detail)
          : this.#abort(rollout, decision.cause, decision.detail);
    }
  }

  async #advance(rollout: StoredRollout): Promise<void> {
    const { fleet, store, promote } = this.options;
    const { name, stage, policy, gateways } = rollout;
    const next = policy.stages[stage + 1];
    if (next && !isWhole(next)) {
      const cohort = await cohortFor(fleet, name, next, gateways);
      const author = authorOf(rollout, `rollout ${name}: stage ${stage + 2} of ${policy.stages.length}`);
      const moved = await store.write(author, (tx) => tx.rollouts.move(name, stage, cohort));
      if (moved.value) this.#tell(rollout, "stage", { stage: stage + 1, nodes: countOf(cohort.expected) });
      return;
    }
    const { expected } = await cohortFor(fleet, name, { percent: 100 }, gateways);
    const changes = await store.rollouts.changesOf(name);
    const author = authorOf(rollout, `rollout ${name}: promoted${rollout.reason ? `: ${rollout.reason}` : ""}`);
    try {
      const { value } = await store.write(
        author,
        async (tx) => {
          if (!(await tx.rollouts.promote(name, stage, expected))) return false;
          await promote(tx, changes);
          if (rollout.applied) await tx.recordApplied(rollout.applied.set, rollout.applied.objects);
          return true;
        },
        { overrides: rollout.overrides },
      );
      if (value) this.#tell(rollout, "promoted", { nodes: countOf(expected) });
    } catch (error) {
      if (!isRefused(error)) throw error;
      // The rules look at the configuration as it is by now: what others wrote meanwhile may stand against it.
      await this.#abort(rollout, "unpromotable", `it can't become the configuration any more: ${error.message}`);
    }
  }

  async #abort(rollout: StoredRollout, cause: AbortCause | "unpromotable", detail: string): Promise<void> {
    const author = authorOf(rollout, `rollout ${rollout.name}: stopped: ${detail}`);
    const { value } = await this.options.store.write(author, (tx) => tx.rollouts.abort(rollout.name, { cause, detail }));
    if (value) this.#tell(rollout, "aborted", { cause, detail });
  }

  async #finish(rollout: StoredRollout): Promise<void> {
    const { value } = await this.options.store.write(authorOf(rollout, undefined), (tx) =>
      tx.rollouts.finish(rollout.name, "done", undefined),
    );
    if (value) this.#tell(rollout, "done", {});
  }

  /** It is everywhere, and proves bad: the revision that promoted it is undone. */
  async #takeBack(rollout: StoredRollout, cause: AbortCause, detail: string): Promise<void> {
    const { name, revision } = rollout;
    const author = authorOf(rollout, `rollout ${name}: stopped: ${detail}`);
    const { putBack, store } = this.options;
    const changes = await store.rollouts.changesOf(name);
    try {
      const work = async (tx: WriteTx): Promise<boolean> => {
        if (!(await tx.rollouts.finish(name, "aborted", { cause, detail }))) return false;
        await putBack(tx, changes, revision);
        return true;
      };
      // It goes back to what was there before, so no guard stands in its way.
      const { value } = await store.write(author, work, { overrides: countGuards });
      if (value) this.#tell(rollout, "aborted", { cause, detail });
    } catch (error) {
      if (!isRefused(error)) throw error;
      const end = { cause, detail: `${detail}; what it changed could not be put back: ${error.message}` };
      const { value } = await store.write(author, (tx) => tx.rollouts.finish(name, "aborted", end));
      if (value) this.#tell(rollout, "aborted", end);
    }
  }

  #tell({ name, author, requestId }: StoredRollout, event: "stage" | "promoted" | "done" | "aborted", facts: object): void {
    this.options.metrics.count("rollout_events_total", { event });
    const level = event === "aborted" ? "warn" : "info";
    this.options.log[level]({ rollout: name, author, requestId, event, ...facts }, "rollout");
  }
}

/** Who began it is the author of all its steps. */
function authorOf({ author, requestId }: StoredRollout, reason: string | undefined): Author {
  return { author, requestId, reason: reason?.slice(0, maxReasonLength) };
}

const maxReasonLength = 512;

function countOf(expected: ReadonlyMap<string, readonly string[]>): number {
  return [...expected.values()].reduce((sum, nodes) => sum + nodes.length, 0);
}

/** The write was refused by a rule, as opposed to a database that is away. */
function isRefused(error: unknown): error is AppError {
  return error instanceof AppError && errorCodes[error.code].status < 500;
}
