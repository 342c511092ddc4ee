// A loop that looks into the database again and again, one look at a time: what the jobs of every replica have in common. In: a look. Out:
// looks, and one log line when the database goes away and one when it is back. Its timer only says when to look: what is due says the
// database's clock. Called by drain/ and rollout/.
import { failureFacts, type Logger } from "./logger.js";

/** Tells a loop when it may rest. */
export interface LookedFor {
  /** False: there was nothing a moment ago. */
  mayBe(): boolean;
  /** Calls when something has come where nothing was. Returns the unsubscription. */
  onCame(callback: () => void): () => void;
}

/** What a loop is made of. */
export interface LookLoopOptions {
  /** What stands still while the database is away, for the log: "drains". */
  readonly what: string;
  /** One look. Returns when to look again, in ms. May fail as a whole; steps within it should not keep each other. */
  readonly look: () => Promise<number>;
  /** Whether there is anything to look for, as somebody else has seen it; while there is not, no look is taken. Left out: always. */
  readonly work?: LookedFor;
  /** After a look that failed. In ms. */
  readonly retryMs: number;
  readonly log: Logger;
}

/** Between `start` and `stop`; one per kind of job and replica. */
export class LookLoop {
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #again = false;
  #state: "new" | "running" | "stopped" = "new";
  #isDown = false;
  #stopListening: (() => void) | undefined;

  constructor(private readonly options: LookLoopOptions) {}

  /** False from `stop` on: a look that is under way takes no further step. */
  get isRunning(): boolean {
    return this.#state === "running";
  }

  start(): void {
    this.#state = "running";
    this.#stopListening = this.options.work?.onCame(() => this.wake());
    this.wake();
  }

  /** Something may have changed: look now, or once more after the look that is under way. */
  wake(): void {
    if (!this.isRunning) return;
    if (this.#looking) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    this.#looking = this.#look().then((pollMs) => {
      this.#looking = undefined;
      if (!this.isRunning) return;
      if (this.#again) {
        this.#again = false;
        this.wake();
      } else this.#rest(pollMs);
    });
  }

  #rest(ms: number): void {
    this.#timer = setTimeout(() => (this.options.work?.mayBe() === false ? this.#rest(ms) : this.wake()), ms);
  }

  /** Waits for the look that is under way. */
  async stop(): Promise<void> {
    this.#state = "stopped";
    this.#stopListening?.();
    clearTimeout(this.#timer);
    await this.#looking;
  }

  /** Never fails. */
  async #look(): Promise<number> {
    const { log, look, retryMs, what } = this.options;
    try {
      const pollMs = await look();
      if (this.#isDown) log.info({}, `${what} go on: the database is back`);
      this.#isDown = false;
      return pollMs;
    } catch (error) {
      if (!this.#isDown) log.warn(failureFacts(error), `${what} stand still: the database does not answer`);
      this.#isDown = true;
      return retryMs;
    }
  }
}
