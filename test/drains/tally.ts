// What a load counts: exchanges, sessions, and every failure by what it was. Called by load-of-requests.ts and load-of-sessions.ts.

/** First failures that are kept with their time. */
const maxKept = 50;

export class Tally {
  readonly #startedAt = performance.now();
  /** Requests, or messages, that were sent, and that were answered. */
  sent = 0;
  answered = 0;
  /** Sessions that came to their end; 0 for requests. */
  sessions = 0;
  /** Due, and not sent because too much waited for an answer: the load that was asked for was not there. */
  heldBack = 0;
  /** what → how often. */
  readonly errors = new Map<string, number>();
  /** `12.3 s: closed`: the first ones. */
  readonly first: string[] = [];

  fail(what: string): void {
    this.errors.set(what, (this.errors.get(what) ?? 0) + 1);
    if (this.first.length < maxKept) this.first.push(`${this.seconds().toFixed(1)} s: ${what}`);
  }
  /** What failed most often. */
  commonest(): string {
    const [most] = [...this.errors].sort(([, one], [, other]) => other - one);
    return most ? `${most[0]} (${most[1]} times)` : "nothing";
  }
  seconds(): number {
    return (performance.now() - this.#startedAt) / 1_000;
  }
  failed(): number {
    return [...this.errors.values()].reduce((sum, count) => sum + count, 0);
  }
}
