// Drains of every kind of traffic under load on real Envoys: the processes are stopped at the word "safe", all their sockets at once, and
// nothing fails; nothing is on them then, by their own count; and none takes its whole time. `npm run drains` is the same for longer.
// Mutants tried and caught: safe at the ack; the first change of membership forgotten with the seventeenth (drains took their 60 s).
import { beforeAll, expect, test } from "vitest";
import { randomFrom } from "../plan/random-writes.js";
import { type Fleet, type Service, startFleet, startService, startWithinMs } from "./fleet.js";
import { isKind, kinds } from "./kinds.js";
import { drainRounds, drainTimeoutMs, type RoundsResult, tableOf } from "./rounds.js";

const number = (name: string, standard: number): number => Number(process.env[`CHANCERY_DRAINS_${name}`] ?? standard);
const rounds = number("ROUNDS", 5);
const atOnce = number("AT_ONCE", 4);
/** Of each kind. In the short run all kinds go at the same time: 2,000 per second in all. */
const perSecond = number("RATE", 400);
const seed = number("SEED", 5_001);
const chosen = (process.env["CHANCERY_DRAINS_KINDS"] ?? kinds.join(",")).split(",").filter(isKind);
const isLong = process.env["CHANCERY_DRAINS_ROUNDS"] !== undefined;
/** Where the three streams of an Envoy go: `startFleet`. */
const streams = process.env["CHANCERY_DRAINS_STREAMS"] === "spread" ? "spread" : "own";
/** One after the other in the long run, each with the whole rate. */
const groups = isLong && process.env["CHANCERY_DRAINS_TOGETHER"] !== "yes" ? chosen.map((kind) => [kind]) : [chosen];
/** Backends that stay while the others are drained. */
const staying = 3;
/** Far below what is asked for, and enough to have something in flight at every moment: how much it was is in the table. */
const leastPerRound = 500;
const longestRoundMs = drainTimeoutMs + 40_000;

let fleet: Fleet;
beforeAll(async () => {
  fleet = await startFleet(streams);
}, startWithinMs);

test(`${rounds * atOnce} drains of each kind: stopped at the word safe, and nothing fails`, {
  timeout: 60_000 + rounds * groups.length * longestRoundMs,
}, async () => {
  const results: RoundsResult[] = [];
  const [{ api }] = fleet.replicas;
  for (const group of groups) {
    const services: Service[] = [];
    for (const kind of group) services.push(await startService(api, kind, atOnce + 1 + staying));
    // Metrics come each second: some that see the clusters quiet. One that never was would be waited for (docs/draining.md).
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    const run = async (service: Service, at: number): Promise<RoundsResult> =>
      drainRounds({
        api,
        service,
        rounds,
        atOnce,
        perSecond,
        random: randomFrom(seed + at),
        onRound: (done, tally) => {
          const failed = tally.failed() > 0 ? `${tally.failed()} failed: ${tally.commonest()}` : "none failed";
          if (isLong) console.log(`${service.kind}: ${done} of ${rounds} rounds, ${tally.answered} answered, ${failed}`);
        },
      });
    results.push(...(await Promise.all(services.map(run))));
    if (isLong) console.log(tableOf(results));
  }
  console.log(`seed ${seed}, ${perSecond}/s asked of each\n${tableOf(results)}`);
  for (const { kind, tally, drains } of results) {
    expect(Object.fromEntries(tally.errors), `${kind}: ${tally.first.join("; ")}`).toEqual({});
    const bad = drains.filter((one) => !one.safeToStop || one.leftOpen > 0 || one.inUse > 0 || one.tookMs >= drainTimeoutMs / 2);
    expect(bad, kind).toEqual([]);
    expect(drains.length).toBe(rounds * atOnce);
    expect(tally.answered).toBeGreaterThan(rounds * leastPerRound); // A load that was not there shows nothing.
  }
});
