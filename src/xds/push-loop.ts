// Publications to streams: the ones whose gateway changed, a hundred in one turn of the event loop, so that the admin API on the
// same thread goes on answering (3,000 streams in one turn are 150 ms, measured). Also wakes streams that wait for a time.
// In: publications of Snapshots. Out: `pump` of each.
import type { GatewaySnapshot } from "../snapshot/gateway-snapshot.js";
import type { Metrics } from "../telemetry/metrics.js";

/** What the loop knows of a stream. */
export interface PushedStream {
  readonly snapshot: GatewaySnapshot | undefined;
  /** Set while a publication waits to be sent to this stream. */
  isDirty: boolean;
  /** When the stream wants to be pumped, ms; Infinity: only when something comes. */
  readonly wakeAt: number;
  pump(): void;
}

/**
 * Streams pumped in one turn. What is left waits for the answers of those: with 50, the last of 100 had a change after 37 ms in place of 23 (medians of 5
 * pairs). CPU is the same with 50, 100 and 200.
 */
const maxPerTurn = 100;
/** Streams that wait for a time are looked at no oftener, ms: the grain of every time in the xds room. */
const grainMs = 25;
/** All streams are looked at this often though none waits for a time: for stalls, ages. A look at 1,000 of them is 0.5 ms. */
const lookMs = 250;

export class PushLoop<Stream extends PushedStream> {
  /** snapshot → streams on it. */
  readonly #streams = new Map<GatewaySnapshot, Set<Stream>>();
  #dirty: Stream[] = [];
  #isRunning = false;
  #startedAt = 0;
  /** When the streams are looked at next, ms. */
  #lookAt = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  /** `onLook`: for each stream at each look; true: this stream waits for something that nothing announces, so look again soon. */
  constructor(
    private readonly metrics: Metrics,
    private readonly now: () => number,
    private readonly onLook: (call: Stream, now: number) => boolean,
  ) {
    this.#lookIn(lookMs, now());
  }

  /** Some stream is to be looked at `at`. For each push and each answer, so next to nothing when a look before that is planned. */
  wake(at: number, now: number): void {
    const soonest = now + grainMs;
    if (Math.max(at, soonest) < this.#lookAt) this.#lookIn(Math.max(at, soonest) - now, now);
  }

  add(call: Stream): void {
    if (!call.snapshot) return;
    const streams = this.#streams.get(call.snapshot) ?? new Set();
    streams.add(call);
    this.#streams.set(call.snapshot, streams);
  }

  remove(call: Stream): void {
    if (!call.snapshot) return;
    const streams = this.#streams.get(call.snapshot);
    streams?.delete(call);
    if (streams?.size === 0) this.#streams.delete(call.snapshot);
  }

  *calls(): Iterable<Stream> {
    for (const streams of this.#streams.values()) yield* streams;
  }

  /** Latest wins: a stream that has not been reached yet is pumped once, with what is newest then. */
  published(changed: ReadonlySet<GatewaySnapshot>): void {
    for (const snapshot of changed) {
      for (const call of this.#streams.get(snapshot) ?? []) {
        if (call.isDirty) continue;
        call.isDirty = true;
        this.#dirty.push(call);
      }
    }
    if (this.#isRunning || this.#dirty.length === 0) return;
    this.#isRunning = true;
    this.#startedAt = performance.now();
    this.#turn();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#lookAt = Number.NEGATIVE_INFINITY;
    this.#dirty = [];
  }

  #turn(): void {
    const now = this.#dirty.splice(0, maxPerTurn);
    for (const call of now) {
      call.isDirty = false;
      call.pump();
    }
    if (this.#dirty.length > 0) {
      setImmediate(() => this.#turn());
      return;
    }
    this.#isRunning = false;
    this.metrics.observe("xds_push_seconds", {}, (performance.now() - this.#startedAt) / 1_000);
  }

  #lookIn(ms: number, now: number): void {
    clearTimeout(this.#timer);
    this.#lookAt = now + ms;
    this.#timer = setTimeout(() => this.#look(), ms).unref();
  }

  #look(): void {
    const now = this.now();
    const soonest = now + grainMs;
    this.#lookAt = now + lookMs;
    let next = this.#lookAt;
    for (const call of this.calls()) {
      if (call.wakeAt <= now) call.pump();
      const isUrgent = this.onLook(call, now);
      next = Math.min(next, isUrgent ? soonest : Math.max(call.wakeAt, soonest));
    }
    this.#lookIn(next - now, now);
  }
}
