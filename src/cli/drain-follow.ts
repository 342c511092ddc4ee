// Looking on at a drain until it ends, of endpoints or of an Envoy: a line whenever something has changed. It goes on when this does not.
// In: where it is, and its words. Out: lines, and how it ended. Called by drain.ts and node-drain.ts.
import { type ApiAccess, callApi } from "./api-client.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import type { JsonObject } from "./json.js";

/** One look at the drain: long enough to be cheap, short enough to show it count down. In ms. */
const lookMs = 1_000;
/** How long a control plane may be away in the middle of a wait, before the command gives up. In ms. */
const awayMs = 30_000;
const pauseMs = 500;

/** A drain to look on at. */
export interface FollowedDrain {
  readonly path: string;
  /** Where it is, in one line. */
  readonly progressLine: (drain: JsonObject) => string;
  /** Tells how it ended. @throws CommandError when it is not known to be safe to stop */
  readonly tellEnd: (print: (line: string) => void, drain: JsonObject) => void;
  /** What is said when it goes on without the command. */
  readonly goesOn: string;
}

/** To its end. @throws CommandError: not safe, away, or it goes on */
export async function followDrain(
  access: ApiAccess,
  { path, progressLine, tellEnd, goesOn }: FollowedDrain,
  print: (line: string) => void,
  interrupted: AbortSignal,
): Promise<void> {
  let last = "";
  let answeredAt = performance.now();
  while (!interrupted.aborted) {
    try {
      const looked = await Promise.race([look(access, path), ending(interrupted)]);
      if (!looked) break;
      answeredAt = performance.now();
      if (looked["endedAt"] !== undefined) return tellEnd(print, looked);
      const line = progressLine(looked);
      if (line !== last) print(line);
      last = line;
    } catch (error) {
      // A replica that is restarted takes its callers with it, not the drain: another one answers in a moment.
      const isAway = error instanceof CommandError && error.exitCode === exitCodes.away;
      if (!isAway || performance.now() - answeredAt > awayMs) throw error;
      await Promise.race([new Promise((done) => setTimeout(done, pauseMs)), ending(interrupted)]);
    }
  }
  throw new CommandError(exitCodes.goesOn, goesOn);
}

async function look(access: ApiAccess, path: string): Promise<JsonObject> {
  return (await callApi(access, { method: "GET", path, query: { wait: "safe", timeoutMs: lookMs } })).body;
}

function ending(signal: AbortSignal): Promise<undefined> {
  return new Promise((done) => {
    if (signal.aborted) done(undefined);
    else signal.addEventListener("abort", () => done(undefined), { once: true });
  });
}
