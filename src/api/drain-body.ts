// A drain's bodies: what POST /v1/drains takes, and a drain as it is shown. In: DrainRecords. Out: JSON, and its schema.
// The calls are in drains.ts. States are those that people ask about: requested, in-flight and closing are on the way, the others ends.
import { type Static, Type } from "typebox";
import { isReported, tally, verdictOf } from "../drain/next-step.js";
import { afterwards, maxDrainTimeoutMs } from "../model/drain.js";
import type { DrainGuarantee } from "../model/drain-guarantee.js";
import type { DrainNode, DrainRecord } from "../store/store.js";
import { labels, list, maxLabels, milliseconds, name, object, text, word } from "./fields.js";

/** Endpoints that one drain may have. */
export const maxDrainEndpoints = 1_000;
/** Envoys of a gateway that are listed one by one. */
const maxNodesShown = 1_000;

const key = Type.String({
  minLength: 1,
  maxLength: 64,
  description: "`10.0.0.7:8080` or `[fd00::7]:8080`. 1–64 characters.",
});

/** The body of POST /v1/drains. */
export const drainPost = object(
  {
    cluster: Type.Optional(name("cluster")),
    endpoints: Type.Optional(list(key, 1, maxDrainEndpoints, "Endpoints of `cluster`.", { unique: true })),
    address: Type.Optional(key),
    selector: Type.Optional(
      object(
        {
          zone: Type.Optional(text(0, 128, "printable", "Zone.")),
          region: Type.Optional(text(0, 128, "printable", "Region.")),
          labels: Type.Optional(labels(1, maxLabels, "Labels that an endpoint has, all of them.")),
          address: Type.Optional(
            text(1, 64, "printable", "`10.0.0.7` with any port, or `10.0.0.7:8080`; `fd00::7` or `[fd00::7]:8080`."),
          ),
        },
        {
          minProperties: 1,
          description: `All endpoints that are like this in every respect, in \`cluster\` or in all; at most ${maxDrainEndpoints}.`,
        },
      ),
    ),
    timeoutMs: Type.Optional(
      milliseconds(
        0,
        maxDrainTimeoutMs,
        "How long what is in flight is waited for. Default: the longest of the clusters' `drain.timeoutMs`.",
      ),
    ),
    reason: Type.Optional(text(1, 512, "printable", "Recorded with it; X-Chancery-Reason goes before.")),
    afterwards: Type.Optional(
      word(afterwards, "What becomes of the endpoints: removed, or kept with `enabled: false`.", "remove"),
    ),
  },
  {
    exactlyOneOf: ["endpoints", "address", "selector"],
    description:
      "Endpoints of one cluster; or an address in every cluster that has it, unless `cluster` says in which; or those that a selector finds.",
  },
);
/** A body that the schema has passed. */
export type DrainPost = Static<typeof drainPost>;

const states = ["requested", "in-flight", "closing", "removed", "disabled", "restored", "cancelled"] as const;
const verdicts = ["unacked", "silent", "settling", "in-flight", "zero", "gone"] as const;
const names = (description: string) => Type.Array(Type.String(), { description });
const counts = {
  total: Type.Integer({ description: "Envoys that have the endpoints; those that are gone do not count." }),
  acked: Type.Integer({ description: "Those that send nothing new there." }),
  inFlight: Type.Integer({ description: "Requests, streams and connections open at the endpoints, as load reports say." }),
  unattributed: Type.Integer({ description: "Open in the clusters, and in no report of an endpoint: may be these endpoints'." }),
};

