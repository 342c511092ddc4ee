// What is next for a drain: never an end before the truth is known, always an end.
// Mutants tried and caught: an old report believed; a node that is away counted as gone at once; silent or settling counted as done; the
// deadline 5 s early; an open or unsafe joined drain not minded; in flight or unacked not minded once closed; left-open ended as safe;
// no Envoy seen yet believed; acks that came late not added to what is bounded.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { beliefMs, nextStep, tally, verdictOf } from "../../../src/drain/next-step.js";
import { goneAfterMs } from "../../../src/model/drain.js";
import type { DrainGuarantee } from "../../../src/model/drain-guarantee.js";
import type { DrainNode, DrainRecord } from "../../../src/store/store.js";

const guarantees = {
  open: { kind: "left-open", closesWithinMs: undefined, because: "" },
  killed: { kind: "kill-switch", closesWithinMs: 2_500, because: "" },
  bounded: { kind: "bounded-by-timeout", closesWithinMs: 0, because: "" },
  udp: { kind: "none-needed", closesWithinMs: 0, because: "" },
} as const satisfies Record<string, DrainGuarantee>;

const node = (name: string, more: Partial<DrainNode> = {}): DrainNode => ({
  node: name,
  gateway: "edge",
  connected: true,
  awayMs: 0,
  ackedAgeMs: 9_000,
  verdict: "zero",
  inFlight: 0,
  unattributed: 0,
  loadAgeMs: 500,
  ...more,
});

function drain(
  nodes: readonly DrainNode[],
  more: Partial<DrainRecord> = {},
  guarantee: DrainGuarantee = guarantees.open,
): DrainRecord {
  return {
    id: "d",
    by: { author: "ada", requestId: "r", reason: undefined },
    state: "draining",
    afterwards: "remove",
    timeoutMs: 30_000,
    revision: 7,
    endpoints: [{ cluster: "app", endpoint: "10.0.0.7:80", connectTimeoutMs: 5_000, guarantee, joins: undefined }],
    gateways: ["edge"],
    createdAt: "",
    deadline: "",
    endedAt: undefined,
    ageMs: 10_000,
    deadlineInMs: 20_000,
    closingInMs: undefined,
    safeToStop: false,
    leftOpen: undefined,
    outcome: undefined,
    nodes,
    joined: [],
    ...more,
  };
}
/** The endpoint has sessions that stay. */
function staying(
  nodes: readonly DrainNode[],
  more: Partial<DrainRecord>,
  guarantee: DrainGuarantee = guarantees.bounded,
): DrainRecord {
  const one = drain(nodes, more, guarantee);
  return { ...one, endpoints: one.endpoints.map((endpoint) => ({ ...endpoint, sessionsStay: true })) };
}
const busy = (inFlight: number, more: Partial<DrainNode> = {}) => node("busy", { verdict: "in-flight", inFlight, ...more });
const late = { deadlineInMs: -1, ageMs: 30_001 };
const safe = { kind: "end", safeToStop: true, leftOpen: 0 };
const wait = { kind: "wait" };

