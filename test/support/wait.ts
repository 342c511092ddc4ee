// Bounded polling: the only way in which a test waits. In: a question. Out: its first true answer, or an error with the last one.
// Called by every test that waits for a revision, an Envoy, a process or a count.

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** How long to ask, and how often. Times in ms. */
export interface Patience {
  readonly timeoutMs?: number;
  readonly everyMs?: number;
}

/**
 * Asks until the answer is truthy, and gives it. A question that throws is asked again.
 * @throws Error naming `what`, the time and the last answer or error, after `timeoutMs` (default 15,000).
 */
export async function waitFor<T>(
  what: string,
  question: () => T | Promise<T>,
  { timeoutMs = 15_000, everyMs = 25 }: Patience = {},
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs;
  let last = "never asked";
  for (;;) {
    try {
      const answer = await question();
      if (answer) return answer;
      last = `answered ${JSON.stringify(answer) ?? String(answer)}`;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    if (performance.now() >= deadline) throw new Error(`${what}: not within ${timeoutMs} ms; last: ${last}`);
    await pause(everyMs);
  }
}

/** Checks that something stays true for a while, which no event can tell. @throws Error at the first time it is not. */
export async function staysTrue(what: string, holds: () => boolean | Promise<boolean>, forMs: number): Promise<void> {
  const end = performance.now() + forMs;
  while (performance.now() < end) {
    if (!(await holds())) throw new Error(`${what}: no longer true`);
    await pause(25);
  }
}
