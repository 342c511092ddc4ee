// Three control planes on a primary with a standby, real and simulated Envoys, writers and load, under faults by seed: nothing acknowledged
// is lost or done twice, no Envoy goes back, all of them come to what the database has, and no request through them fails.
// `npm run chaos -- --help` says how to have it for longer.
import { expect, test } from "vitest";
import { faults, faultTexts } from "./faults.js";
import { carryOutFaultyRun, type FaultyRun } from "./faulty-run.js";

const seed = Number(process.env["CHANCERY_CHAOS_SEED"] ?? 7_004);
const durationMs = Number(process.env["CHANCERY_CHAOS_SECONDS"] ?? 50) * 1_000;
const chosen = process.env["CHANCERY_CHAOS_FAULTS"]?.split(",");
const convergeMs = Number(process.env["CHANCERY_CHAOS_CONVERGE_MS"] ?? 15_000);
const [envoys, simulated] = [3, Number(process.env["CHANCERY_CHAOS_SIMULATED"] ?? 12)];

async function carryOut(names: readonly string[], more: { durationMs: number; leastFaults?: number }): Promise<FaultyRun> {
  const log = (line: string): void => console.log(line);
  const run = await carryOutFaultyRun({ faults: names, seed, convergeMs, envoys, simulated, log, ...more });
  for (const { checker, faults: found, about } of run.verdicts) {
    console.log(`${found.length === 0 ? "ok  " : "FAIL"} ${checker}: ${about}`);
    for (const fault of found.slice(0, 10)) console.log(`       ${fault}`);
  }
  return run;
}

function expectGood({ verdicts }: FaultyRun): void {
  expect(
    verdicts.filter(({ faults: found }) => found.length > 0).map(({ checker, faults: found }) => [checker, found.slice(0, 5)]),
    `seed ${seed}`,
  ).toEqual([]);
}

test("each fault is told to people, and the other way round", () => {
  expect(Object.keys(faults).concat("clock-skew").sort()).toEqual(Object.keys(faultTexts).sort());
});

const lossless = Object.keys(faultTexts).filter((name) => name !== "failover-lagging");

// One or the other is there: a skipped test in the output always means that something could not be shown.
if (chosen) {
  test("the faults that were asked for", { timeout: 3_600_000 + 2 * durationMs }, async () => {
    expectGood(await carryOut(chosen, { durationMs }));
  });
} else {
  test("a synchronous standby: nothing acknowledged is lost, whatever happens", { timeout: 600_000 }, async () => {
    const run = await carryOut(lossless, { durationMs });
    expectGood(run);
    expect(run.missing).toBe(0);
  });

  test("an asynchronous standby that lags: what is lost is told, and all is the same again", { timeout: 600_000 }, async () => {
    const run = await carryOut(["failover-lagging", "replica-pause"], { durationMs: 0, leastFaults: 2 });
    expectGood(run);
    expect(run.missing).toBeGreaterThan(0); // Otherwise nothing was shown.
  });
}
