// Kill -9 of replicas and of Postgres in a loop, under writers that count what was acknowledged: nothing of it is lost, nothing is done
// twice, no revision is missing, and the history is whole. The same harness finds loss where Postgres is told not to wait for its log,
// and writes done twice where writers ask again without a key. `npm run chaos -- --cycles 1000` is the same for longer.
import { describe, expect, test } from "vitest";
import { randomFrom } from "../plan/random-writes.js";
import { freshDatabase } from "../support/postgres.js";
import { startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { faultsIn, judge, type Verdict } from "./checker.js";
import { readEvidence } from "./evidence.js";
import { judgeRun, killAndRestart, startChaosWorld, summaryOf } from "./world.js";
import { startWriters } from "./writers.js";

const cycles = Number(process.env["CHANCERY_CHAOS_CYCLES"] ?? 50);
const seed = Number(process.env["CHANCERY_CHAOS_SEED"] ?? 7_004);
const isLong = cycles > 50;
/** A replica is away for longer than Postgres (2 s, alone on two cores): in the short run it is killed less often, so that both end together. */
const kills = {
  postgres: cycles,
  replica: Number(process.env["CHANCERY_CHAOS_REPLICA_KILLS"] ?? (isLong ? cycles : cycles / 5)),
};
/** 0.6 s for Postgres and 2 s for a replica on two free cores; this is for two busy ones. */
const longestCycleMs = 10_000;

const kinds = (verdict: Verdict): string[] =>
  Object.entries(verdict).flatMap(([kind, found]: [string, readonly string[]]) => (found.length > 0 ? [kind] : []));

test(`${kills.postgres} kills of Postgres and ${kills.replica} of a replica: nothing acknowledged is lost, nothing is done twice`, {
  timeout: 60_000 + cycles * longestCycleMs,
}, async () => {
  const world = await startChaosWorld();
  const writers = startWriters({ urls: world.urls, writers: 8, seed, hangUpOneIn: 25 });
  const started = performance.now();
  let told = 0;
  await killAndRestart(world, {
    writers,
    kills,
    random: randomFrom(seed),
    ackedBetween: 10,
    onTurn: (done) => {
      if (!isLong || done.postgres + done.replica < told + 100) return;
      told = done.postgres + done.replica;
      console.log(`killed ${JSON.stringify(done)}, ${writers.acked} writes acknowledged`);
    },
  });
  const seconds = Math.round((performance.now() - started) / 1_000);
  const { history, verdict } = await judgeRun(world, writers);
  console.log(`killed ${JSON.stringify(kills)} in ${seconds} s; ${summaryOf(history)}; hung up on ${writers.hungUp}`);
  expect(faultsIn(verdict), `seed ${seed}`).toEqual([]);
  expect(writers.unexpected).toEqual([]);
  const count = (outcome: string): number => history.attempts.filter((attempt) => attempt.outcome === outcome).length;
  expect([count("refused"), count("unknown")]).toEqual([0, 0]);
  // The faults must have met writes, and the writers must have asked again.
  expect(count("acked")).toBeGreaterThanOrEqual(cycles * 10);
  expect(history.attempts.filter(({ tries }) => tries > 1).length).toBeGreaterThan(cycles);
});

describe("the same harness finds", () => {
  test("acknowledged writes that are lost, with a Postgres that does not wait for its log", { timeout: 180_000 }, async () => {
    const world = await startChaosWorld({ synchronous_commit: "off" });
    const writers = startWriters({ urls: world.urls, writers: 8, seed, hangUpOneIn: 25 });
    await killAndRestart(world, {
      writers,
      kills: { postgres: 4, replica: 0 },
      random: randomFrom(seed),
      ackedBetween: 100,
    });
    const { history, verdict } = await judgeRun(world, writers);
    console.log(`synchronous_commit=off, 4 kills of Postgres: lost ${verdict.lost.length}; ${summaryOf(history)}`);
    expect(kinds(verdict)).toEqual(["lost"]);
  });

  test("writes that are done twice, where writers ask again without a key", { timeout: 120_000 }, async () => {
    const { url } = await freshDatabase();
    const replica = await startReplica({ databaseUrl: url, env: { CHANCERY_LOG_LEVEL: "warn" } });
    const writers = startWriters({ urls: [replica.api.url], writers: 4, seed, hangUpOneIn: 2, isKeyed: false });
    await waitFor("the writers have hung up on writes under way", () => writers.hungUp >= 100, { timeoutMs: 60_000 });
    const attempts = await writers.stop();
    const verdict = judge({ attempts, ...(await readEvidence(url, [replica])) });
    console.log(`without keys, hung up on ${writers.hungUp}: done twice ${verdict.twice.length} of ${attempts.length}`);
    expect(kinds(verdict)).toContain("twice");
  });
});
