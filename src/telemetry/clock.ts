// Time, as an argument: so that a test moves it by hand and nothing waits for real. Deadlines that replicas share are on the
// database's clock, never on this one.

/** A source of time that a test can be. */
export interface Clock {
  /** ms since the epoch. */
  now(): number;
  /** Runs `task` once, `delayMs` from now. Returns how to call it off. */
  after(delayMs: number, task: () => void): () => void;
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, task) {
    const timer = setTimeout(task, delayMs);
    return () => clearTimeout(timer);
  },
};

/** `delayMs` plus or minus a quarter, at random: so that replicas do not act in step. */
export function withJitter(delayMs: number): number {
  return delayMs * (0.75 + Math.random() / 2);
}

/** Full jitter: anything up to `baseMs` doubled with each failure, at most `maxMs`. At least 1 ms. */
export function backOffMs(failures: number, baseMs: number, maxMs: number): number {
  return Math.max(1, Math.random() * Math.min(maxMs, baseMs * 2 ** Math.min(failures, 20)));
}
