// Waiting for the end of a staged rollout, which any replica may bring about. In: its name. Out: how it stands. Called by rollouts.ts and
// writes.ts.
import { AppError } from "../errors.js";
import type { OpenRollout, RolloutStore } from "../store/store.js";
import type { EndWaits } from "./end-waits.js";
import { toRolloutBody } from "./rollout-body.js";

/**
 * The rollout when it has ended, or as it is when the time is over or the signal aborts. undefined: there is none of this name.
 * @throws rollout_aborted, database_unavailable
 */
export async function whenEnded(
  store: Pick<RolloutStore, "one">,
  waits: EndWaits,
  rollout: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<OpenRollout | undefined> {
  const isOver = (one: OpenRollout | undefined): boolean =>
    !one || one.rollout.state === "done" || one.rollout.state === "aborted";
  let found = await store.one(rollout);
  if (!isOver(found) && timeoutMs > 0) {
    await waits.until(rollout, timeoutMs, signal);
    found = await store.one(rollout);
  }
  if (timeoutMs > 0 && found?.rollout.state === "aborted") throw aborted(found);
  return found;
}

function aborted({ rollout }: OpenRollout): AppError {
  const detail = `rollout ${rollout.name} was stopped at stage ${rollout.stage + 1} of ${rollout.policy.stages.length}, and its Envoys were put back: ${rollout.detail ?? ""}`;
  return new AppError("rollout_aborted", { rollout: toRolloutBody(rollout), detail });
}
