// The judge of chaos runs finds each fault that it is there for: a good history with one thing changed by hand, and no other verdict.
import { expect, test } from "vitest";
import { faultsIn, judge, type Verdict } from "./checker.js";
import type { RecordedRevision, RunHistory, WriteAttempt } from "./history.js";

const attempt = (at: number, more: Partial<WriteAttempt> = {}): WriteAttempt => ({
  token: `t${at}`,
  sets: { a: at, b: at },
  outcome: "acked",
  revision: at,
  tries: 1,
  ...more,
});
const revision = (at: number, more: Partial<RecordedRevision> = {}): RecordedRevision => ({
  revision: at,
  token: `t${at}`,
  hash: `h${at}`,
  previousHash: `h${at - 1}`,
  changes: ["a", "b"].map((name) => ({ name, before: at === 1 ? undefined : at - 1, after: at })),
  ...more,
});

/** Five writes, all acknowledged; the sixth was refused, and of the seventh nobody heard: it is not there. */
function goodRun(): RunHistory {
  return {
    attempts: [
      ...[1, 2, 3, 4, 5].map((at) => attempt(at)),
      attempt(6, { outcome: "refused", revision: undefined }),
      attempt(7, { outcome: "unknown", revision: undefined }),
    ],
    revisions: [1, 2, 3, 4, 5].map((at) => revision(at)),
    counter: 5,
    objects: { a: 5, b: 5 },
    auditBreak: undefined,
    served: { "replica-a": 5, "replica-b": 5 },
  };
}

/** The good run with more revisions after it, each a whole one by the chain and the numbers. */
function followedBy(tokens: readonly string[], values: readonly number[] = [6]): RunHistory {
  const run = goodRun();
  const more = tokens.map((token, index) =>
    revision(6 + index, {
      token,
      changes: ["a", "b"].map((name) => ({
        name,
        before: values[index - 1] ?? 5,
        after: values[index] ?? 6,
      })),
    }),
  );
  const [counter, last] = [5 + more.length, values[more.length - 1] ?? 6];
  const served = { "replica-a": counter, "replica-b": counter };
  return { ...run, revisions: [...run.revisions, ...more], counter, objects: { a: last, b: last }, served };
}

const kinds = (history: RunHistory): string[] =>
  Object.entries(judge(history) as Verdict)
    .filter(([, found]) => found.length > 0)
    .map(([kind]) => kind);

test("a good run has no faults, also when a write nobody heard of is there after all", () => {
  expect(faultsIn(judge(goodRun()))).toEqual([]);
  expect(faultsIn(judge(followedBy(["t7"], [7])))).toEqual([]);
});

/** `of` with one revision or attempt replaced. */
const withRevision = (at: number, more: Partial<RecordedRevision>): RunHistory => {
  const run = goodRun();
  return { ...run, revisions: run.revisions.map((one) => (one.revision === at ? { ...one, ...more } : one)) };
};

test.each<readonly [string, RunHistory, readonly (keyof Verdict)[]]>([
  [
    "an acknowledged write that is lost from the end, as after a crash without its log",
    {
      ...goodRun(),
      revisions: goodRun().revisions.slice(0, 4),
      counter: 4,
      objects: { a: 4, b: 4 },
      served: { "replica-a": 4 },
    },
    ["lost"],
  ],
  [
    "an acknowledged write whose number went to another one",
    {
      ...withRevision(5, { token: "t7", changes: ["a", "b"].map((name) => ({ name, before: 4, after: 7 })) }),
      objects: { a: 7, b: 7 },
    },
    ["lost"],
  ],
  ["a write applied twice", followedBy(["t7", "t7"], [7, 7]), ["twice"]],
  ["an acknowledged one applied once more, over what came later", followedBy(["t3"], [3]), ["twice"]],
  ["a refused write that is there", followedBy(["t6"], [6]), ["undead"]],
  [
    "another number than the answer said",
    { ...goodRun(), attempts: [attempt(1, { revision: 2 }), ...goodRun().attempts.slice(1)] },
    ["misnumbered"],
  ],
  [
    "half of a write",
    { ...withRevision(5, { changes: [{ name: "a", before: 4, after: 5 }] }), objects: { a: 5, b: 4 } },
    ["torn"],
  ],
  [
    "a write with another value than was sent",
    {
      ...withRevision(5, { changes: ["a", "b"].map((name) => ({ name, before: 4, after: 99 })) }),
      objects: { a: 99, b: 99 },
    },
    ["torn"],
  ],
  ["a revision of nobody's", followedBy(["who"], [6]), ["strange"]],
  [
    "a gap in the numbers",
    {
      ...withRevision(5, { revision: 6 }),
      attempts: [...goodRun().attempts.slice(0, 4), attempt(5, { revision: 6 })],
      counter: 6,
      served: { "replica-a": 6 },
    },
    ["gaps"],
  ],
  [
    "a number taken twice",
    {
      ...followedBy(["t7"], [7]),
      revisions: followedBy(["t7"], [7]).revisions.map((one) => (one.token === "t7" ? { ...one, revision: 5 } : one)),
      counter: 5,
      served: { "replica-a": 5 },
    },
    ["gaps"],
  ],
  ["a counter that ran ahead", { ...goodRun(), counter: 6, served: { "replica-a": 6 } }, ["gaps"]],
  [
    "a change that was lost under a later one",
    withRevision(5, { changes: ["a", "b"].map((name) => ({ name, before: 3, after: 5 })) }),
    ["leaps"],
  ],
  ["an object that is not what its last change made of it", { ...goodRun(), objects: { a: 5, b: 4 } }, ["drifted"]],
  ["an object that is gone without a change", { ...goodRun(), objects: { a: 5 } }, ["drifted"]],
  ["a link of the chain that leads elsewhere", withRevision(4, { previousHash: "other" }), ["chain"]],
  ["what the audit found", { ...goodRun(), auditBreak: "revision 2 was edited" }, ["chain"]],
  ["a replica that stayed behind", { ...goodRun(), served: { "replica-a": 5, "replica-b": 4 } }, ["behind"]],
])("%s is found, and nothing else", (_, history, expected) => {
  expect(kinds(history)).toEqual(expected);
});
