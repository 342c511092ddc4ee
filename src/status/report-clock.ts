// When a report was made, in this replica's time, though it says only how much time lies between it and the one before it. What was
// received late (a stalled process, a full pipe) was made earlier, and must not count as fresh. Pure. Owned by: loads.ts.

/** How fast an Envoy's clock may run against ours: 100 ms in 1,000 s. */
const driftAllowance = 1e-4;
/** Reports that lag longer than this, evenly, are no queue: a clock was set or a machine slept. */
const maxLagMs = 5_000;
const evenReportsBeforeRebase = 10;

/**
 * The least delay that a stream ever had is its measure: elapsed time by the Envoy's clock, plus that. What comes later than this
 * says was on its way for so long. The least delay creeps up with `driftAllowance`, so that a slow clock does not make it stale.
 */
export class ReportClock {
  #offset = Number.POSITIVE_INFINITY;
  #elapsed = 0;
  #isTrusted = false;
  #even = 0;

  #receivedAt: number;

  /** `openedAt`: when the stream was, which the first step can't begin before; -Infinity: nothing is known of that. */
  constructor(openedAt = Number.NEGATIVE_INFINITY) {
    this.#receivedAt = openedAt;
  }

  /**
   * `stepMs`: Envoy's time since the report before. Returns when this one was made; undefined while that is not known: the first
   * reports of a stream may come in one burst out of a queue.
   */
  received(stepMs: number, receivedAt: number): number | undefined {
    const spacing = receivedAt - this.#receivedAt;
    this.#receivedAt = receivedAt;
    this.#elapsed += stepMs;
    const isEven = spacing > stepMs / 2 && spacing < stepMs * 1.5;
    this.#even = isEven ? this.#even + 1 : 0;
    if (isEven) this.#isTrusted = true;
    const offset = receivedAt - this.#elapsed;
    const isLagging = offset - this.#offset > maxLagMs;
    if (isLagging && this.#even >= evenReportsBeforeRebase) this.#offset = offset;
    else this.#offset = Math.min(offset, this.#offset + Math.max(0, stepMs) * driftAllowance);
    if (!isLagging) this.#even = 0;
    return this.#isTrusted ? this.#offset + this.#elapsed : undefined;
  }
}
