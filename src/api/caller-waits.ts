// Callers who are kept waiting (`?wait=`), for Envoys, drains or rollouts: how many there may be, and when one has gone.
// Called by writes.ts, drains.ts and rollouts.ts.
import type { IncomingMessage } from "node:http";
import { AppError } from "../errors.js";
import type { Metrics } from "../telemetry/metrics.js";

/** One per API server. */
export class CallerWaits {
  #count = 0;

  constructor(
    private readonly maxWaits: number,
    private readonly metrics: Metrics,
  ) {}

  /** Runs `wait` as one of those that there may be at once. @throws too_many_requests, before `wait` has begun */
  async hold<T>(wait: () => Promise<T>): Promise<T> {
    const { maxWaits } = this;
    if (this.#count >= maxWaits) {
      this.metrics.count("limit_hits_total", { limit: "api_max_waits" });
      throw new AppError("too_many_requests", { maxWaits, detail: `${maxWaits} callers wait already; nothing was changed` });
    }
    this.#count++;
    try {
      return await wait();
    } finally {
      this.#count--;
    }
  }
}

/** Runs `wait` with a signal that aborts when the client has gone, or the server closes. */
export async function whileConnected<T>(
  { socket }: Pick<IncomingMessage, "socket">,
  closing: AbortSignal,
  wait: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const gone = new AbortController();
  const onClose = (): void => gone.abort();
  if (socket.destroyed) onClose();
  socket.once("close", onClose);
  try {
    return await wait(AbortSignal.any([closing, gone.signal]));
  } finally {
    socket.off("close", onClose);
  }
}
