// Calls on rebalances: look at them, wait for their end, cancel them. They begin with a shift of weights (routes.ts), and the jobs of every
// control plane bring them to their end. In: HTTP. Out: RebalanceRecords as JSON, or a write that puts an endpoint back.
import { Type } from "typebox";
import { connectionsByCluster, countsOf } from "../drain/rebalance-step.js";
import { cancelRebalance } from "../drain/take-rebalance-step.js";
import { AppError } from "../errors.js";
import type { RebalanceRecord } from "../store/store.js";
import { answering, listAnswers, readAnswers, writeAnswers } from "./answers.js";
import { readAuthor } from "./author.js";
import type { Api, ApiContext } from "./context.js";
import { createEndRead, standardEndWaitMs } from "./end-waits.js";
import { integer, milliseconds, object } from "./fields.js";
import { refusePreconditions } from "./preconditions.js";
import { rebalanceShown, toRebalanceBody } from "./rebalance-body.js";
import { maxWaitMs } from "./write-choices.js";
import { mutationQuery } from "./writes.js";

const tags = ["rebalances"];
const standardLimit = 100;

const params = Type.Object({ id: Type.String({ description: "Its id." }) });
const idForm = /^[0-9a-f]{16}$/;

const readQuery = object({
  wait: Type.Optional(Type.Literal("done", { description: "Answer when it has ended (200), or when the time is over (202)." })),
  timeoutMs: Type.Optional(milliseconds(0, maxWaitMs, "Longest wait.", standardEndWaitMs)),
});
const listQuery = object({
  open: Type.Optional(
    Type.Unsafe<"true" | "false">({
      type: "string",
      enum: ["true", "false"],
      description: "Only those that have not ended, or have.",
    }),
  ),
  after: Type.Optional(Type.String({ maxLength: 64, description: "Older than this one: the `next` of the page before." })),
  limit: Type.Optional(integer(1, 1000, "Rebalances on a page.", standardLimit)),
});

function missingRebalance(id: string): AppError {
  const name = id.slice(0, 64);
  return new AppError("not_found", { kind: "rebalance", name, detail: `there is no rebalance ${name}` });
}

/** Adds the calls under /v1/rebalances. */
export function rebalanceCalls(api: Api, context: ApiContext): void {
  readCalls(api, context);
  const { onRebalance, writes } = context;
  api.delete("/v1/rebalances/:id", {
    schema: answering(writeAnswers(rebalanceShown, { creates: false }), {
      summary: "Cancel a rebalance: an endpoint that is being closed is back at once; the weights stay",
      tags,
      params,
      querystring: mutationQuery,
    }),
    handler: async (request, reply) => {
      refusePreconditions(request.headers);
      const { id } = request.params;
      const { author } = readAuthor(request.headers, request.id);
      const answer = await writes.carryOut(
        request,
        reply,
        async (tx) => {
          const held = idForm.test(id) ? await tx.rebalances.hold(id) : undefined;
          if (!held) throw missingRebalance(id);
          if (!(await cancelRebalance(tx, held, "cancelled", `cancelled by ${author}`)) && held.state !== "cancelled")
            throw endedAlready(held);
          const shown = toRebalanceBody((await tx.rebalances.read(id)) ?? held);
          const revision = (await tx.share("route", held.route))?.revision ?? 0; // That nothing is newer than, for it has none of its own.
          return { object: shown, revision, created: false, tagged: false, lint: [] };
        },
        { isOfEndpoints: true },
      );
      onRebalance?.();
      return answer;
    },
  });
}

function endedAlready({ id, state, endedAt, outcome }: RebalanceRecord): AppError {
  return new AppError("rebalance_ended", { rebalance: id, state, endedAt, detail: `rebalance ${id} has ended: ${outcome}` });
}

function readCalls(api: Api, context: ApiContext): void {
  const { store } = context;
  const read = async (id: string): Promise<RebalanceRecord> => {
    const found = idForm.test(id) ? await store.rebalances.get(id) : undefined;
    if (!found) throw missingRebalance(id);
    return found;
  };
  const readEnd = createEndRead(store.rebalances, read, context);
  const show = async (record: RebalanceRecord) => {
    if (record.endedAt !== undefined || record.nodes.length === 0) return toRebalanceBody(record);
    const found = await Promise.all(Object.keys(record.weights).map((cluster) => store.read.endpointsOf(cluster)));
    const endpoints = found.flatMap((all) => (all ?? []).map(({ object }) => object));
    return toRebalanceBody(record, Object.fromEntries(connectionsByCluster(countsOf(record), endpoints)));
  };

  api.get("/v1/rebalances", {
    schema: answering(listAnswers(rebalanceShown), { summary: "List rebalances, newest first", tags, querystring: listQuery }),
    handler: async ({ query: { after, limit = standardLimit, open } }) => {
      const page = { after: after?.replaceAll("\0", ""), limit, open: open === undefined ? undefined : open === "true" };
      const { items, next } = await store.rebalances.list(page);
      return { items: items.map((record) => toRebalanceBody(record)), ...(next === undefined ? {} : { next }) };
    },
  });

  api.get("/v1/rebalances/:id", {
    schema: answering(
      { ...readAnswers(rebalanceShown), 202: rebalanceShown },
      { summary: "Read a rebalance, or wait until it has ended", tags, params, querystring: readQuery },
    ),
    handler: async ({ params: { id }, query, raw }, reply) => show(await readEnd(id, query, raw, reply)),
  });
}
