// Requests that came in and are not answered yet: counted for a gauge, and waited for at an orderly stop.
// Called by server.ts.

/** Counts requests; one server has one. */
export class InFlight {
  #count = 0;
  #onNone: (() => void)[] = [];

  /** `onCount` is told every new count. */
  constructor(private readonly onCount: (count: number) => void) {}

  get count(): number {
    return this.#count;
  }

  /** A request came in. The result is to be called once, when its answer is out or its client has gone. */
  begin(): () => void {
    this.onCount(++this.#count);
    return () => {
      this.onCount(--this.#count);
      if (this.#count > 0) return;
      for (const resolve of this.#onNone) resolve();
      this.#onNone = [];
    };
  }

  /** Resolves when none is left, or at once when there is none. */
  none(): Promise<void> {
    return this.#count === 0 ? Promise.resolve() : new Promise((resolve) => this.#onNone.push(resolve));
  }
}
