// Calls on drains: begin, look, wait, list, cancel. In: HTTP. Out: rows through the store; the end is brought about by drain/.
// What a body holds: drain-body.ts; how a drain begins: drain-start.ts.
import { randomBytes } from "node:crypto";
import { Type } from "typebox";
import { cancel } from "../drain/take-step.js";
import { AppError } from "../errors.js";
import type { DrainRecord } from "../store/store.js";
import { answering, listAnswers, readAnswers, writeAnswers } from "./answers.js";
import { readAuthor } from "./author.js";
import type { Api, ApiContext } from "./context.js";
import { drainPost, drainShown, toDrainBody } from "./drain-body.js";
import { shown, startDrain } from "./drain-start.js";
import { createEndRead, safeWaitQuery } from "./end-waits.js";
import { integer, object } from "./fields.js";
import { refusePreconditions } from "./preconditions.js";
import { overridesOf } from "./write-choices.js";
import { type MutationAnswer, mutationQuery } from "./writes.js";

const tags = ["drains"];
const standardLimit = 100;

const params = Type.Object({ id: Type.String({ description: "Its id." }) });
const idForm = /^[0-9a-f]{16}$/;

const listQuery = object({
  open: Type.Optional(
    Type.Unsafe<"true" | "false">({
      type: "string",
      enum: ["true", "false"],
      description: "Only those that have not ended, or have.",
    }),
  ),
  after: Type.Optional(Type.String({ maxLength: 64, description: "Drains older than this one: the `next` of the page before." })),
  limit: Type.Optional(integer(1, 1000, "Drains on a page.", standardLimit)),
});

function missingDrain(id: string): AppError {
  const name = id.slice(0, 64);
  return new AppError("not_found", { kind: "drain", name, detail: `there is no drain ${name}` });
}

/** The revision of a drain is known when it is committed, after the drain was read. */
function withRevision<T extends MutationAnswer | object>(answer: T): T {
  if (!("object" in answer && "revision" in answer)) return answer;
  const drain = answer.object;
  const isBlank = typeof drain === "object" && drain !== null && !("revision" in drain) && !("endedAt" in drain);
  return isBlank ? { ...answer, object: { ...drain, revision: answer.revision } } : answer;
}

/** Adds the calls under /v1/drains. */
export function drainCalls(api: Api, context: ApiContext): void {
  writeCalls(api, context);
  readCalls(api, context);
}

function writeCalls(api: Api, { writes, limits, onDrain, tellHealth = () => [] }: ApiContext): void {
  api.post("/v1/drains", {
    bodyLimit: limits.maxEndpointsBodyBytes,
    schema: answering(writeAnswers(drainShown, { creates: true }), {
      summary:
        "Drain endpoints: nothing new is sent there, what is there goes on to the deadline, and it is told when it is safe to stop",
      tags,
      body: drainPost,
      querystring: mutationQuery,
    }),
    handler: async (request, reply) => {
      refusePreconditions(request.headers);
      const { body, query } = request;
      const id = randomBytes(8).toString("hex");
      const given = readAuthor(request.headers, request.id);
      const by = { ...given, reason: given.reason ?? body.reason };
      const mayTakeLast = overridesOf(query.override, undefined).includes("last-endpoint");
      const work = { id, body, by, mayTakeLast, tellHealth };
      const answer = await writes.carryOut(request, reply, (tx) => startDrain(tx, work), {
        reason: body.reason,
        isOfEndpoints: true,
      });
      onDrain?.();
      return withRevision(answer);
    },
  });

  api.delete("/v1/drains/:id", {
    schema: answering(writeAnswers(drainShown, { creates: false }), {
      summary: "Cancel a drain: its endpoints are as before",
      tags,
      params,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      refusePreconditions(request.headers);
      const { id } = request.params;
      const { author } = readAuthor(request.headers, request.id);
      return writes.carryOut(
        request,
        reply,
        async (tx) => {
          const drain = idForm.test(id) ? await tx.drains.hold(id) : undefined;
          if (!drain) throw missingDrain(id);
          if (!(await cancel(tx, drain, `cancelled by ${author}`)) && drain.state !== "cancelled") throw endedAlready(drain);
          return shown(tx, id, drain.revision);
        },
        { drain: id, isOfEndpoints: true },
      );
    },
  });
}

function endedAlready({ id, state, safeToStop, endedAt }: DrainRecord): AppError {
  const detail = `drain ${id} has ended: its endpoints are ${state}`;
  return new AppError("drain_ended", { drain: id, state, safeToStop, endedAt, detail });
}

function readCalls(api: Api, context: ApiContext): void {
  const { store } = context;
  const read = async (id: string): Promise<DrainRecord> => {
    const drain = idForm.test(id) ? await store.drains.get(id) : undefined;
    if (!drain) throw missingDrain(id);
    return drain;
  };
  const readEnd = createEndRead(store.drains, read, context);

  api.get("/v1/drains", {
    schema: answering(listAnswers(drainShown), { summary: "List drains, newest first", tags, querystring: listQuery }),
    handler: async ({ query: { after, limit = standardLimit, open } }) => {
      const page = { after: after?.replaceAll("\0", ""), limit, open: open === undefined ? undefined : open === "true" };
      const { items, next } = await store.drains.list(page);
      return { items: items.map((drain) => toDrainBody(drain, false)), ...(next === undefined ? {} : { next }) };
    },
  });

  api.get("/v1/drains/:id", {
    schema: answering(
      { ...readAnswers(drainShown), 202: drainShown },
      { summary: "Read a drain, or wait until it has ended", tags, params, querystring: safeWaitQuery },
    ),
    handler: async ({ params: { id }, query, raw }, reply) => toDrainBody(await readEnd(id, query, raw, reply), true),
  });
}
