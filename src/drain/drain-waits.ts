// Callers who wait until a drain has ended, all of them with one look at the database. In: ids. Out: promises. Called by api/drains.ts.
import type { DrainStore } from "../store/store.js";

/** How often the database is asked while somebody waits. In ms. */
const pollMs = 200;

/** One per API server. */
export class DrainWaits {
  /** drain → whoever waits for its end. */
  readonly #waiting = new Map<string, Set<() => void>>();
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly store: Pick<DrainStore, "ended">) {}

  /** Resolves when it has ended, the time is over, or the signal aborts: the caller reads which. */
  async until(id: string, timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted || timeoutMs <= 0) return;
    const waiting = this.#waiting.get(id) ?? new Set();
    this.#waiting.set(id, waiting);
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
    if (waiting.size === 0) this.#waiting.delete(id);
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => void this.#look(), pollMs);
  }

  async #look(): Promise<void> {
    // A database that is away ends no wait: each has its own time.
    const ended = await this.store.ended([...this.#waiting.keys()]).catch(() => []);
    for (const id of ended) for (const finish of this.#waiting.get(id) ?? []) finish();
    this.#timer = undefined;
    if (this.#waiting.size > ended.length) this.#schedule();
  }
}
