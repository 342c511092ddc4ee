// Rounds of drains under load: several at once, each stopped at the word "safe" with whatever is on it, and new backends in their place.
// In: a fleet, a kind, how many. Out: what was seen, for tests to judge and people to read. Called by drains.envoy.test.ts.
import { setTimeout as pause } from "node:timers/promises";
import type { Api } from "../support/api-client.js";
import type { Backend } from "./backend.js";
import { replace, type Service } from "./fleet.js";
import type { Tally } from "./tally.js";
import { startTraffic } from "./traffic.js";

/** Far above what a drain takes when nothing keeps it: one that took it all waited for nothing. */
export const drainTimeoutMs = 60_000;
/** Drains of one round begin within this. */
const beginWithinMs = 500;

export interface RoundsOptions {
  readonly api: Api;
  readonly service: Service;
  readonly rounds: number;
  /** Drains at once; the first one has two endpoints, the others one. */
  readonly atOnce: number;
  readonly perSecond: number;
  readonly random: (below: number) => number;
  readonly onRound?: (done: number, tally: Tally) => void;
}

/** One drain, as it ended. */
export interface Drained {
  readonly id: string;
  readonly tookMs: number;
  readonly safeToStop: boolean;
  readonly leftOpen: number;
  readonly outcome: string;
  /** Requests or sessions that its backends had when the word came, by their own count. */
  readonly inUse: number;
  readonly endpoints: number;
}

export interface RoundsResult {
  readonly kind: string;
  readonly drains: readonly Drained[];
  readonly tally: Tally;
  /** Answered per second, over the whole time. */
  readonly perSecond: number;
}

interface DrainBody {
  readonly id: string;
  readonly createdAt: string;
  readonly endedAt: string;
  readonly safeToStop: boolean;
  readonly leftOpen?: number;
  readonly outcome?: string;
}

/** Begins a drain, waits for its end, and stops the processes at once if, and only if, it is said to be safe. */
async function drainAndStop(api: Api, kind: string, leaving: readonly Backend[]): Promise<Drained> {
  const body = { cluster: kind, endpoints: leaving.map(({ address }) => address), timeoutMs: drainTimeoutMs };
  const id = String((await api.post("/v1/drains", body)).object?.["id"]);
  const ended = await api.get<DrainBody>(`/v1/drains/${id}?wait=safe&timeoutMs=${drainTimeoutMs + 20_000}`);
  const inUse = leaving.reduce((sum, backend) => sum + backend.inUse(), 0);
  if (ended.safeToStop) await Promise.all(leaving.map((backend) => backend.stop()));
  return {
    id,
    tookMs: Date.parse(ended.endedAt) - Date.parse(ended.createdAt),
    safeToStop: ended.safeToStop,
    leftOpen: ended.leftOpen ?? 0,
    outcome: ended.outcome ?? "",
    inUse,
    endpoints: leaving.length,
  };
}

export async function drainRounds({
  api,
  service,
  rounds,
  atOnce,
  perSecond,
  random,
  onRound,
}: RoundsOptions): Promise<RoundsResult> {
  const { kind, port, backends } = service;
  const traffic = startTraffic({ kind, port, perSecond, random });
  const drains: Drained[] = [];
  for (let round = 0; round < rounds; round++) {
    const leaving = backends.splice(0, atOnce + 1);
    const drainOne = async (at: number): Promise<Drained> => {
      await pause(random(beginWithinMs));
      return drainAndStop(api, kind, at === 0 ? leaving.slice(0, 2) : leaving.slice(at + 1, at + 2));
    };
    drains.push(...(await Promise.all(Array.from({ length: atOnce }, (_, at) => drainOne(at)))));
    await replace(api, service, leaving, round);
    onRound?.(round + 1, traffic.tally);
  }
  const seconds = traffic.tally.seconds();
  const answered = traffic.tally.answered;
  const tally = await traffic.stop();
  return { kind, drains, tally, perSecond: answered / seconds };
}

/** A row for each kind. */
export function tableOf(results: readonly RoundsResult[]): string {
  const rows = results.map(({ kind, drains, tally, perSecond }) => {
    const took = drains.map(({ tookMs }) => tookMs).sort((a, b) => a - b);
    const seconds = (ms = 0): string => (ms / 1_000).toFixed(1);
    const sum = (of: (one: Drained) => number): number => drains.reduce((total, one) => total + of(one), 0);
    return [
      kind,
      drains.length,
      sum(({ endpoints }) => endpoints),
      tally.answered,
      tally.sessions,
      perSecond.toFixed(0),
      tally.heldBack,
      tally.failed(),
      seconds(took[Math.floor(took.length / 2)]),
      seconds(took.at(-1)),
      sum(({ safeToStop }) => (safeToStop ? 1 : 0)),
      sum(({ leftOpen }) => leftOpen),
      sum(({ inUse }) => inUse),
    ].map(String);
  });
  const head = [
    "kind",
    "drains",
    "stopped",
    "answered",
    "sessions",
    "per s",
    "held back",
    "errors",
    "median s",
    "longest s",
    "safe",
  ];
  const table = [[...head, "leftOpen", "in use at the word"], ...rows];
  const widths = table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? [];
  return table.map((row) => row.map((cell, column) => cell.padStart(widths[column] ?? 0)).join("  ")).join("\n");
}
