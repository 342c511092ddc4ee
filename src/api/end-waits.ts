// Callers who wait until drains, rebalances or rollouts have ended, all of one kind with one look at the database. In: names. Out: promises;
// the caller reads what became of it. Called by drains.ts, node-drains.ts, rebalances.ts and rollout-wait.ts.
import type { IncomingMessage } from "node:http";
import { Type } from "typebox";
import { type CallerWaits, whileConnected } from "./caller-waits.js";
import { milliseconds, object } from "./fields.js";
import { maxWaitMs } from "./write-choices.js";

export const standardEndWaitMs = 60_000;

/** Query of the calls that read one drain. */
export const safeWaitQuery = object({
  wait: Type.Optional(
    Type.Literal("safe", {
      description: "Answer when it has ended (200), safe or not, or when the time is over (202).",
    }),
  ),
  timeoutMs: Type.Optional(milliseconds(0, maxWaitMs, "Longest wait.", standardEndWaitMs)),
});

/** What a call that reads one was asked for. */
interface EndQuery {
  readonly wait?: string | undefined;
  readonly timeoutMs?: number | undefined;
}

/**
 * Reads one, with `wait` when it has ended (200), or when the time is over, the client has gone or the server closes (202).
 * @throws too_many_requests, and what reading throws
 */
export type EndRead<R> = (
  id: string,
  query: EndQuery,
  raw: IncomingMessage,
  reply: { code(status: 200 | 202): unknown },
) => Promise<R>;

/** One per kind. */
export function createEndRead<R extends { readonly endedAt: string | undefined }>(
  store: { ended(ids: readonly string[]): Promise<readonly string[]> },
  read: (id: string) => Promise<R>,
  { callerWaits, closing }: { readonly callerWaits: CallerWaits; readonly closing: AbortSignal },
): EndRead<R> {
  const ends = new EndWaits((ids) => store.ended(ids));
  return async (id, { wait, timeoutMs = standardEndWaitMs }, raw, reply) => {
    const now = await read(id);
    if (wait === undefined || now.endedAt !== undefined) return now;
    await callerWaits.hold(() => whileConnected(raw, closing, (signal) => ends.until(id, timeoutMs, signal)));
    const then = await read(id);
    reply.code(then.endedAt === undefined ? 202 : 200);
    return then;
  };
}

/** How often the database is asked while somebody waits. In ms. */
const pollMs = 200;

/** One per kind of thing and API server. */
export class EndWaits {
  /** name → whoever waits for its end. */
  readonly #waiting = new Map<string, Set<() => void>>();
  #timer: NodeJS.Timeout | undefined;

  /** `ended`: those of the names that have ended, or are not there. */
  constructor(private readonly ended: (names: readonly string[]) => Promise<readonly string[]>) {}

  /** Resolves when it has ended, the time is over, or the signal aborts: the caller reads which. */
  async until(name: string, timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted || timeoutMs <= 0) return;
    const waiting = this.#waiting.get(name) ?? new Set();
    this.#waiting.set(name, waiting);
    let finish = (): void => {};
    const over = new Promise<void>((resolve) => {
      finish = resolve;
    });
    waiting.add(finish);
    const timer = setTimeout(finish, timeoutMs);
    signal.addEventListener("abort", finish, { once: true });
    this.#schedule();
    await over;
    clearTimeout(timer);
    signal.removeEventListener("abort", finish);
    waiting.delete(finish);
    if (waiting.size === 0) this.#waiting.delete(name);
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => void this.#look(), pollMs);
  }

  async #look(): Promise<void> {
    // A database that is away ends no wait: each has its own time.
    const ended = await this.ended([...this.#waiting.keys()]).catch(() => []);
    for (const name of ended) for (const finish of this.#waiting.get(name) ?? []) finish();
    this.#timer = undefined;
    if (this.#waiting.size > ended.length) this.#schedule();
  }
}
