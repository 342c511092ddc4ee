// Drains of Envoys: /v1/node-drains. In: HTTP. Out: rows and revisions through the store; the end is brought about by drain/.
// A resource of its own, by the node's id: an Envoy is drained or is not, so that asking again is asking for the same. What a body holds:
// node-drain-body.ts.
import { randomBytes } from "node:crypto";
import { Type } from "typebox";
import { AppError } from "../errors.js";
import { maxNodeDrains, standardLameDuckMs, standardNodeDrainTimeoutMs } from "../model/node-drain.js";
import type { Author } from "../model/revision.js";
import type { NodeDrainRecord, WriteTx } from "../store/store.js";
import { answering, listAnswers, nodeDrainAnswers, readAnswers } from "./answers.js";
import { readAuthor } from "./author.js";
import type { Api, ApiContext } from "./context.js";
import { createEndRead, safeWaitQuery } from "./end-waits.js";
import { integer, object } from "./fields.js";
import { type NodeDrainPost, nodeDrainPost, nodeDrainShown, toNodeDrainBody } from "./node-drain-body.js";
import type { Outcome } from "./outcome.js";
import { refusePreconditions } from "./preconditions.js";
import { dryRunField, overrideField, overridesOf } from "./write-choices.js";

const tags = ["drains"];
const standardLimit = 100;
/** Names that a wrong one is answered with. */
const maxNamesTold = 5;

const params = Type.Object({ node: Type.String({ maxLength: 255, description: "Id of the Envoy." }) });
const startQuery = object({ dryRun: Type.Optional(dryRunField), override: Type.Optional(overrideField) });
const listQuery = object({
  gateway: Type.Optional(Type.String({ maxLength: 255, description: "Only Envoys of this gateway. Up to 255 characters." })),
  after: Type.Optional(Type.String({ maxLength: 255, description: "Nodes after this one. Up to 255 characters." })),
  limit: Type.Optional(integer(1, 1000, "Drains on a page.", standardLimit)),
});

/** What is to be drained, by whom. */
interface NodeDrainRequest {
  readonly id: string;
  readonly body: NodeDrainPost;
  readonly by: Author;
  /** Its gateway as this replica knows it; undefined: ask the database, where an Envoy shows a moment after it has connected. */
  readonly gateway: string | undefined;
  /** A gateway may be left without an Envoy that serves. */
  readonly mayTakeLast: boolean;
}

function notDrained(node: string): AppError {
  return new AppError("not_found", { kind: "node drain", name: node, detail: `Envoy ${node} is not drained` });
}

/** Those that begin most like the wrong one. */
function unknownNode(node: string, known: readonly string[]): AppError {
  const likeness = (name: string): number => {
    let same = 0;
    while (same < name.length && name[same] === node[same]) same += 1;
    return same;
  };
  const similar = [...known].sort((a, b) => likeness(b) - likeness(a) || (a < b ? -1 : 1)).slice(0, maxNamesTold);
  const others =
    similar.length > 0 ? `; there is ${similar.join(", ")}${known.length > similar.length ? " and others" : ""}` : "";
  return new AppError("not_found", {
    kind: "node",
    name: node,
    known: similar,
    detail: `no Envoy ${node} is or was lately connected${others}`,
  });
}

/** @throws not_found, guard_refused, too_many_requests */
async function startNodeDrain(tx: WriteTx, { id, body, by, gateway: own, mayTakeLast }: NodeDrainRequest): Promise<Outcome> {
  const { node, timeoutMs = standardNodeDrainTimeoutMs } = body;
  await tx.nodeDrains.lock();
  const known = await tx.nodeDrains.hold(node);
  // One that ended unsafe is waited for once more; any other is the same drain.
  if (known && (known.endedAt === undefined || known.safeToStop)) return shown(tx, known, false);
  const gateway = known?.gateway ?? own ?? (await tx.nodeDrains.gatewayOf(node));
  if (gateway === undefined) throw unknownNode(node, await tx.nodeDrains.knownNodes());
  if (known) await tx.nodeDrains.again({ node, id, by, timeoutMs });
  else {
    const { drained, others } = await tx.nodeDrains.count(gateway, node);
    if (drained >= maxNodeDrains)
      throw new AppError("too_many_requests", { maxNodeDrains, detail: `${drained} Envoys are drained already` });
    if (others === 0 && !mayTakeLast) throw lastNode(node, gateway);
    const lameDuckMs = body.lameDuckMs ?? ((await tx.nodeDrains.hasHealthPath(gateway)) ? standardLameDuckMs : 0);
    await tx.nodeDrains.begin({ node, id, gateway, by, lameDuckMs, timeoutMs });
  }
  const begun = await tx.nodeDrains.hold(node);
  if (!begun) throw notDrained(node);
  return shown(tx, begun, !known);
}

