// When nothing in flight is believed. The property: never while something is, whatever is replaced, delayed or waiting; and soon after
// nothing is. Mutants that it caught: without the gauges; without the moment at which nothing waits; with the time of receipt in place
// of the time of making; with reports that began before the ack; with only the newest report; without the connect timeout.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { believe } from "../../../src/drain/belief.js";
import { Loads } from "../../../src/status/loads.js";
import { type Moment, type Plan, SimulatedEnvoy } from "./simulated-envoy.js";

/** Numbers from a seed (mulberry32). */
function chanceOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const plans = fc.record({
  seed: fc.integer(),
  connectTimeoutMs: fc.constantFrom(0, 200, 1_000, 5_000),
  perSecond: fc.constantFrom(0.2, 1, 4, 20),
  replacedPerSecond: fc.constantFrom(0, 0.05, 0.5),
  stallsPerSecond: fc.constantFrom(0, 0.1, 0.3),
  tellsSteady: fc.boolean(),
  drainAtMs: fc.constantFrom(3_000, 8_000, 12_000),
});

const toPlan = ({ seed, ...rest }: Omit<Plan, "chance" | "endMs"> & { seed: number }): Plan => ({
  ...rest,
  chance: chanceOf(seed),
  endMs: rest.drainAtMs + 25_000,
});

const runs = Number(process.env["BELIEF_RUNS"] ?? 400);

test("zero is never believed while something is in flight, waits, or runs on a replaced host", () => {
  fc.assert(
    fc.property(plans, (plan) => {
      for (const { belief, truth, now } of new SimulatedEnvoy(toPlan(plan)).run()) {
        if (belief.verdict === "zero" && truth > 0) throw new Error(`at ${now} zero was believed of ${truth}`);
      }
    }),
    { numRuns: runs },
  );
});

/** ms from the moment at which nothing was there, the ack and the connect timeout were over, to the first zero. */
function delayOf(moments: Iterable<Moment>, connectTimeoutMs: number): number | undefined {
  let settledAt: number | undefined;
  let ackedAt: number | undefined;
  for (const { acked, belief, now, truth } of moments) {
    if (acked) ackedAt ??= now;
    if (truth > 0) settledAt = undefined;
    else if (ackedAt !== undefined) settledAt ??= Math.max(now, ackedAt + connectTimeoutMs);
    if (belief.verdict === "zero") return now - (settledAt ?? now);
  }
  return undefined;
}

test("where nothing stalls and there are quiet moments, zero is believed within 6 s of nothing being there", () => {
  const quiet = plans.filter(({ perSecond, stallsPerSecond }) => perSecond <= 1 && stallsPerSecond === 0);
  fc.assert(
    fc.property(quiet, (drawn) => {
      const plan = { ...toPlan(drawn), endMs: drawn.drainAtMs + 60_000 };
      const delay = delayOf(new SimulatedEnvoy(plan).run(), plan.connectTimeoutMs);
      expect(delay).toBeDefined();
    }),
    { numRuns: runs / 4 },
  );
});
