// A write that only some Envoys are to see first: it is done and undone, so that all rules, guards and validation have looked at it, and
// what it came to becomes a rollout in place of the configuration. In: the write. Out: the rollout, or undefined: write as usual.
// Called by writes.ts.
import { AppError, Interruption } from "../errors.js";
import { problem } from "../model/problem-codes.js";
import type { Author, Change, Kind, Revision } from "../model/revision.js";
import type { RolloutPolicy } from "../model/rollout.js";
import type { Plan, Planner } from "../plan/plan.js";
import type { Validator } from "../plan/validate.js";
import { cohortFor } from "../rollout/driver.js";
import type { Fleet } from "../status/fleet.js";
import { type Cohort, RolloutOvertaken, type Store, type WriteChoices, type WriteTx, type Written } from "../store/store.js";
import type { Metrics } from "../telemetry/metrics.js";
import type { Outcome } from "./outcome.js";
import { writeValidated } from "./validated-write.js";
import type { Override } from "./write-choices.js";

/** The rooms that it looks at. */
export interface StagingOptions {
  readonly store: Pick<Store, "write" | "rollouts">;
  readonly fleet: Pick<Fleet, "nodes">;
  readonly planner: Pick<Planner, "gatewaysOf">;
  readonly validator?: Validator | undefined;
  readonly metrics: Metrics;
}

/** A write that has become a rollout. */
export interface StagedWrite {
  readonly outcome: Outcome;
  readonly rollout: string;
  readonly revision: Revision;
  readonly replayed: boolean;
}

/** Other writers may come in between each time; then the write is given up. */
const maxRuns = 5;

/** Thrown out of a write whose key is not known yet: it has not been done. */
class NotDone extends Interruption {
  constructor() {
    super("nothing was done under this key so far");
  }
}

/**
 * `asked`: the change's own wish; undefined: what its gateways' policies say, if any.
 * @throws what the write throws, rollout_in_progress, write_contention
 */
export async function stageWrite(
  options: StagingOptions,
  author: Author,
  work: (tx: WriteTx) => Promise<Outcome>,
  choices: WriteChoices,
  asked: RolloutPolicy | undefined,
): Promise<StagedWrite | undefined> {
  const policies = asked ? new Map<string, RolloutPolicy>() : await readPolicies(options);
  if (!asked && policies.size === 0) return undefined;
  const done = await doneBefore(options, author, choices);
  if (done) return toStaged(done);
  for (let run = 1; run <= maxRuns; run++) {
    const { store, validator } = options;
    const { value, changes } = await writeValidated(store, validator, author, work, { ...choices, dryRun: true });
    if (isOfEndpointsAlone(changes)) return undefined;
    const gateways = await options.planner.gatewaysOf(changes);
    if (!gateways) continue;
    const policy = asked ?? strictest(gateways.flatMap((gateway) => policies.get(gateway) ?? []));
    if (!policy || gateways.length === 0) return undefined;
    if (value.rebalance) throw stagedRebalance();
    try {
      return await begin(options, author, { outcome: value, changes, choices, policy, gateways });
    } catch (error) {
      if (!(error instanceof RolloutOvertaken)) throw error;
    }
  }
  throw new AppError("write_contention", { detail: "other writers change the same objects all the time" });
}

/** What is staged is not the configuration yet, and may never be. */
export function stagedRebalance(): AppError {
  const detail =
    "the shift is staged, and connections follow only weights that hold: ask for the rebalance when it is promoted, or override rollout";
  return new AppError("invalid_reference", { override: ["rollout"] }, [problem("/rebalance", "no_rebalance", detail)]);
}

/** How a planned write would be staged; undefined: it would not. */
export async function plannedPolicy(
  options: Pick<StagingOptions, "store">,
  { gateways, objects }: Pick<Plan, "gateways" | "objects">,
  overrides: readonly Override[],
  asked: RolloutPolicy | undefined,
): Promise<RolloutPolicy | undefined> {
  const names = Object.keys(gateways);
  if (overrides.includes("rollout") || names.length === 0 || isOfEndpointsAlone(objects)) return undefined;
  if (asked) return asked;
  const policies = await readPolicies(options);
  return strictest(names.flatMap((gateway) => policies.get(gateway) ?? []));
}

/** Endpoints come and go with the processes behind them: they are no change of the configuration that could be tried first. */
function isOfEndpointsAlone(changes: readonly { readonly kind: Kind }[]): boolean {
  return changes.every(({ kind }) => kind === "endpoint");
}

async function readPolicies({ store }: Pick<StagingOptions, "store">): Promise<ReadonlyMap<string, RolloutPolicy>> {
  return new Map((await store.rollouts.policies()).map(({ gateway, rollout }) => [gateway, rollout]));
}

/** What was done under the key before; a dry run would look at a configuration that has it already. */
async function doneBefore(
  { store }: StagingOptions,
  author: Author,
  { idempotency }: WriteChoices,
): Promise<Written<Outcome> | undefined> {
  if (!idempotency) return undefined;
  const notDone = async (): Promise<Outcome> => {
    throw new NotDone();
  };
  try {
    return await store.write(author, notDone, { idempotency });
  } catch (error) {
    if (error instanceof NotDone) return undefined;
    throw error;
  }
}

/** undefined: it was no rollout. */
function toStaged({ value, committed, replayed }: Written<Outcome>): StagedWrite | undefined {
  if (value.rollout === undefined) return undefined;
  return { outcome: value, rollout: value.rollout, revision: committed?.revision ?? value.revision, replayed };
}

interface Beginning {
  readonly outcome: Outcome;
  readonly changes: readonly Change[];
  readonly choices: WriteChoices;
  readonly policy: RolloutPolicy;
  readonly gateways: readonly string[];
}

/** undefined: nobody is connected who could try it. */
async function begin(
  { fleet, metrics, store }: StagingOptions,
  author: Author,
  { outcome, changes, choices, policy, gateways }: Beginning,
): Promise<StagedWrite | undefined> {
  const [first] = policy.stages;
  if (!first) return undefined;
  const name = `r${Date.now().toString(36)}-${author.requestId
    .slice(0, 8)
    .toLowerCase()
    .replaceAll(/[^a-z0-9]/g, "0")}`;
  const cohort = await cohortFor(fleet, name, first, gateways);
  if (isEmpty(cohort)) return undefined;
  const { overrides = [], baseRevision, idempotency } = choices;
  const written = await store.write(
    { ...author, reason: author.reason ?? `rollout ${name} of ${changes.length} changes` },
    async (tx) => {
      await tx.rollouts.begin({ ...author, ...cohort, name, policy, changes, overrides, applied: outcome.applied });
      return { ...outcome, rollout: name };
    },
    { overrides, baseRevision, idempotency },
  );
  if (!written.replayed) metrics.count("rollout_events_total", { event: "began" });
  return toStaged(written);
}

function isEmpty({ expected }: Cohort): boolean {
  return [...expected.values()].every((nodes) => nodes.length === 0);
}

/** Where several gateways have one: the one of most stages, then of the longest bake. */
function strictest(policies: readonly RolloutPolicy[]): RolloutPolicy | undefined {
  return [...policies].sort((a, b) => b.stages.length - a.stages.length || b.bakeMs - a.bakeMs)[0];
}
