// Looking on while a drain or a rebalance goes on without us: a line whenever something has changed, through restarts of the control plane.
// In: where it is. Out: how it ended. Called by drain.ts, node-drain.ts and rebalances.ts.
import { type ApiAccess, callApi } from "./api-client.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import type { JsonObject } from "./json.js";

/** One look: long enough to be cheap, short enough to show it count down. In ms. */
const lookMs = 1_000;
/** How long a control plane may be away in the middle of a wait, before the command gives up. In ms. */
const awayMs = 30_000;
const pauseMs = 500;

/** What is looked at. */
export interface Looked {
  readonly path: string;
  /** The word that waits for its end. */
  readonly wait: "safe" | "done";
  /** Where it is, in one line. */
  readonly lineOf: (body: JsonObject) => string;
}

/** Undefined: interrupted before its end. @throws CommandError (away) when the control plane is away for long */
export async function lookOn(
  access: ApiAccess,
  { path, wait, lineOf }: Looked,
  print: (line: string) => void,
  interrupted: AbortSignal,
): Promise<JsonObject | undefined> {
  let last = "";
  let answeredAt = performance.now();
  const look = async () => (await callApi(access, { method: "GET", path, query: { wait, timeoutMs: lookMs } })).body;
  while (!interrupted.aborted) {
    try {
      const looked = await Promise.race([look(), ending(interrupted)]);
      if (!looked) return undefined;
      answeredAt = performance.now();
      if (looked["endedAt"] !== undefined) return looked;
      const line = lineOf(looked);
      if (line !== last) print(line);
      last = line;
    } catch (error) {
      // A replica that is restarted takes its callers with it, not the drain: another one answers in a moment.
      const isAway = error instanceof CommandError && error.exitCode === exitCodes.away;
      if (!isAway || performance.now() - answeredAt > awayMs) throw error;
      await Promise.race([new Promise((done) => setTimeout(done, pauseMs)), ending(interrupted)]);
    }
  }
  return undefined;
}

function ending(signal: AbortSignal): Promise<undefined> {
  return new Promise((done) => {
    if (signal.aborted) done(undefined);
    else signal.addEventListener("abort", () => done(undefined), { once: true });
  });
}
