// Load of one kind through Envoy, in an open loop: so many exchanges per second are due whether or not the earlier ones were answered, up
// to a bound beyond which they are counted as held back. In: a kind, a port, a rate. Out: a tally. Called by rounds.ts.
import { onCleanup } from "../support/cleanup.js";
import type { Kind } from "./kinds.js";
import { requestsOver } from "./load-of-requests.js";
import { sessionsOver } from "./load-of-sessions.js";
import { Tally } from "./tally.js";

const everyMs = 5;
/** Due at once, at most: what a process that stood still for longer has missed is held back, and told. */
const longestBurstMs = 1_000;

export interface TrafficOptions {
  readonly kind: Kind;
  readonly port: number;
  /** Requests, or messages over all sessions. */
  readonly perSecond: number;
  readonly random: (below: number) => number;
}

/** What sends one exchange at a time. */
export interface Source {
  /** False: too much is under way. */
  send(): boolean;
  /** Begins nothing more, and waits for what is under way. */
  end(): Promise<void>;
}

export interface Traffic {
  readonly tally: Tally;
  /** What is under way is waited for, and counts. */
  stop(): Promise<Tally>;
}

/** Starts it at once. It is stopped when the test file ends. */
export function startTraffic(options: TrafficOptions): Traffic {
  const { kind, perSecond } = options;
  const tally = new Tally();
  const over = kind === "http1" || kind === "http2" ? requestsOver : sessionsOver;
  const source: Source = over({ ...options, tally });
  let last = performance.now();
  let due = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    due += ((now - last) * perSecond) / 1_000;
    last = now;
    const missed = Math.max(0, Math.floor(due - (longestBurstMs * perSecond) / 1_000));
    tally.heldBack += missed;
    for (due -= missed; due >= 1; due--) if (!source.send()) tally.heldBack++;
  }, everyMs);
  const stop = async (): Promise<Tally> => {
    forget();
    clearInterval(timer);
    await source.end();
    return tally;
  };
  const forget = onCleanup(`${kind} traffic`, async () => void (await stop()));
  return { tally, stop };
}
