// One step of a drain, taken in one transaction with what it does to the endpoints: claimed, looked at again, done, or left to whoever
// else has it. Killed anywhere in between, nothing of it has happened. In: the store and a drain's id. Out: what was done.
// Called by drain-jobs.ts.
import type { DrainEnd, DrainRecord, Store, WriteTx } from "../store/store.js";
import { nextStep, type Step } from "./next-step.js";

/** What became of a step; undefined: another replica has it, or it is not due after all. */
export type Taken = { readonly drain: DrainRecord; readonly step: Exclude<Step, { kind: "wait" }> } | undefined;

/** @throws database_unavailable, write_contention: the next look tries again */
export async function takeStep(store: Pick<Store, "drains">, id: string, due: Step): Promise<Taken> {
  const reason = due.kind === "end" ? due.outcome : "the deadline has passed: closing what is left";
  const { value } = await store.drains.write(id, reason, async (tx): Promise<Taken> => {
    const drain = await tx.drains.claim(id);
    if (!drain) return undefined;
    const step = nextStep(drain);
    if (step.kind === "wait") return undefined;
    if (step.kind === "close") await close(tx, drain, step.closeWithinMs);
    else return { drain, step: await end(tx, drain, step) };
    return { drain, step };
  });
  return value;
}

/** Its own endpoints that are still there and still its own, their clusters and themselves locked. */
async function holdEndpoints(
  tx: WriteTx,
  drain: DrainRecord,
): Promise<{ readonly own: readonly string[]; readonly lost: number }> {
  const owned = drain.endpoints.filter(({ joins }) => joins === undefined);
  await tx.getAll("cluster", [...new Set(owned.map(({ cluster }) => cluster))].sort());
  const names = owned.map(({ cluster, endpoint }) => `${cluster}/${endpoint}`).sort();
  const stored = await tx.getAll("endpoint", names);
  const own = names.filter((name) => stored.get(name)?.object.drain?.id === drain.id);
  return { own, lost: names.length - own.length };
}

async function close(tx: WriteTx, drain: DrainRecord, withinMs: number): Promise<void> {
  const { own } = await holdEndpoints(tx, drain);
  const closable = new Set(
    drain.endpoints
      .filter(({ guarantee, sessionsStay }) => sessionsStay || (guarantee.closesWithinMs ?? 0) > 0)
      .map(({ cluster, endpoint }) => `${cluster}/${endpoint}`),
  );
  await tx.markDrained(
    own.filter((name) => closable.has(name)),
    // Those of one drain are of one route, or of none.
    { id: drain.id, phase: "closing", ...(drain.endpoints[0]?.route === undefined ? {} : { route: drain.endpoints[0].route }) },
  );
  await tx.drains.close(drain.id, withinMs);
}

async function end(
  tx: WriteTx,
  drain: DrainRecord,
  step: Extract<Step, { kind: "end" }>,
): Promise<Extract<Step, { kind: "end" }>> {
  const { own, lost } = await holdEndpoints(tx, drain);
  if (drain.afterwards === "remove") await tx.deleteAll("endpoint", own);
  else await tx.markDrained(own, undefined, drain.afterwards === "disable" ? false : undefined);
  if (drain.afterwards === "restore") return restored(tx, drain, step, lost);
  const told = lost === 0 ? step : { ...step, safeToStop: false, outcome: lostOutcome(lost) };
  const { safeToStop, leftOpen, outcome } = told;
  const state: DrainEnd["state"] = drain.afterwards === "remove" ? "removed" : "disabled";
  await tx.drains.end(drain.id, { state, safeToStop, leftOpen, outcome });
  return told;
}

/** It serves again: that is never safe to stop. */
async function restored(
  tx: WriteTx,
  { id }: DrainRecord,
  { kind, leftOpen, safeToStop }: Extract<Step, { kind: "end" }>,
  lost: number,
): Promise<Extract<Step, { kind: "end" }>> {
  const closed = safeToStop ? "its connections are closed" : `its time is over, with ${leftOpen} seen open`;
  const outcome = `${closed}, and ${lost > 0 ? "another write has taken it over" : "it serves again"}`;
  await tx.drains.end(id, { state: "restored", safeToStop: false, leftOpen, outcome });
  return { kind, leftOpen, safeToStop: false, outcome };
}

/** Reports tell nothing of an endpoint that is not there any more: what they said last must not be taken for the truth. */
function lostOutcome(lost: number): string {
  return `${lost} of its endpoints were taken away by another write before nothing was in flight there`;
}

/**
 * Ends it without an end: the endpoints are as they were before. In the caller's transaction.
 * False: it had ended already, as cancelled or otherwise.
 */
export async function cancel(tx: WriteTx, drain: DrainRecord, outcome: string): Promise<boolean> {
  if (drain.endedAt !== undefined) return false;
  const { own } = await holdEndpoints(tx, drain);
  await tx.markDrained(own, undefined);
  await tx.drains.end(drain.id, { state: "cancelled", safeToStop: false, leftOpen: 0, outcome });
  return true;
}
