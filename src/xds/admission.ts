// Which new streams are let in: so many per second, and so many at once that have not got their first configuration. A fleet that comes
// back at once is what it is for: those who are let in are served quickly, the others come again, each at a time of its own.
// Called by server.ts.
import { type LimitName, TokenBucket, type XdsLimits } from "./limits.js";

/** A stream whose Envoy has not answered by then no longer keeps others out. ms */
const firstPushMs = 10_000;
/** Advice to who is turned away: at random within this, so that they do not come back together. ms */
const minRetryMs = 500;
const maxRetryMs = 2_500;

/** `S`: what stands for a stream. */
export class Admission<S> {
  readonly #bucket: TokenBucket;
  /** Streams on their first configuration → since when, oldest first. */
  readonly #first = new Map<S, number>();

  constructor(private readonly limits: Pick<XdsLimits, "newStreamsPerSecond" | "newStreamBurst" | "maxFirstPushes">) {
    this.#bucket = new TokenBucket(limits.newStreamsPerSecond, limits.newStreamBurst);
  }

  /** The limit that keeps one more stream out; undefined: it may come in. */
  turnsAway(now: number): LimitName | undefined {
    for (const [stream, since] of this.#first) {
      if (now - since < firstPushMs) break;
      this.#first.delete(stream);
    }
    if (this.isFull) return "xds_max_first_pushes";
    return this.#bucket.take(now) ? undefined : "xds_new_streams_per_second";
  }

  opened(stream: S, now: number): void {
    this.#first.set(stream, now);
  }
  get isFull(): boolean {
    return this.#first.size >= this.limits.maxFirstPushes;
  }
  /** Those on their first configuration. */
  onFirst(): readonly S[] {
    return [...this.#first.keys()];
  }
  /** It has its first configuration, or is gone. */
  settled(stream: S): void {
    this.#first.delete(stream);
  }

  /** When who is turned away should come again: in ms, another each time. */
  static retryMs(): number {
    return Math.round(minRetryMs + Math.random() * (maxRetryMs - minRetryMs));
  }
}
