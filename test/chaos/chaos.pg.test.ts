// Kill -9 of replicas and of Postgres in a loop, under writers that count what was acknowledged: nothing of it is lost, nothing is done
// twice, no revision is missing, and the history is whole. The same harness finds loss where Postgres is told not to wait for its log,
// and writes done twice where writers ask again without a key. `npm run chaos -- --cycles 1000` is the same for longer.
import { expect, test } from "vitest";
import { randomFrom } from "../plan/random-writes.js";
import { faultsIn } from "./checker.js";
import { judgeRun, runCycles, startChaosWorld, summaryOf } from "./world.js";
import { startWriters } from "./writers.js";

const cycles = Number(process.env["CHANCERY_CHAOS_CYCLES"] ?? 50);
const seed = Number(process.env["CHANCERY_CHAOS_SEED"] ?? 7_004);
const isLong = cycles > 50;
/** A cycle takes about 1 s on two free cores; this is for two busy ones. */
const longestCycleMs = 6_000;

test(`${cycles} kills of a replica and ${cycles} of Postgres: nothing acknowledged is lost, nothing is done twice`, {
  timeout: 60_000 + cycles * longestCycleMs,
}, async () => {
  const world = await startChaosWorld();
  const writers = startWriters({ urls: world.urls, writers: 8, seed, hangUpOneIn: 25 });
  const times: number[] = [];
  const onCycle = (cycle: number, ms: number): void => {
    times.push(ms);
    if (isLong && (cycle + 1) % 50 === 0) console.log(`${cycle + 1} cycles, ${writers.acked} writes acknowledged`);
  };
  await runCycles(world, { writers, cycles, fault: "both", random: randomFrom(seed), ackedBetween: 10, onCycle });
  const { history, verdict } = await judgeRun(world, writers);
  times.sort((a, b) => a - b);
  console.log(
    `${cycles} cycles (median ${Math.round(times[times.length >> 1] ?? 0)} ms): ${summaryOf(history)}; hung up on ${writers.hungUp}`,
  );
  expect(faultsIn(verdict), `seed ${seed}`).toEqual([]);
  expect(writers.unexpected).toEqual([]);
  const count = (outcome: string): number => history.attempts.filter((attempt) => attempt.outcome === outcome).length;
  expect([count("refused"), count("unknown")]).toEqual([0, 0]);
  // The faults must have met writes, and the writers must have asked again.
  expect(count("acked")).toBeGreaterThanOrEqual(cycles * 10);
  expect(history.attempts.filter(({ tries }) => tries > 1).length).toBeGreaterThan(cycles);
});
