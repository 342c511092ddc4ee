// Waiting for the end of a drain, of endpoints or of an Envoy: bounded in number, and over when the caller hangs up or the server closes.
// In: ids. Out: promises; the caller reads what has become of it. Called by drains.ts and node-drains.ts.
import type { IncomingMessage } from "node:http";
import { Type } from "typebox";
import { DrainWaits } from "../drain/drain-waits.js";
import { AppError } from "../errors.js";
import type { ApiContext } from "./context.js";
import { milliseconds, object } from "./fields.js";
import { maxWaitMs } from "./write-choices.js";

export const standardDrainWaitMs = 60_000;

/** Query of the calls that read one drain. */
export const drainReadQuery = object({
  wait: Type.Optional(
    Type.Literal("safe", {
      description: "Answer when it has ended (200), safe or not, or when the time is over (202).",
    }),
  ),
  timeoutMs: Type.Optional(milliseconds(0, maxWaitMs, "Longest wait.", standardDrainWaitMs)),
});

/** Resolves at the drain's end, or when the time is over. @throws too_many_requests */
export type WaitForDrain = (id: string, timeoutMs: number, raw: IncomingMessage) => Promise<void>;

/** One for each kind of drain. */
export function createDrainWait(
  store: ConstructorParameters<typeof DrainWaits>[0],
  { limits, metrics, closing }: Pick<ApiContext, "limits" | "metrics" | "closing">,
): WaitForDrain {
  const waits = new DrainWaits(store);
  let waiting = 0;
  return async (id, timeoutMs, raw) => {
    if (waiting >= limits.maxWaits) {
      metrics.count("limit_hits_total", { limit: "api_max_waits" });
      throw new AppError("too_many_requests", { maxWaits: limits.maxWaits, detail: `${limits.maxWaits} callers wait already` });
    }
    waiting++;
    const gone = new AbortController();
    const onClose = (): void => gone.abort();
    raw.socket.once("close", onClose);
    try {
      await waits.until(id, timeoutMs, AbortSignal.any([closing, gone.signal]));
    } finally {
      waiting--;
      raw.socket.off("close", onClose);
    }
  };
}
