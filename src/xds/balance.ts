// Whether this replica has clearly more than its share of the Envoys, and how many streams it ends now because of that. Envoys stay where
// they are for months; a replica that is added would have none. In: what each live replica said with its last beat. Called by server.ts.
// Consul sheds above 1.1 × the share, 1–10 streams/s. That alone leaves the newest of n replicas at 1 - 0.1 (n - 1) of its share: so here
// the one with the least counts, too.
import type { Shares } from "../status/fleet.js";
import type { Logger } from "../telemetry/logger.js";

/** Shares are even while all are within these parts of the mean, give or take one Envoy. */
const most = 1.1;
const least = 0.85;
/** Of the own streams, ended per second: whatever the size, halving takes 35 s. */
const partPerSecond = 0.02;
/** An Envoy that is let go may come to any replica, this one among them: so many times the surplus and the replicas are let go, no more. */
const tries = 3;
/** Shares must have been uneven for so long, between the same replicas, with nobody turned away: after a storm they may settle by themselves. */
const settleMs = 10_000;
/** Until it is tried again. */
const restMs = 30 * 60_000;

/** Envoys above the mean, if shares are uneven; 0 where they are even, or there is no other replica. */
export function surplusOf({ own, others }: Shares): number {
  const counts = [...others.values()];
  if (counts.length === 0) return 0;
  const mean = (own + counts.reduce((sum, count) => sum + count, 0)) / (counts.length + 1);
  const isUneven = own > most * mean + 1 || Math.min(...counts) < least * mean - 1;
  return isUneven ? Math.max(0, Math.floor(own - mean)) : 0;
}

export interface BalanceOptions {
  /** Most streams to be ended per second; 0: none ever. */
  readonly maxPerSecond: number;
  /** When a new stream was last turned away here, ms. */
  readonly turnedAwayAt: () => number;
  /** undefined: not known, as the database is away. */
  readonly shares: () => Shares | undefined;
  readonly log: Logger;
  readonly now: () => number;
}

export class Balance {
  /** Streams that may still be ended before it is given up; undefined: shares were even. */
  #left: number | undefined;
  /** The others when that was reckoned. */
  #others = "";
  #restsUntil = Number.NEGATIVE_INFINITY;
  /** Since when shares have been uneven; undefined: they are even. */
  #unevenSince: number | undefined;

  constructor(private readonly options: BalanceOptions) {}

  /** How many idle streams to end now; to be asked once per second. */
  due(): number {
    const { log, maxPerSecond, now, shares: read, turnedAwayAt } = this.options;
    const shares = maxPerSecond > 0 ? read() : undefined;
    const surplus = shares ? surplusOf(shares) : 0;
    if (!shares || surplus === 0) {
      this.#left = undefined;
      this.#unevenSince = undefined;
      return 0;
    }
    const others = [...shares.others.keys()].sort().join(" ");
    if (others !== this.#others) {
      this.#restsUntil = Number.NEGATIVE_INFINITY;
      this.#left = undefined;
      this.#unevenSince = undefined;
    }
    this.#others = others;
    this.#unevenSince ??= now();
    if (now() < this.#restsUntil || now() - Math.max(this.#unevenSince, turnedAwayAt()) < settleMs) return 0;
    if (this.#left === undefined) {
      this.#left = surplus * (shares.others.size + 1) * tries;
      log.info(
        { ...shares, others: Object.fromEntries(shares.others), surplus },
        "more than its share of the Envoys: some are let go",
      );
    }
    const due = Math.min(surplus, this.#left, Math.max(1, Math.min(maxPerSecond, Math.floor(shares.own * partPerSecond))));
    this.#left -= due;
    if (this.#left <= 0) {
      this.#restsUntil = now() + restMs;
      this.#left = undefined;
      log.warn(
        { own: shares.own, others: Object.fromEntries(shares.others) },
        "Envoys that are let go come back: do they know the other replicas?",
      );
    }
    return due;
  }
}
