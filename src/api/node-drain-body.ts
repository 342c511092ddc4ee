// The drain of an Envoy as a body: what POST /v1/node-drains takes, and what is shown. In: NodeDrainRecords. Out: JSON, and its schema.
// The calls are in node-drains.ts.
import { type Static, Type } from "typebox";
import { isSilent, stateOf } from "../drain/node-drain-step.js";
import { maxNodeDrainTimeMs, standardLameDuckMs, standardNodeDrainTimeoutMs } from "../model/node-drain.js";
import type { NodeDrainRecord } from "../store/store.js";
import { compact, milliseconds, object, text } from "./fields.js";

/** The body of POST /v1/node-drains. */
export const nodeDrainPost = object({
  node: text(1, 255, "printable", "Id of the Envoy, as its bootstrap and GET /v1/nodes have it."),
  lameDuckMs: Type.Optional(
    milliseconds(
      0,
      maxNodeDrainTimeMs,
      `How long its health checks (\`healthPath\` of listeners) fail while its listeners still accept, so that a load balancer in front looks elsewhere first. Default: ${standardLameDuckMs} where a listener of its gateway has a \`healthPath\`, otherwise 0.`,
    ),
  ),
  timeoutMs: Type.Optional(
    milliseconds(
      0,
      maxNodeDrainTimeMs,
      "How long its connections are waited for after that. More than the Envoy's own drain time (`--drain-time-s`), at whose end it closes what is left.",
      standardNodeDrainTimeoutMs,
    ),
  ),
  reason: Type.Optional(text(1, 512, "printable", "Recorded with it; X-Chancery-Reason goes before.")),
});
/** A body that the schema has passed. */
export type NodeDrainPost = Static<typeof nodeDrainPost>;

const states = ["lame-duck", "withdrawing", "draining", "drained", "cancelled"] as const;
const at = (description: string) => Type.String({ format: "date-time", description });

/** As GET shows it. */
export const nodeDrainShown = Type.Object({
  node: Type.String(),
  gateway: Type.String(),
  state: Type.Unsafe<(typeof states)[number]>({
    type: "string",
    enum: [...states],
    description:
      "lame-duck: its health checks fail, its listeners accept. withdrawing: they are to go, and the Envoy has not confirmed it. draining: they are gone, and connections are let go. drained: it is not waited for any more, and stays without listeners. cancelled: they come back.",
  }),
  safeToStop: Type.Boolean({ description: "true: no connection is left, and none will come; or the Envoy is gone." }),
  connected: Type.Boolean({ description: "false: it is connected to no control plane; after 15 s it counts as gone." }),
  connections: Type.Optional(
    Type.Integer({ description: "Of clients, by its newest metrics since its listeners went. Left out: it has told none." }),
  ),
  silent: Type.Boolean({
    description: "true: its listeners are gone, and its metrics do not tell of connections. It is waited for until the deadline.",
  }),
  lameDuckMs: Type.Integer(),
  timeoutMs: Type.Integer(),
  author: Type.String(),
  requestId: Type.String(),
  reason: Type.Optional(Type.String()),
  createdAt: at("By the database's clock, as all times."),
  withdrawAt: at("When its listeners go."),
  deadline: at("Until when its connections are waited for."),
  endedAt: Type.Optional(at("Since when it is not waited for.")),
  leftOpen: Type.Optional(Type.Integer({ description: "Connections that were open at the deadline." })),
  outcome: Type.Optional(Type.String({ description: "Why it ended as it did, in words." })),
});
/** The same, as a value. */
export type NodeDrainBody = Static<typeof nodeDrainShown>;

/** As the API shows it. */
export function toNodeDrainBody(drain: NodeDrainRecord): NodeDrainBody {
  const { node, gateway, by, endedAt, safeToStop, connected, lameDuckMs, timeoutMs, createdAt, withdrawAt, deadline } = drain;
  const state = stateOf(drain);
  return compact({
    node,
    gateway,
    state,
    safeToStop,
    connected,
    connections: drain.connections,
    silent: state === "draining" && isSilent(drain),
    lameDuckMs,
    timeoutMs,
    author: by.author,
    requestId: by.requestId,
    reason: by.reason,
    createdAt,
    withdrawAt,
    deadline,
    endedAt,
    leftOpen: drain.leftOpen,
    outcome: drain.outcome,
  });
}
