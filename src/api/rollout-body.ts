// A staged rollout as a change asks for it, as a gateway's policy keeps it, and as it is shown. In: JSON. Out: model, and back.
// Called by change-body.ts, rollouts.ts and staging.ts. Pure.
import { type Static, Type } from "typebox";
import { problem } from "../model/problem-codes.js";
import type { Change } from "../model/revision.js";
import { isWhole, type RolloutPolicy, type RolloutStage } from "../model/rollout.js";
import { toPlannedObject } from "../plan/plan.js";
import type { OpenRollout, StoredRollout } from "../store/store.js";
import { objectChangesShown } from "./answers.js";
import { compact, integer, list, milliseconds, object } from "./fields.js";
import { refuse } from "./problem-details.js";
import { showObject } from "./shown-object.js";

const maxStages = 10;
const standardBakeMs = 60_000;
const maxBakeMs = 86_400_000;

const flag = (what: string) => Type.Optional(Type.Boolean({ default: true, description: `${what} Default true.` }));
const stage = object(
  {
    nodes: Type.Optional(integer(1, 10_000, "So many Envoys of each gateway.")),
    percent: Type.Optional(integer(1, 100, "So many percent of each gateway's Envoys, rounded up.")),
  },
  { exactlyOneOf: ["nodes", "percent"], description: "How many Envoys see the change in this stage." },
);
const policyFields = {
  stages: list(
    stage,
    1,
    maxStages,
    "One after the other, each larger than the one before. Everybody is the last one, named or not.",
  ),
  bakeMs: Type.Optional(
    milliseconds(0, maxBakeMs, "How long all Envoys of a stage have the change before the next one begins.", standardBakeMs),
  ),
  abortOn: Type.Optional(
    object(
      {
        nack: flag("Stop when an Envoy refuses something that the change makes."),
        disconnect: flag("Stop when an Envoy of the stage goes away, or keeps coming and going."),
        errorRate: Type.Optional(
          Type.Number({
            exclusiveMinimum: 0,
            maximum: 1,
            description:
              "Stop when the share of requests answered by 5xx at the stage's Envoys is larger by this than at the gateway's others. 0–1. Default: not looked at.",
          }),
        ),
      },
      { description: "What stops it; then the Envoys that had the change are put back." },
    ),
  ),
};

/** How a change, or every change of a gateway, is to be rolled out. */
export const rolloutSchema = object(policyFields, {
  description: "Some Envoys first: the others keep what they have until each stage has proved itself.",
});
/** One that the schema has passed. */
export type RolloutBody = Static<typeof rolloutSchema>;

/** @throws invalid_body when a stage is no larger than the one before, or the first one is everybody */
export function fromRolloutBody(body: RolloutBody, at = "/rollout"): RolloutPolicy {
  const stages = body.stages.map(({ nodes, percent = 100 }): RolloutStage => (nodes === undefined ? { percent } : { nodes }));
  const [first] = stages;
  const problems = stages.flatMap((one, index) => {
    const before = stages[index - 1];
    if (!before || isLarger(one, before)) return [];
    return [problem(`${at}/stages/${index}`, "out_of_range", "must be larger than the stage before")];
  });
  if (first && isWhole(first))
    problems.push(
      problem(`${at}/stages/0`, "out_of_range", "the first stage must not be everybody: then there is nothing to try"),
    );
  refuse(problems);
  const last = stages.at(-1);
  const { nack = true, disconnect = true, errorRate } = body.abortOn ?? {};
  return {
    stages: last && isWhole(last) ? stages : [...stages, { percent: 100 }],
    bakeMs: body.bakeMs ?? standardBakeMs,
    abortOn: { nack, disconnect, errorRate },
  };
}

/** Numbers of Envoys and percentages can't be compared: a percentage comes after numbers. */
function isLarger(one: RolloutStage, before: RolloutStage): boolean {
  if ("nodes" in one) return "nodes" in before && one.nodes > before.nodes;
  return "nodes" in before || one.percent > before.percent;
}

/** As PUT takes it. */
export function toPolicyBody({ stages, bakeMs, abortOn }: RolloutPolicy) {
  return { stages, bakeMs, abortOn: compact(abortOn) };
}

const nodeShown = Type.Object({
  node: Type.String(),
  gateway: Type.String(),
  connected: Type.Boolean(),
  has: Type.Boolean({ description: "It has acked everything that the change makes." }),
  refusal: Type.Optional(Type.Object({ type: Type.String(), resource: Type.String(), detail: Type.String() })),
});
/** A rollout as GET shows it. */
export const rolloutShown = Type.Object({
  name: Type.String(),
  state: Type.Unsafe<string>({
    type: "string",
    enum: ["staging", "watching", "done", "aborted"],
    description: "staging: some Envoys see the change. watching: it is the configuration, and may still be taken back.",
  }),
  stage: Type.Integer({ description: "Index into stages." }),
  stages: Type.Array(Type.Unknown()),
  bakeMs: Type.Integer(),
  abortOn: Type.Unknown(),
  gateways: Type.Array(Type.String()),
  author: Type.String(),
  reason: Type.Optional(Type.String()),
  requestId: Type.String(),
  beganIn: Type.Integer({ description: "The revision in which it began." }),
  revision: Type.Integer({ description: "The revision in which it last moved." }),
  startedAt: Type.String({ format: "date-time" }),
  endedAt: Type.Optional(Type.String({ format: "date-time" })),
  cause: Type.Optional(
    Type.String({ description: "Why it was stopped: nack, disconnect, error-rate, unconfirmed, unpromotable, asked." }),
  ),
  detail: Type.Optional(Type.String()),
  stageAgeMs: Type.Integer(),
  bakedMs: Type.Optional(
    Type.Integer({ description: "How long all Envoys of the stage have had it; left out: not all have it." }),
  ),
  expected: Type.Record(Type.String(), Type.Integer(), { description: "gateway → Envoys of the stage." }),
  nodes: Type.Optional(Type.Array(nodeShown)),
  traffic: Type.Optional(
    Type.Unknown({ description: "Requests and errors since the stage began, at its Envoys and at others." }),
  ),
  objects: Type.Optional(objectChangesShown),
});

/** In few words, for a list and for the answer to a write. */
export function toRolloutBody(rollout: StoredRollout) {
  const { name, state, stage: index, policy, gateways, author, reason, requestId, beganIn, revision } = rollout;
  const { startedAt, endedAt, cause, detail, stageAgeMs, bakedMs, expected } = rollout;
  return compact({
    ...{ name, state, stage: index, ...toPolicyBody(policy), gateways, author, reason, requestId, beganIn, revision },
    ...{ startedAt, endedAt, cause, detail },
    stageAgeMs: Math.round(stageAgeMs),
    bakedMs: bakedMs === undefined ? undefined : Math.round(bakedMs),
    expected: Object.fromEntries([...expected].map(([gateway, nodes]) => [gateway, nodes.length])),
  });
}

/** All of it. */
export function toOpenRolloutBody({ rollout, nodes, traffic }: OpenRollout, changes: readonly Change[]) {
  return {
    ...toRolloutBody(rollout),
    nodes: nodes
      .filter((node) => node.stage === rollout.stage)
      .map(({ node, gateway, connected, has, refusal }) => compact({ node, gateway, connected, has, refusal })),
    traffic,
    objects: changes.map((change) => toPlannedObject(change, showObject)),
  };
}
