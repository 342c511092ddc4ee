// Bounded load through Envoy: workers on kept connections and workers that connect anew, every answer counted.
// In: what to ask, how fast. Out: counts by status and backend, and each failure with its time. Called by the feature tests.
import { Agent } from "node:http";
import { onCleanup } from "./cleanup.js";
import { type RequestOptions, type Response, send } from "./requests.js";

/** What to ask next; undefined: nothing just now. */
export type NextRequest = () => Omit<RequestOptions, "agent"> | undefined;

export interface LoadOptions {
  readonly next: NextRequest;
  /** Workers that keep their connection, and workers that open one per request. */
  readonly keepAlive?: number;
  readonly newConnections?: number;
  /** Over all workers, at most; default 400. 0: as fast as it goes. */
  readonly requestsPerSecond?: number;
  /** It ends by itself after this many requests, and in any case after `maxMs` (default 120,000). */
  readonly maxRequests?: number;
  readonly maxMs?: number;
  /** True when this answer is no failure. Default: a 2xx from a backend. */
  readonly accepts?: (response: Response, asked: Omit<RequestOptions, "agent">, startedAt: number) => boolean;
}

export interface Failure {
  readonly at: number;
  readonly asked: string;
  readonly what: string;
}

export interface LoadCounts {
  readonly total: number;
  /** Status → count; 0 for no answer. */
  readonly byStatus: ReadonlyMap<number, number>;
  /** Backend → count; "" for answers of Envoy's own. */
  readonly byBackend: ReadonlyMap<string, number>;
  /** The first 200, in order. */
  readonly failures: readonly Failure[];
  readonly failed: number;
}

export interface Load {
  counts(): LoadCounts;
  /** Ends it and waits for the requests under way. */
  stop(): Promise<LoadCounts>;
  /** Resolves when it ended by itself. */
  readonly done: Promise<LoadCounts>;
}

const maxFailuresKept = 200;
const increment = <K>(map: Map<K, number>, key: K): Map<K, number> => map.set(key, (map.get(key) ?? 0) + 1);
const fromBackend = (response: Response): boolean =>
  response.backend !== undefined && response.status >= 200 && response.status < 300;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

class Tally {
  total = 0;
  failed = 0;
  readonly byStatus = new Map<number, number>();
  readonly byBackend = new Map<string, number>();
  readonly failures: Failure[] = [];

  answer(response: Response): void {
    this.total++;
    increment(this.byStatus, response.status);
    increment(this.byBackend, response.backend ?? "");
  }
  noAnswer(): void {
    this.total++;
    increment(this.byStatus, 0);
  }
  failure(asked: Omit<RequestOptions, "agent">, what: string): void {
    this.failed++;
    const { method = "GET", host = "", path = "/" } = asked;
    if (this.failures.length < maxFailuresKept)
      this.failures.push({ at: performance.now(), asked: `${method} ${host}${path}`, what });
  }
}

async function ask(
  options: LoadOptions,
  tally: Tally,
  asked: Omit<RequestOptions, "agent">,
  agent: Agent | undefined,
): Promise<void> {
  const startedAt = performance.now();
  try {
    const response = await send(agent ? { ...asked, agent } : asked);
    tally.answer(response);
    if (!(options.accepts ?? fromBackend)(response, asked, startedAt)) {
      tally.failure(asked, `${response.status} from ${response.backend ?? "Envoy"}: ${response.body.slice(0, 200)}`);
    }
  } catch (error) {
    tally.noAnswer();
    tally.failure(asked, error instanceof Error ? error.message : String(error));
  }
}

/** Starts it at once. It is stopped when the test file ends. */
export function startLoad(options: LoadOptions): Load {
  const { next, keepAlive = 4, newConnections = 0, requestsPerSecond = 400, maxRequests = Number.POSITIVE_INFINITY } = options;
  const tally = new Tally();
  const end = performance.now() + (options.maxMs ?? 120_000);
  const agent = new Agent({ keepAlive: true, maxSockets: keepAlive });
  const workers = keepAlive + newConnections;
  const everyMs = requestsPerSecond === 0 ? 0 : (1_000 * workers) / requestsPerSecond;
  let started = 0;
  let stopped = false;
  const mayGoOn = (): boolean => !stopped && started < maxRequests && performance.now() < end;

  const work = async (kept: boolean, index: number): Promise<void> => {
    let due = performance.now() + (everyMs * index) / workers;
    while (mayGoOn()) {
      const early = due - performance.now();
      if (early > 0) await pause(early);
      // A worker that fell behind does not catch up in a burst.
      due = Math.max(due, performance.now() - everyMs) + everyMs;
      const asked = mayGoOn() ? next() : undefined;
      if (!asked) {
        if (everyMs === 0) await pause(1);
        continue;
      }
      started++;
      await ask(options, tally, asked, kept ? agent : undefined);
    }
  };
  const done = Promise.all(Array.from({ length: workers }, (_, index) => work(index < keepAlive, index))).then(() => {
    agent.destroy();
    forget();
    return tally as LoadCounts;
  });
  const stop = (): Promise<LoadCounts> => {
    stopped = true;
    return done;
  };
  const forget = onCleanup("load", async () => {
    await stop();
  });
  return { counts: () => tally, stop, done };
}

/** Sends exactly `count` requests as fast as they go, over 8 kept connections, and counts who answered. */
export function sendMany(count: number, asked: Omit<RequestOptions, "agent">): Promise<LoadCounts> {
  return startLoad({ next: () => asked, keepAlive: 8, requestsPerSecond: 0, maxRequests: count }).done;
}