describe("before the deadline", () => {
  test("it ends, safe, when every Envoy is believed to have nothing in flight", () => {
    expect(nextStep(drain([node("a"), node("b")]))).toMatchObject(safe);
  });

  test.each([
    ["has not acked", node("b", { ackedAgeMs: undefined })],
    ["has never reported", node("b", { verdict: undefined, loadAgeMs: undefined })],
    ["has not reported lately", node("b", { loadAgeMs: 5_001 })],
    ["is not to be believed yet", node("b", { verdict: "settling" })],
    ["has one request", busy(1)],
    ["has something that no report places", busy(0, { unattributed: 1 })],
    ["has lost its control plane a moment ago, with a request", busy(1, { connected: false, awayMs: goneAfterMs - 1 })],
    ["has lost its control plane a moment ago, and was silent", node("b", { connected: false, awayMs: 10, loadAgeMs: 9_000 })],
  ])("it waits for an Envoy that %s", (_, other) => {
    expect(nextStep(drain([node("a"), other]))).toEqual(wait);
  });

  test("an Envoy that has been away for long is gone", () => {
    const gone = busy(3, { connected: false, awayMs: goneAfterMs, loadAgeMs: goneAfterMs });
    expect(verdictOf(gone, true)).toBe("gone");
    expect(nextStep(drain([node("a"), gone]))).toMatchObject(safe);
    expect(nextStep(drain([gone]))).toMatchObject({ ...safe, outcome: "no Envoy has it" });
  });

  test("where listeners reach it and no Envoy was seen, one may be on its way back; where none do, there is nothing to wait for", () => {
    expect(nextStep(drain([], { ageMs: goneAfterMs - 1 }))).toEqual(wait);
    expect(nextStep(drain([], { ageMs: goneAfterMs }))).toMatchObject(safe);
    expect(nextStep(drain([], { ageMs: 1, gateways: [] }))).toMatchObject(safe);
  });

  test("UDP needs acks only", () => {
    const silent = node("a", { verdict: undefined, loadAgeMs: undefined });
    expect(nextStep(drain([silent], {}, guarantees.udp))).toMatchObject(safe);
    expect(nextStep(drain([{ ...silent, ackedAgeMs: undefined }], {}, guarantees.udp))).toEqual(wait);
  });

  test("it waits for a drain that it has joined, and is no safer than that one", () => {
    const joined = { id: "other", ended: false, safeToStop: false, leftOpen: 0 };
    expect(nextStep(drain([node("a")], { joined: [joined] }))).toEqual(wait);
    expect(nextStep(drain([node("a")], { ...late, joined: [joined] }))).toEqual(wait);
    expect(nextStep(drain([node("a")], { joined: [{ ...joined, ended: true, safeToStop: true }] }))).toMatchObject(safe);
    const unsafe = nextStep(drain([node("a")], { joined: [{ ...joined, ended: true, leftOpen: 4 }] }));
    expect(unsafe).toMatchObject({ kind: "end", safeToStop: false, leftOpen: 4 });
  });

  test("one that has ended has nothing more to do", () => {
    expect(nextStep(drain([node("a")], { endedAt: "2026-01-01T00:00:00Z", state: "removed" }))).toEqual(wait);
  });
});

describe("at the deadline", () => {
  test("and not a moment before", () => {
    expect(nextStep(drain([busy(1)], { deadlineInMs: 1 }))).toEqual(wait);
    expect(nextStep(drain([busy(1)], { deadlineInMs: 0 }))).toMatchObject({ kind: "end", safeToStop: false });
  });

  test("what nothing closes is left open and counted, and it is not safe", () => {
    const step = nextStep(drain([node("a"), busy(3, { unattributed: 2 })], late));
    expect(step).toMatchObject({ kind: "end", safeToStop: false, leftOpen: 5 });
    expect(step).toMatchObject({ outcome: expect.stringContaining("3 in flight") });
  });

  test("silence is told by name, and is not safe", () => {
    const step = nextStep(drain([node("quiet", { verdict: undefined, loadAgeMs: undefined })], late));
    expect(step).toMatchObject({ kind: "end", safeToStop: false, outcome: expect.stringContaining("quiet") });
  });

  test("what can be closed is closed, for as long as that takes and shows", () => {
    expect(nextStep(drain([busy(3, { ackedAgeMs: 30_001 })], late, guarantees.killed))).toEqual({
      kind: "close",
      closeWithinMs: 2_500 + beliefMs,
    });
    const closing = { ...late, state: "closing" } as const;
    expect(nextStep(drain([busy(3)], { ...closing, closingInMs: 1 }, guarantees.killed))).toEqual(wait);
    expect(nextStep(drain([node("a")], { ...closing, closingInMs: 6_000 }, guarantees.killed))).toMatchObject(safe);
    const survived = nextStep(drain([busy(3)], { ...closing, closingInMs: 0 }, guarantees.killed));
    expect(survived).toMatchObject({ kind: "end", safeToStop: false, leftOpen: 3 });
  });

  test("a silent Envoy that has acked is bounded by its routes' timeouts, from its ack on", () => {
    const quiet = node("quiet", { verdict: undefined, loadAgeMs: undefined, ackedAgeMs: 10_001 });
    const step = nextStep(drain([quiet], late, guarantees.bounded));
    expect(step).toEqual({ kind: "close", closeWithinMs: 20_000 + beliefMs }); // It acked 20 s late.
    const closed = { ...late, state: "closing", closingInMs: -1 } as const;
    expect(nextStep(drain([quiet], closed, guarantees.bounded))).toMatchObject(safe);
    const unacked = nextStep(drain([node("a", { ackedAgeMs: undefined })], closed, guarantees.bounded));
    expect(unacked).toMatchObject({ kind: "end", safeToStop: false });
  });

  test("a silent Envoy may not know of the deadline: what it has to be told to close is not known to be closed", () => {
    // Mutant: silence counted as closed. Its replica hung between its ack and its first report, and its connections lived on.
    const quiet = node("quiet", { verdict: undefined, loadAgeMs: undefined });
    const closed = { ...late, state: "closing", closingInMs: -1 } as const;
    // And settling counted as closed: a stream of reports that has just been opened again has not told anything yet.
    const opened = node("opened", { verdict: "settling" });
    for (const [unsure, why] of [
      [quiet, "no fresh load report from quiet"],
      [opened, "too early to believe opened"],
    ] as const) {
      for (const one of [drain([node("a"), unsure], closed, guarantees.killed), staying([node("a"), unsure], closed)])
        expect(nextStep(one)).toMatchObject({ kind: "end", safeToStop: false, outcome: `the deadline has passed: ${why}` });
    }
  });

  test("sessions that stay may bring a request at any moment: nothing in flight is not safe before all have been sent away", () => {
    // Mutant: an end at the first zero, while a session sent 100 requests per second, each shorter than the look of a report.
    expect(nextStep(staying([node("a")], {}))).toEqual(wait);
    const acked = node("a", { ackedAgeMs: 30_001 });
    for (const guarantee of [guarantees.bounded, guarantees.open])
      expect(nextStep(staying([acked], late, guarantee))).toEqual({ kind: "close", closeWithinMs: beliefMs });
    const closing = { ...late, state: "closing" } as const;
    expect(nextStep(staying([node("a")], { ...closing, closingInMs: 1 }))).toEqual(wait);
    expect(nextStep(staying([node("a")], { ...closing, closingInMs: 0 }))).toMatchObject(safe);
    expect(nextStep(staying([], { ageMs: goneAfterMs + 1 }))).toMatchObject(safe); // No Envoy, no session.
  });
});

