// A small production for chaos runs: a Postgres of its own and replicas on it as processes of their own, and the faults that befall them.
// In: how often each is killed. Out: the verdict on what is left. Called by chaos.pg.test.ts.
import { setTimeout as pause } from "node:timers/promises";
import { migrate } from "../../src/store/migrate.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { type Replica, startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { judge, type Verdict } from "./checker.js";
import { readEvidence } from "./evidence.js";
import type { RunHistory } from "./history.js";
import { type KillablePostgres, startKillablePostgres } from "./killable-postgres.js";
import type { Writers } from "./writers.js";

/** What can be killed. */
export type Victim = "replica" | "postgres";

/** Everything that a fault may befall. */
export interface ChaosWorld {
  readonly postgres: KillablePostgres;
  readonly replicas: readonly Replica[];
  readonly urls: readonly string[];
}

/** A replica starts while Postgres is killed again and again: on a machine with ten times its work that took longer than 30 s. */
const readyWithinMs = 120_000;

/** `settings` are Postgres's own. Two replicas: one is left to write to while the other one is away. */
export async function startChaosWorld(settings: Readonly<Record<string, string>> = {}): Promise<ChaosWorld> {
  const postgres = await startKillablePostgres(settings);
  await migrate(postgres.url, createLogger("silent"));
  const start = (id: string): Promise<Replica> =>
    startReplica({ databaseUrl: postgres.url, id, env: { CHANCERY_LOG_LEVEL: "warn", CHANCERY_POLL_MS: "200" }, readyWithinMs });
  const replicas = await Promise.all([start("replica-a"), start("replica-b")]);
  return { postgres, replicas, urls: replicas.map(({ api }) => api.url) };
}

/** How a loop of faults goes on. */
export interface KillOptions {
  readonly writers: Writers;
  /** How often each is killed. */
  readonly kills: Readonly<Record<Victim, number>>;
  readonly random: (below: number) => number;
  /** Writes that must be acknowledged between two turns: a run in which nothing gets through shows nothing. */
  readonly ackedBetween: number;
  /** Told after each turn, with how often each was killed. */
  readonly onTurn?: (done: Readonly<Record<Victim, number>>) => void;
}

/** A fault strikes within this after its turn has come: in the middle of whatever the writers are at. */
const strikeWithinMs = 120;
/** Longest wait for the writers to get through again. */
const recoverWithinMs = 30_000;

/**
 * Kills and starts again while the writers go on; resolves when everything is up after the last kill. Replicas take turns, and the next
 * one goes as soon as the last one is back; Postgres does not wait for them, so that it also goes while a replica starts.
 */
export async function killAndRestart(world: ChaosWorld, options: KillOptions): Promise<void> {
  const { writers, kills, random, ackedBetween, onTurn } = options;
  const done: Record<Victim, number> = { replica: 0, postgres: 0 };
  let isBack = true;
  let hasFailed = false;
  let back = Promise.resolve();
  while (done.replica < kills.replica || done.postgres < kills.postgres) {
    if (hasFailed) await back;
    const wanted = writers.acked + ackedBetween;
    const what = `${ackedBetween} writes are acknowledged after ${JSON.stringify(done)}`;
    await waitFor(what, () => writers.acked >= wanted, { timeoutMs: recoverWithinMs, everyMs: 5 });
    if (isBack && done.replica < kills.replica) {
      isBack = false;
      back = strikeReplica(world.replicas[done.replica % world.replicas.length], random(strikeWithinMs)).then(() => {
        isBack = true;
      });
      back.catch(() => (hasFailed = true)); // Thrown where it is waited for, below.
      done.replica += 1;
    }
    if (done.postgres < kills.postgres) {
      await strikePostgres(world.postgres, random(strikeWithinMs));
      done.postgres += 1;
    } else await back;
    onTurn?.(done);
  }
  await back;
}

async function strikeReplica(replica: Replica | undefined, afterMs: number): Promise<void> {
  await pause(afterMs);
  await replica?.kill();
  await replica?.start();
}

async function strikePostgres(postgres: KillablePostgres, afterMs: number): Promise<void> {
  await pause(afterMs);
  await postgres.crash();
  await postgres.start();
}

/** Ends the writers and looks at what is left. */
export async function judgeRun(world: ChaosWorld, writers: Writers): Promise<{ history: RunHistory; verdict: Verdict }> {
  const attempts = await writers.stop();
  const history = { attempts, ...(await readEvidence(world.postgres.url, world.replicas)) };
  return { history, verdict: judge(history) };
}

/** One line for people: `1,204 acknowledged of 1,204 writes in 1,311 tries, …`. */
export function summaryOf({ attempts, revisions }: RunHistory): string {
  const count = (outcome: string): number => attempts.filter((attempt) => attempt.outcome === outcome).length;
  const tries = attempts.reduce((total, attempt) => total + attempt.tries, 0);
  return `${attempts.length} writes in ${tries} tries: ${count("acked")} acknowledged, ${count("refused")} refused, ${count("unknown")} unknown; ${revisions.length} revisions`;
}
