// What is next for the drain of an Envoy, and what is believed of its connections: safe is never said while one may be open, and every
// drain ends. Mutants tried and caught: a zero believed of one sample, or of samples from before the ack; an old report believed; silence
// believed; a deadline that passed while nobody looked ending it at once; away for a moment counted as gone; forgotten while it is open.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { believeConnections, nextNodeStep, stateOf } from "../../../src/drain/node-drain-step.js";
import { goneAfterMs } from "../../../src/model/drain.js";
import { forgetAfterMs } from "../../../src/model/node-drain.js";
import type { NodeDrainRecord } from "../../../src/store/store.js";

const withdrawn: NodeDrainRecord = {
  node: "edge-1",
  id: "d",
  gateway: "edge",
  phase: "withdrawn",
  by: { author: "ada", requestId: "r", reason: undefined },
  lameDuckMs: 0,
  timeoutMs: 60_000,
  createdAt: "",
  withdrawAt: "",
  deadline: "",
  endedAt: undefined,
  ageMs: 10_000,
  withdrawInMs: -10_000,
  deadlineInMs: 50_000,
  ackedAgeMs: 9_000,
  verdict: "open",
  connections: 3,
  reportAgeMs: 500,
  connected: true,
  awayMs: 0,
  attendedMs: undefined,
  safeToStop: false,
  leftOpen: undefined,
  outcome: undefined,
};
const quiet = { verdict: "zero", connections: 0 } as const;
const step = (more: Partial<NodeDrainRecord>) => nextNodeStep({ ...withdrawn, ...more });

describe("the next step", () => {
  test("the listeners go when the lame duck's time is over, not before", () => {
    expect(step({ phase: "lame-duck", withdrawInMs: 1, deadlineInMs: 1, ...quiet })).toEqual({ kind: "wait" });
    expect(step({ phase: "lame-duck", withdrawInMs: 0 })).toEqual({ kind: "withdraw" });
  });

  test("it is safe when the Envoy has no listeners, and its fresh metrics no connection", () => {
    expect(step(quiet)).toMatchObject({ kind: "end", safeToStop: true, leftOpen: 0 });
    for (const doubt of [
      { ackedAgeMs: undefined },
      { verdict: "settling" as const },
      { reportAgeMs: 6_000 },
      { reportAgeMs: undefined },
    ])
      expect(step({ ...quiet, ...doubt })).toEqual({ kind: "wait" });
  });

  test("the deadline ends it as unsafe, with what is left, and says why", () => {
    const late = { deadlineInMs: 0 };
    expect(step(late)).toMatchObject({
      kind: "end",
      safeToStop: false,
      leftOpen: 3,
      outcome: expect.stringContaining("3 connections"),
    });
    expect(step({ ...late, ackedAgeMs: undefined })).toMatchObject({
      safeToStop: false,
      outcome: expect.stringContaining("confirmed"),
    });
    expect(step({ ...late, verdict: undefined, connections: undefined, reportAgeMs: undefined })).toMatchObject({
      safeToStop: false,
      leftOpen: 0,
      outcome: expect.stringContaining("do not tell"),
    });
  });

  test("a deadline that passed while nobody looked leaves the time to hear the Envoy first", () => {
    expect(step({ deadlineInMs: -1, attendedMs: 7_000 })).toEqual({ kind: "wait" });
    expect(step({ deadlineInMs: -1, attendedMs: 9_000 })).toMatchObject({ kind: "end", safeToStop: false });
  });

  test("an Envoy that is away for the gone time holds nothing, and one that is drained for an hour more is forgotten", () => {
    expect(step({ connected: false, awayMs: goneAfterMs - 1 })).toEqual({ kind: "wait" });
    expect(step({ connected: false, awayMs: goneAfterMs })).toMatchObject({ kind: "end", safeToStop: true });
    expect(step({ connected: false, awayMs: forgetAfterMs }).kind).toBe("end");
    const ended = { endedAt: "then", safeToStop: true };
    expect(step({ ...ended, awayMs: forgetAfterMs - 1 })).toEqual({ kind: "wait" });
    expect(step({ ...ended, awayMs: forgetAfterMs })).toEqual({ kind: "forget" });
  });

  test("whatever is known, safe is said only without listeners and connections, or of one that is gone; and after the deadline it ends", () => {
    const maybe = <T>(some: fc.Arbitrary<T>) => fc.option(some, { nil: undefined });
    const records = fc.record({
      deadlineInMs: fc.integer({ min: -100_000, max: 60_000 }),
      ackedAgeMs: maybe(fc.nat(60_000)),
      verdict: maybe(fc.constantFrom("open", "settling", "zero")),
      connections: maybe(fc.nat(5)),
      reportAgeMs: maybe(fc.nat(20_000)),
      awayMs: fc.nat(30_000),
      attendedMs: maybe(fc.nat(60_000)),
    });
    fc.assert(
      fc.property(records, (more) => {
        const next = step(more as Partial<NodeDrainRecord>);
        const isGone = more.awayMs >= goneAfterMs;
        const isEmpty = more.ackedAgeMs !== undefined && more.verdict === "zero" && (more.reportAgeMs ?? 6_000) <= 5_000;
        if (next.kind === "end") expect(next.safeToStop).toBe(isGone || isEmpty);
        const isHeard = more.attendedMs === undefined || more.attendedMs > 10_000;
        if (more.deadlineInMs <= 0 && isHeard) expect(next.kind).toBe("end");
      }),
    );
  });
});

test("a drain is told as what it is", () => {
  expect(stateOf({ ...withdrawn, phase: "lame-duck" })).toBe("lame-duck");
  expect(stateOf({ ...withdrawn, ackedAgeMs: undefined })).toBe("withdrawing");
  expect(stateOf(withdrawn)).toBe("draining");
  expect(stateOf({ ...withdrawn, endedAt: "then" })).toBe("drained");
});

describe("what is believed of connections", () => {
  const now = 100_000;
  const sample = (ageMs: number, connections: number) => ({ at: now - ageMs, connections });
  const believed = (...streams: { at: number; connections: number }[][]) => believeConnections(now - 3_000, streams, now);

  test("none are open when two samples in a row, both made after the ack, say so", () => {
    expect(believed([sample(1_500, 0), sample(500, 0)])).toEqual({ verdict: "zero", connections: 0 });
    expect(believed([sample(500, 0)])).toEqual({ verdict: "settling", connections: 0 });
    expect(believed([sample(3_500, 0), sample(2_500, 0)])).toEqual({ verdict: "settling", connections: 0 });
    expect(believed([sample(1_500, 2), sample(500, 0)])).toEqual({ verdict: "settling", connections: 0 });
  });

  test("those of all processes of the node count, and one that does not tell leaves it open", () => {
    expect(believed([sample(1_500, 0), sample(500, 2)], [sample(1_400, 0), sample(400, 3)])).toEqual({
      verdict: "open",
      connections: 5,
    });
    expect(believed([sample(1_500, 0), sample(500, 0)], [sample(1_400, 0), sample(400, 1)])).toMatchObject({ verdict: "open" });
    expect(believed([sample(1_500, 0), sample(500, 0)], [])).toBeUndefined();
    expect(believed([sample(7_000, 0), sample(6_000, 0)])).toBeUndefined();
    expect(believed()).toBeUndefined();
  });
});
