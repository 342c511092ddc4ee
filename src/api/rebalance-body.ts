// A rebalance's bodies: what PUT /v1/routes/{name}/weights takes of it, and a rebalance as it is shown. In: RebalanceRecords. Out: JSON, and
// its schema. The calls are in rebalances.ts and routes.ts.
import { type Static, Type } from "typebox";
import {
  type LosingBackend,
  maxAfterMs,
  maxRatePerSecond,
  maxRebalanceMs,
  standardAfterMs,
  standardRatePerSecond,
} from "../model/rebalance.js";
import type { RebalanceRecord } from "../store/store.js";
import { guaranteeShown } from "./answers.js";
import { toGuaranteeBody } from "./drain-body.js";
import { integer, milliseconds, object } from "./fields.js";

/** `rebalance` of the body that shifts weights. */
export const rebalanceField = object(
  {
    afterMs: Type.Optional(
      milliseconds(0, maxAfterMs, "From the shift to the first connection that is closed.", standardAfterMs),
    ),
    ratePerSecond: Type.Optional(
      integer(
        1,
        maxRatePerSecond,
        "Connections that are closed in a second, on average: an endpoint's go together, and the next endpoint's after as many seconds as they are worth.",
        standardRatePerSecond,
      ),
    ),
  },
  {
    description: `Of a TCP route with \`split: "endpoints"\`: long connections on backends that lose weight are closed at this pace, endpoint by endpoint, so that they come again by the new weights. Those clusters need \`"drain": {"atDeadline": "close"}\` and an active health check. Weights that are as they were close what does not follow them yet. Over after ${maxRebalanceMs / 60_000} min at the latest. Left out: nothing is closed.`,
  },
);
/** A body that the schema has passed. */
export type RebalanceChoice = Static<typeof rebalanceField>;

const states = ["waiting", "closing", "done", "superseded", "cancelled"] as const;
const losing = Type.Array(Type.Object({ cluster: Type.String(), guarantee: guaranteeShown }), {
  description: "Backends whose connections may be closed, and by what means.",
});
const weights = Type.Record(Type.String(), Type.Integer(), { description: "By which connections are to be shared." });
const closed = Type.Object({
  cluster: Type.String(),
  endpoint: Type.String(),
  connections: Type.Integer({ description: "Open there when it began, over all Envoys." }),
  drain: Type.String({ description: "The drain that does it, under /v1/drains." }),
});

/** A rebalance as GET shows it. */
export const rebalanceShown = Type.Object({
  id: Type.String(),
  state: Type.Unsafe<(typeof states)[number]>({
    type: "string",
    enum: [...states],
    description:
      "waiting: the next endpoint is not due yet. closing: an endpoint's connections are being closed. done: the split is as near to the weights as closing brings it; superseded: the route has other weights; cancelled.",
  }),
  route: Type.String(),
  weights,
  losing,
  afterMs: Type.Integer(),
  ratePerSecond: Type.Integer(),
  author: Type.String(),
  requestId: Type.String(),
  reason: Type.Optional(Type.String()),
  createdAt: Type.String({ format: "date-time" }),
  endedAt: Type.Optional(Type.String({ format: "date-time" })),
  outcome: Type.Optional(Type.String({ description: "Why it ended, in words." })),
  steps: Type.Array(closed, {
    description: "Endpoints whose connections were closed, in this order; the last one may be under way.",
  }),
  closed: Type.Integer({ description: "The sum of their connections." }),
  connections: Type.Optional(
    Type.Record(Type.String(), Type.Integer(), {
      description: "By backend, as load reports say, or said at its end. Left out: not known, or one that lasts, in a list.",
    }),
  ),
  silent: Type.Array(Type.String(), {
    description: "Envoys without a load report since the next endpoint is due: waited for, for a while.",
  }),
});
/** What `toRebalanceBody` makes. */
export type RebalanceBody = Static<typeof rebalanceShown>;

/** With `?dryRun=true`: what it would close, and by what means. */
export const rebalancePlanned = Type.Object({
  route: Type.String(),
  weights,
  losing,
  afterMs: Type.Integer(),
  ratePerSecond: Type.Integer(),
});
/** Beside a shift of weights that asked for one. */
export const rebalanceAnswers = {
  answer: { rebalance: Type.Optional(rebalanceShown) },
  plan: { rebalance: Type.Optional(rebalancePlanned) },
};
/** What `toPlannedBody` makes. */
export type PlannedRebalance = Static<typeof rebalancePlanned>;

/** Those of one rebalance, or of one that is not begun. */
export function toPlannedBody({
  route,
  weights: by,
  losing: backends,
  afterMs,
  ratePerSecond,
}: Pick<RebalanceRecord, "route" | "weights" | "losing" | "afterMs" | "ratePerSecond">): PlannedRebalance {
  return { route, weights: by, losing: backends.map(toLosingBody), afterMs, ratePerSecond };
}

function toLosingBody({ cluster, guarantee }: LosingBackend) {
  return { cluster, guarantee: toGuaranteeBody(guarantee) };
}

/** The record in the words of the API. `now`: connections by backend, of one that lasts. */
export function toRebalanceBody(record: RebalanceRecord, now?: Readonly<Record<string, number>>): RebalanceBody {
  const { id, by, createdAt, endedAt, outcome, steps, nodes, dueInMs } = record;
  const connections = endedAt === undefined ? now : record.connections;
  return {
    id,
    state: stateOf(record),
    ...toPlannedBody(record),
    author: by.author,
    requestId: by.requestId,
    ...(by.reason === undefined ? {} : { reason: by.reason }),
    createdAt,
    ...(endedAt === undefined ? {} : { endedAt }),
    ...(outcome === undefined ? {} : { outcome }),
    steps: [...steps],
    closed: steps.reduce((sum, step) => sum + step.connections, 0),
    ...(connections === undefined ? {} : { connections }),
    silent: dueInMs > 0 ? [] : nodes.flatMap(({ node, reported }) => (reported ? [] : node)),
  };
}

function stateOf({ drain, state }: RebalanceRecord): RebalanceBody["state"] {
  if (state !== "open") return state;
  return drain && !drain.ended ? "closing" : "waiting";
}
