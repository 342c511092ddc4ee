// Callers who wait until a drain or a rebalance has ended, as many as the API lets wait. In: an id and a request. Out: nothing; the
// caller reads what became of it. Called by drains.ts, node-drains.ts and rebalances.ts.
import type { IncomingMessage } from "node:http";
import { Type } from "typebox";
import { DrainWaits } from "../drain/drain-waits.js";
import { AppError } from "../errors.js";
import type { DrainStore } from "../store/store.js";
import type { ApiContext } from "./context.js";
import { milliseconds, object } from "./fields.js";
import { maxWaitMs } from "./write-choices.js";

export const standardEndWaitMs = 60_000;

/** Query of the calls that read one drain. */
export const safeWaitQuery = object({
  wait: Type.Optional(
    Type.Literal("safe", {
      description: "Answer when it has ended (200), safe or not, or when the time is over (202).",
    }),
  ),
  timeoutMs: Type.Optional(milliseconds(0, maxWaitMs, "Longest wait.", standardEndWaitMs)),
});

/** Ends when it has ended, the time is over, the client has gone or the server closes. @throws too_many_requests */
export type EndWait = (id: string, timeoutMs: number, raw: IncomingMessage) => Promise<void>;

/** One per kind: it counts who waits. */
export function createEndWait(
  store: Pick<DrainStore, "ended">,
  { limits: { maxWaits }, metrics, closing }: Pick<ApiContext, "limits" | "metrics" | "closing">,
): EndWait {
  const waits = new DrainWaits(store);
  let waiting = 0;
  return async (id, timeoutMs, raw) => {
    if (waiting >= maxWaits) {
      metrics.count("limit_hits_total", { limit: "api_max_waits" });
      throw new AppError("too_many_requests", { maxWaits, detail: `${maxWaits} callers wait already` });
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