const anyNode: fc.Arbitrary<DrainNode> = fc.record({
  node: fc.constantFrom("a", "b", "c"),
  gateway: fc.constantFrom("edge", "inner"),
  connected: fc.boolean(),
  awayMs: fc.integer({ min: 0, max: 40_000 }),
  ackedAgeMs: fc.option(fc.integer({ min: 0, max: 40_000 }), { nil: undefined }),
  verdict: fc.constantFrom("settling", "in-flight", "zero", undefined),
  inFlight: fc.integer({ min: 0, max: 3 }),
  unattributed: fc.integer({ min: 0, max: 3 }),
  loadAgeMs: fc.option(fc.integer({ min: 0, max: 20_000 }), { nil: undefined }),
});
const anyDrain: fc.Arbitrary<DrainRecord> = fc
  .record({
    nodes: fc.array(anyNode, { maxLength: 5 }),
    guarantee: fc.constantFrom(...Object.values(guarantees)),
    state: fc.constantFrom("draining" as const, "closing" as const),
    deadlineInMs: fc.integer({ min: -60_000, max: 30_000 }),
    closingInMs: fc.integer({ min: -10_000, max: 10_000 }),
    joins: fc.array(fc.record({ id: fc.constant("o"), ended: fc.boolean(), safeToStop: fc.boolean(), leftOpen: fc.nat(3) }), {
      maxLength: 2,
    }),
  })
  .map(({ nodes, guarantee, joins, ...more }) =>
    drain(nodes, { ...more, ageMs: 30_000 - more.deadlineInMs, joined: joins }, guarantee),
  );

test("whatever is known: safe is never said while something is known to be in flight or an Envoy may still send something new", () => {
  fc.assert(
    fc.property(anyDrain, (one) => {
      const step = nextStep(one);
      if (step.kind !== "end" || !step.safeToStop) return;
      const { names, inFlight, unattributed } = tally(one.nodes, one.endpoints[0]?.guarantee.kind !== "none-needed");
      expect([names.unacked, names["in-flight"], inFlight + unattributed]).toEqual([[], [], 0]);
      const { kind } = one.endpoints[0]?.guarantee ?? {};
      if (kind === "left-open" || kind === "kill-switch") expect([names.silent, names.settling]).toEqual([[], []]);
    }),
    { numRuns: 2_000 },
  );
});

test("whatever is known: once its time is over, and the drains that it joined have ended, it ends", () => {
  fc.assert(
    fc.property(anyDrain, (one) => {
      const over = {
        ...one,
        state: "closing" as const,
        deadlineInMs: -1,
        closingInMs: 0,
        joined: one.joined.filter(({ ended }) => ended),
      };
      expect(nextStep(over).kind).toBe("end");
      expect(nextStep({ ...over, state: "draining", closingInMs: undefined }).kind).not.toBe("wait");
    }),
    { numRuns: 2_000 },
  );
});