/** A drain as GET shows it. */
export const drainShown = Type.Object({
  id: Type.String(),
  state: Type.Unsafe<(typeof states)[number]>({
    type: "string",
    enum: [...states],
    description:
      "requested: not every Envoy has it yet. in-flight: nothing new is sent, what is there goes on. closing: the deadline has passed. removed, disabled, restored, cancelled: it has ended (restored: it was a step of a rebalance, and the endpoint serves again).",
  }),
  safeToStop: Type.Boolean({ description: "true: nothing uses the endpoints any more, and nothing will." }),
  endpoints: Type.Array(
    Type.Object({
      cluster: Type.String(),
      endpoint: Type.String(),
      guarantee: Type.Object(
        { kind: Type.String(), closesWithinMs: Type.Optional(Type.Integer()), because: Type.String() },
        { description: "What happens at the deadline to what is left." },
      ),
      route: Type.Optional(Type.String({ description: "Drained in this route alone: a step of a rebalance." })),
      joins: Type.Optional(Type.String({ description: "The drain that has it: this one waits for that one's end." })),
    }),
  ),
  afterwards: Type.Unsafe<string>({ type: "string", enum: [...afterwards, "restore"] }),
  timeoutMs: Type.Integer(),
  revision: Type.Optional(Type.Integer({ description: "The one that made the endpoints draining." })),
  author: Type.String(),
  requestId: Type.String(),
  reason: Type.Optional(Type.String()),
  createdAt: Type.String({ format: "date-time" }),
  deadline: Type.String({ format: "date-time" }),
  endedAt: Type.Optional(Type.String({ format: "date-time" })),
  leftOpen: Type.Optional(
    Type.Integer({
      description: "At its end: what was still open. Nothing reports it after a removal, so it is not counted down.",
    }),
  ),
  outcome: Type.Optional(Type.String({ description: "Why it ended as it did, in words." })),
  ...counts,
  gateways: Type.Record(
    Type.String(),
    Type.Object({
      ...counts,
      unacked: names("Waited for: they may still send something new."),
      silent: names("Waited for until the deadline: no load report of theirs has come lately."),
      gone: names("Not waited for: they have left, or died."),
      nodes: Type.Optional(
        Type.Array(
          Type.Object({
            node: Type.String(),
            verdict: Type.Unsafe<string>({
              type: "string",
              enum: [...verdicts],
              description: "settling: nothing is seen in flight, and it is too early to believe it. zero: it is believed.",
            }),
            inFlight: Type.Integer(),
            unattributed: Type.Integer(),
          }),
        ),
      ),
    }),
  ),
});
/** What `toDrainBody` makes. */
export type DrainBody = Static<typeof drainShown>;

/** Without what is not there. */
export function toGuaranteeBody({ kind, closesWithinMs, because }: DrainGuarantee) {
  return { kind, ...(closesWithinMs === undefined ? {} : { closesWithinMs }), because };
}

/** The record in the words of the API; `withNodes`: with each Envoy by itself. */
export function toDrainBody(drain: DrainRecord, withNodes: boolean): DrainBody {
  const reported = isReported(drain);
  const gateways = [...new Set([...drain.gateways, ...drain.nodes.map(({ gateway }) => gateway)])].sort();
  return {
    id: drain.id,
    state: stateOf(drain),
    safeToStop: drain.safeToStop,
    endpoints: drain.endpoints.map(({ cluster, endpoint, guarantee, joins, route }) => ({
      cluster,
      endpoint,
      guarantee: toGuaranteeBody(guarantee),
      ...(route === undefined ? {} : { route }),
      ...(joins === undefined ? {} : { joins }),
    })),
    afterwards: drain.afterwards,
    timeoutMs: drain.timeoutMs,
    ...(drain.revision > 0 ? { revision: drain.revision } : {}),
    author: drain.by.author,
    requestId: drain.by.requestId,
    ...(drain.by.reason === undefined ? {} : { reason: drain.by.reason }),
    createdAt: drain.createdAt,
    deadline: drain.deadline,
    ...(drain.endedAt === undefined ? {} : { endedAt: drain.endedAt }),
    ...(drain.leftOpen === undefined ? {} : { leftOpen: drain.leftOpen }),
    ...(drain.outcome === undefined ? {} : { outcome: drain.outcome }),
    ...countsOf(drain.nodes, reported),
    gateways: Object.fromEntries(
      gateways.map((gateway) => [
        gateway,
        gatewayBody(
          drain.nodes.filter((node) => node.gateway === gateway),
          reported,
          withNodes,
        ),
      ]),
    ),
  };
}

function stateOf(drain: DrainRecord): DrainBody["state"] {
  if (drain.state !== "draining") return drain.state;
  return tally(drain.nodes, isReported(drain)).names.unacked.length > 0 ? "requested" : "in-flight";
}

function countsOf(nodes: readonly DrainNode[], reported: boolean) {
  const { names: by, inFlight, unattributed } = tally(nodes, reported);
  const total = nodes.length - by.gone.length;
  return { total, acked: total - by.unacked.length, inFlight, unattributed };
}

function gatewayBody(nodes: readonly DrainNode[], reported: boolean, withNodes: boolean): DrainBody["gateways"][string] {
  const { names: by } = tally(nodes, reported);
  const each = nodes.slice(0, maxNodesShown).map((node) => ({
    node: node.node,
    verdict: verdictOf(node, reported),
    inFlight: node.inFlight,
    unattributed: node.unattributed,
  }));
  return {
    ...countsOf(nodes, reported),
    unacked: [...by.unacked],
    silent: [...by.silent],
    gone: [...by.gone],
    ...(withNodes ? { nodes: each } : {}),
  };
}
