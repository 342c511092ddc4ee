// `chancery revisions --follow`: revisions and their sync as they happen, until it is interrupted. In: where to begin. Out: a line, or a
// JSON document on a line, for each. A connection that breaks is made again where it left off. Called by commands.ts.
import { setTimeout as sleep } from "node:timers/promises";
import { type ApiAccess, openApi } from "./api-client.js";
import { type ApiEvent, readEvents } from "./event-reader.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import type { HistoryOutput } from "./history.js";
import { field, isObject, joined, list, number, text } from "./json.js";
import { syncLines } from "./outcome.js";

/** How it is followed. */
export interface FollowChoice {
  /** Begin after this revision; undefined: with the next one. */
  readonly after: number | undefined;
  readonly output: HistoryOutput;
  /** Ends the following. */
  readonly signal: AbortSignal;
  /** The control plane may be away for so long before it is given up. Default: 60 s. */
  readonly patienceMs?: number;
}

const patienceMs = 60_000;
const firstRetryMs = 200;
const maxRetryMs = 5_000;
/** The control plane lets itself be heard every 15 s. */
const silenceMs = 45_000;

/** `42 by ada: reason`, then who has it, whenever that changes. */
function linesOf({ event, body }: ApiEvent): readonly string[] {
  if (event === "sync") {
    const where = `revision ${text(body["revision"])}: ${text(body["state"])}`;
    const refusals = Object.values(isObject(body["gateways"]) ? body["gateways"] : {}).flatMap((one) =>
      list(field(one, "refused")),
    );
    return [refusals.length > 0 ? `${where}, refused by ${refusals.length}` : where, ...syncLines({ sync: body })];
  }
  const reason = text(body["reason"]);
  const overrides = joined(body["overrides"]);
  const changes = `${text(body["changes"])} ${body["changes"] === 1 ? "object" : "objects"}`;
  const more = `${overrides === "" ? "" : `, guards overridden: ${overrides}`}${reason === "" ? "" : `: ${reason}`}`;
  return [`revision ${text(body["revision"])} by ${text(body["author"])} at ${text(body["at"])}, ${changes}${more}`];
}

/** @throws CommandError: away (no control plane for too long), failed (it refused, or has another history now) */
export async function followRevisions(access: ApiAccess, choice: FollowChoice, print: (line: string) => void): Promise<void> {
  const { signal } = choice;
  let seen: number | undefined;
  let retryMs = firstRetryMs;
  let heardAt = performance.now();
  while (!signal.aborted) {
    try {
      for await (const one of eventsAfter(access, seen === undefined ? choice.after : { seen }, signal)) {
        heardAt = performance.now();
        retryMs = firstRetryMs;
        tell(one, choice.output, print);
        if (one.event === "revision") seen = number(one.body["revision"]);
      }
      heardAt = performance.now();
    } catch (error) {
      if (signal.aborted) return;
      const isAway = error instanceof CommandError && error.exitCode === exitCodes.away;
      if (!isAway || performance.now() - heardAt > (choice.patienceMs ?? patienceMs)) throw error;
    }
    await sleep(retryMs * (0.75 + Math.random() / 2), undefined, { signal }).catch(() => {});
    retryMs = Math.min(maxRetryMs, retryMs * 2);
  }
}

function tell(one: ApiEvent, output: HistoryOutput, print: (line: string) => void): void {
  if (one.event === "other-history")
    throw new CommandError(exitCodes.failed, `${text(one.body["detail"]) || "The database has another history"}.`);
  const lines = output === "json" ? [JSON.stringify({ event: one.event, ...one.body })] : linesOf(one);
  for (const line of lines) print(line);
}

/** One connection's events, until it ends or falls silent. Who says what it has seen is told who has that by now, too. */
async function* eventsAfter(
  access: ApiAccess,
  begin: number | { readonly seen: number } | undefined,
  signal: AbortSignal,
): AsyncGenerator<ApiEvent> {
  // Not AbortSignal.any: Node 20 may collect what it makes, and then it never fires.
  const ending = new AbortController();
  const end = (): void => ending.abort();
  const timer = setTimeout(end, silenceMs);
  signal.addEventListener("abort", end, { once: true });
  try {
    const path = "/v1/revisions";
    const [after, seen] = typeof begin === "object" ? [undefined, begin.seen] : [begin, undefined];
    const query = { follow: "true", after };
    const lastEventId = seen?.toString();
    const body = await openApi(access, { method: "GET", path, query, lastEventId }, ending.signal);
    yield* readEvents(body, () => timer.refresh());
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError(exitCodes.away, `The connection to ${access.url} was lost.`, error);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
  }
}
