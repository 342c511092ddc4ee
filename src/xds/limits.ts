// Bounds on what a peer may ask of us; gRPC sets none (DESIGN §8). Each has a name, and a metric counts when it is met.
import type { PushTimes } from "./stream-view.js";

export interface XdsLimits {
  /** HTTP/2 streams on one connection. */
  readonly streamsPerConnection: number;
  /** Requests per second on one stream, and how many may come at once; beyond it the stream is read more slowly. */
  readonly requestsPerSecond: number;
  readonly requestBurst: number;
  /** Largest request, bytes. */
  readonly maxRequestBytes: number;
  /** Names in one subscription. */
  readonly maxNames: number;
  /** Longest node id or cluster. */
  readonly maxNodeIdLength: number;
  /** New streams per second on this replica, and how many at once; beyond it RESOURCE_EXHAUSTED. */
  readonly newStreamsPerSecond: number;
  readonly newStreamBurst: number;
  /** A stream whose writes have not left for this long is cut. */
  readonly writeStallMs: number;
  readonly keepaliveMs: number;
  readonly keepaliveTimeoutMs: number;
  /** An idle ADS stream is ended at about this age, to spread a fleet over replicas; 0: never. */
  readonly streamMaxAgeMs: number;
  readonly times: PushTimes;
}

/** Allows `perSecond` on average and `burst` at once. Time is given, in ms. */
export class TokenBucket {
  #tokens: number;
  #at = 0;

  constructor(
    private readonly perSecond: number,
    private readonly burst: number,
  ) {
    this.#tokens = burst;
  }

  take(now: number): boolean {
    this.#tokens = Math.min(this.burst, this.#tokens + ((now - this.#at) * this.perSecond) / 1_000);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** ms until one may be taken. */
  waitMs(): number {
    return this.#tokens >= 1 ? 0 : Math.ceil(((1 - this.#tokens) * 1_000) / this.perSecond);
  }
}
