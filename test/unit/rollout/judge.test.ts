// What is next for a rollout, case by case. Each case names the mutant that it catches.
import { describe, expect, test } from "vitest";
import {
  confirmWithinMs,
  judge,
  lostAfterMs,
  maxStreamsPerStage,
  minRequests,
  returnWithinMs,
} from "../../../src/rollout/judge.js";
import type { OpenRollout, StoredRolloutNode } from "../../../src/store/store.js";

const node = (name: string, more: Partial<StoredRolloutNode> = {}): StoredRolloutNode => ({
  rollout: "r1",
  node: name,
  gateway: "edge",
  stage: 0,
  connected: true,
  has: true,
  refusal: undefined,
  streams: 1,
  lostMs: undefined,
  ...more,
});

interface Case {
  readonly rollout?: Partial<OpenRollout["rollout"]>;
  readonly abortOn?: Partial<OpenRollout["rollout"]["policy"]["abortOn"]>;
  readonly nodes?: readonly StoredRolloutNode[];
  readonly traffic?: Partial<OpenRollout["traffic"]>;
}

const none = { requests: 0, errors: 0 };
const open = ({ rollout = {}, abortOn = {}, nodes = [node("a"), node("b")], traffic = {} }: Case = {}): OpenRollout => ({
  rollout: {
    name: "r1",
    state: "staging",
    stage: 0,
    policy: {
      stages: [{ nodes: 2 }, { percent: 100 }],
      bakeMs: 1_000,
      abortOn: { nack: true, disconnect: true, errorRate: undefined, ...abortOn },
    },
    gateways: ["edge"],
    expected: new Map([["edge", ["a", "b"]]]),
    overrides: [],
    applied: undefined,
    revision: 7,
    beganIn: 7,
    author: "ada",
    requestId: "q",
    reason: undefined,
    startedAt: "",
    endedAt: undefined,
    cause: undefined,
    detail: undefined,
    stageAgeMs: 500,
    attendedMs: 500,
    bakedMs: undefined,
    ...rollout,
  },
  nodes,
  traffic: { stage: none, others: none, ...traffic },
});

describe("going on", () => {
  test("all have it: the bake begins, and the next stage after it", () => {
    expect(judge(open())).toEqual({ kind: "acked" });
    expect(judge(open({ rollout: { bakedMs: 999 } }))).toEqual({ kind: "wait" }); // Mutant: the gate opens with the last ack.
    expect(judge(open({ rollout: { bakedMs: 1_000 } }))).toEqual({ kind: "next" });
  });
  test("one that has not confirmed is waited for, and not for ever", () => {
    const nodes = [node("a"), node("b", { has: false })];
    expect(judge(open({ nodes }))).toEqual({ kind: "wait" }); // Mutant: a majority is enough.
    const late = judge(open({ nodes, rollout: { attendedMs: confirmWithinMs } })); // Mutant: no end to it.
    expect(late).toMatchObject({ kind: "abort", cause: "unconfirmed", detail: expect.stringContaining("b") });
  });
  test("what was said of an earlier stage is no answer to this one", () => {
    const nodes = [node("a", { stage: 0 }), node("b", { stage: 0 })];
    expect(judge(open({ nodes, rollout: { stage: 1 } }))).toEqual({ kind: "wait" }); // Mutant: rows of any stage count.
  });
  test("a stage without Envoys goes on by itself", () => {
    expect(judge(open({ nodes: [], rollout: { expected: new Map() } }))).toEqual({ kind: "acked" });
  });
});

describe("stopping", () => {
  const refusal = { type: "route", resource: "web", detail: "no such thing" };
  test("a refusal, also of one that joined later, in Envoy's words", () => {
    const nodes = [node("a"), node("b"), node("late", { refusal, has: false })];
    expect(judge(open({ nodes }))).toEqual({ kind: "abort", cause: "nack", detail: "late refused route web: no such thing" });
    expect(judge(open({ nodes, abortOn: { nack: false } }))).toEqual({ kind: "acked" });
  });
  test("one that went and stays away, but not one that is away for a moment", () => {
    const away = (lostMs: number) => open({ nodes: [node("a"), node("b", { connected: false, has: false, lostMs })] });
    expect(judge(away(lostAfterMs))).toEqual({ kind: "wait" }); // Mutant: any disconnect: a replica's restart would stop rollouts.
    expect(judge(away(lostAfterMs + 1))).toMatchObject({ kind: "abort", cause: "disconnect", detail: "b went away" });
  });
  test("one that never came back from the stream that we ended", () => {
    const absent = (attendedMs: number) => open({ nodes: [node("a")], rollout: { attendedMs } });
    expect(judge(absent(returnWithinMs))).toEqual({ kind: "wait" });
    expect(judge(absent(returnWithinMs + 1))).toMatchObject({ cause: "disconnect" }); // Mutant: only rows are looked at.
    // Nobody looked meanwhile, so nobody can say that it was away. Mutant: the age of the stage in place of the attended time.
    expect(judge(open({ nodes: [node("a")], rollout: { stageAgeMs: 60_000, attendedMs: 100 } }))).toEqual({ kind: "wait" });
  });
  test("one that comes and goes, although it is here at each look", () => {
    const nodes = [node("a"), node("b", { streams: maxStreamsPerStage + 1 })];
    expect(judge(open({ nodes }))).toMatchObject({ kind: "abort", cause: "disconnect" }); // Mutant: streams are not counted.
    expect(judge(open({ nodes, abortOn: { disconnect: false } }))).toEqual({ kind: "acked" });
  });
  test("errors that rise above those of the others", () => {
    const abortOn = { errorRate: 0.05 };
    const with_ = (errors: number, others = none) => open({ abortOn, traffic: { stage: { requests: 100, errors }, others } });
    expect(judge(with_(6))).toMatchObject({ kind: "abort", cause: "error-rate" });
    expect(judge(with_(5))).toEqual({ kind: "acked" });
    // Mutant: the rate by itself: an incident that hits all Envoys alike would stop every rollout.
    expect(judge(with_(20, { requests: 1_000, errors: 180 }))).toEqual({ kind: "acked" });
    expect(judge(with_(30, { requests: 1_000, errors: 180 }))).toMatchObject({ cause: "error-rate" });
    const few = open({ abortOn, traffic: { stage: { requests: minRequests - 1, errors: 10 }, others: none } });
    expect(judge(few)).toEqual({ kind: "acked" }); // Mutant: two requests, one of them an error, stop it.
    expect(judge(open({ traffic: { stage: { requests: 100, errors: 100 }, others: none } }))).toEqual({ kind: "acked" }); // Not asked for.
  });
});