function lastNode(node: string, gateway: string): AppError {
  const detail = `no other Envoy of gateway ${gateway} is connected and not drained: without ${node} nobody serves it. If that is meant, override last-node.`;
  const guards = [{ guard: "last-node", kind: "node", gateway, before: 1, gone: 1, after: 0 }];
  return new AppError("guard_refused", { guards, override: ["last-node"], detail });
}

async function shown(tx: WriteTx, drain: NodeDrainRecord, created: boolean): Promise<Outcome> {
  const revision = created ? 0 : await tx.nodeDrains.revisionOf(drain.node);
  return { object: toNodeDrainBody(drain), revision, created, tagged: false, lint: [] };
}

function startCall(api: Api, { fleet, store, writes, onDrain }: ApiContext): void {
  api.post("/v1/node-drains", {
    schema: answering(nodeDrainAnswers(nodeDrainShown), {
      summary:
        "Drain an Envoy, to stop or replace it: its health checks fail, then its listeners go, and it is told when no connection is left",
      tags,
      body: nodeDrainPost,
      querystring: startQuery,
    }),
    handler: async (request, reply) => {
      refusePreconditions(request.headers);
      const { body, query } = request;
      const given = readAuthor(request.headers, request.id);
      const by = { ...given, reason: given.reason ?? body.reason };
      const overrides = overridesOf(query.override, undefined);
      const id = randomBytes(8).toString("hex");
      const gateway = (await fleet.node(body.node))?.gateway;
      const mayTakeLast = overrides.includes("last-node");
      const work = (tx: WriteTx) => startNodeDrain(tx, { id, body, by, gateway, mayTakeLast });
      if (query.dryRun === "true") {
        const { value } = await store.write(by, work, { dryRun: true, overrides });
        return { revision: null, changed: value.created, object: value.object, lint: value.lint };
      }
      const reason = `drain of Envoy ${body.node}`;
      const answer = await writes.carryOut(request, reply, work, { reason: body.reason ?? reason, isOfEndpoints: true });
      onDrain?.();
      return answer;
    },
  });
}

function cancelCall(api: Api, { writes }: ApiContext): void {
  api.delete("/v1/node-drains/:node", {
    schema: answering(nodeDrainAnswers(nodeDrainShown), {
      summary: "End the drain of an Envoy, whether or not it has ended by itself: its listeners come back",
      tags,
      params,
      querystring: object({}),
    }),
    handler: async (request, reply) => {
      refusePreconditions(request.headers);
      const { node } = request.params;
      const { author } = readAuthor(request.headers, request.id);
      const work = async (tx: WriteTx): Promise<Outcome> => {
        const drain = await tx.nodeDrains.hold(node);
        if (!drain) throw notDrained(node);
        await tx.nodeDrains.lift(drain);
        const object = { ...toNodeDrainBody(drain), state: "cancelled", outcome: `cancelled by ${author}` };
        return { object, revision: 0, created: false, tagged: false, lint: [] };
      };
      return writes.carryOut(request, reply, work, {
        reason: `drain of Envoy ${node} cancelled`.slice(0, 512),
        isOfEndpoints: true,
      });
    },
  });
}

function readCalls(api: Api, context: ApiContext): void {
  const { store } = context;
  const read = async (node: string): Promise<NodeDrainRecord> => {
    const drain = await store.nodeDrains.get(node);
    if (!drain) throw notDrained(node);
    return drain;
  };
  const readEnd = createEndRead(store.nodeDrains, read, context);

  api.get("/v1/node-drains", {
    schema: answering(listAnswers(nodeDrainShown), { summary: "List drained Envoys by node", tags, querystring: listQuery }),
    handler: async ({ query: { gateway, after, limit = standardLimit } }) => {
      const found = await store.nodeDrains.list({ gateway, after, limit: limit + 1 });
      const items = found.slice(0, limit);
      const next = found.length > limit ? items.at(-1)?.node : undefined;
      return { items: items.map(toNodeDrainBody), ...(next === undefined ? {} : { next }) };
    },
  });

  api.get("/v1/node-drains/:node", {
    schema: answering(
      { ...readAnswers(nodeDrainShown), 202: nodeDrainShown },
      { summary: "Read the drain of an Envoy, or wait until it has ended", tags, params, querystring: safeWaitQuery },
    ),
    handler: async ({ params: { node }, query, raw }, reply) => toNodeDrainBody(await readEnd(node, query, raw, reply)),
  });
}

/** Adds the calls under /v1/node-drains. */
export function nodeDrainCalls(api: Api, context: ApiContext): void {
  startCall(api, context);
  cancelCall(api, context);
  readCalls(api, context);
}
