// Waiting for the end of a staged rollout, which any replica may bring about. In: its name. Out: how it stands. Called by rollouts.ts and
// writes.ts.
import { setTimeout as pause } from "node:timers/promises";
import { AppError } from "../errors.js";
import type { OpenRollout, RolloutStore } from "../store/store.js";
import { toRolloutBody } from "./rollout-body.js";

/** Between looks at a rollout that somebody waits for. */
const lookMs = 200;

/**
 * The rollout when it has ended, or as it is when the time is over. undefined: there is none of this name.
 * @throws rollout_aborted, database_unavailable
 */
export async function whenEnded(
  store: Pick<RolloutStore, "one">,
  rollout: string,
  timeoutMs: number,
  closing: AbortSignal,
): Promise<OpenRollout | undefined> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await store.one(rollout);
    if (!found || found.rollout.state === "done") return found;
    if (timeoutMs > 0 && found.rollout.state === "aborted") throw aborted(found);
    if (performance.now() >= deadline || closing.aborted) return found;
    await pause(Math.min(lookMs, Math.max(1, deadline - performance.now())));
  }
}

function aborted({ rollout }: OpenRollout): AppError {
  const detail = `rollout ${rollout.name} was stopped at stage ${rollout.stage + 1} of ${rollout.policy.stages.length}, and its Envoys were put back: ${rollout.detail ?? ""}`;
  return new AppError("rollout_aborted", { rollout: toRolloutBody(rollout), detail });
}
