// Keeps one child of the demo running: when it ends by itself, says so and starts it again. In: how to start it. Out: its present
// process, and a way to stop it for good. Called by up.ts for the control plane and each Envoy.
import { setTimeout as delay } from "node:timers/promises";
import { exitText, type Running } from "./running.js";

/** A child that is started again when it ends by itself. */
export interface Supervised<T extends Running> {
  /** The process of now. */
  current(): T;
  stop(): Promise<void>;
}

/** A child that ends sooner than this after its start has failed; so many times in a row, and it is given up. */
const soonMs = 5000;
const maxFailures = 5;
const pauseMs = 500;

/** The first start must go well. @throws what `start` throws */
export async function supervise<T extends Running>(
  name: string,
  start: () => Promise<T>,
  say: (line: string) => void,
): Promise<Supervised<T>> {
  let current = await start();
  const stopping = new AbortController();
  const watch = async () => {
    let failures = 0;
    while (!stopping.signal.aborted) {
      const startedAt = Date.now();
      const exit = await current.exited;
      if (stopping.signal.aborted) return;
      failures = Date.now() - startedAt < soonMs ? failures + 1 : 0;
      if (failures >= maxFailures)
        return say(`${name} ended ${maxFailures} times in a row and is not started again; its log: ${current.logFile}`);
      const how = exit.code === null && exit.signal === null ? "" : ` with ${exitText(exit)}`;
      say(`${name} (pid ${current.pid}) ended${how}; starting it again.`);
      current = (await restart(failures)) ?? current;
    }
  };
  /** Tries until it stands, is given up, or is not wanted any more. */
  const restart = async (failures: number): Promise<T | undefined> => {
    await delay(pauseMs * 2 ** failures, undefined, { signal: stopping.signal }).catch(() => undefined); // Rejects when it is stopped.
    if (stopping.signal.aborted) return undefined;
    try {
      const next = await start();
      if (stopping.signal.aborted) await next.stop();
      else say(`${name} is back (pid ${next.pid}).`);
      return next;
    } catch (error) {
      say(error instanceof Error ? error.message : String(error));
      return undefined; // Its old `exited` has resolved, so the watch counts one more failure at once.
    }
  };
  const watching = watch();
  return {
    current: () => current,
    stop: async () => {
      stopping.abort();
      await current.stop();
      await watching;
    },
  };
}
