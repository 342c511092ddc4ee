// Calls on listeners. In: HTTP. Out: rows, through model/ and the store. Schema and shapes: listener-body.ts.
import { Type } from "typebox";
import type { Listener } from "../model/listener.js";
import { listenerProblems } from "../model/references.js";
import { sameContent } from "../model/same.js";
import type { Stored, WriteTx } from "../store/store.js";
import { answering, listAnswers, readAnswers, writeAnswers } from "./answers.js";
import type { Api, ApiContext } from "./context.js";
import { fromListenerBody, listenerPut, listenerSchema, toListenerBody } from "./listener-body.js";
import { existingName, listQuery, missing, nameParams, nameToPut, readOne, readPage } from "./objects.js";
import type { Outcome } from "./outcome.js";
import { checkPreconditions, readPreconditions } from "./preconditions.js";
import { refuse } from "./problem-details.js";
import { mutationQuery } from "./writes.js";

const tags = ["listeners"];

/** Whether the rules need not be asked: what they look at is as it was. */
function sameSocket(one: Listener, other: Listener): boolean {
  return (
    one.port === other.port &&
    one.address === other.address &&
    one.protocol === other.protocol &&
    sameContent(one.gateways, other.gateways)
  );
}

/** The listener is locked by the caller. Two writers who want one address meet in `listenersAt`. */
async function put(tx: WriteTx, listener: Listener, stored: Stored<Listener> | undefined): Promise<Outcome> {
  if (!stored || !sameSocket(stored.object, listener)) {
    const atPort = await tx.listenersAt(listener.address, listener.port);
    const routes = stored && stored.object.protocol !== listener.protocol ? await tx.routesOfListener(listener.name) : [];
    refuse(
      listenerProblems(
        listener,
        atPort,
        routes.map(({ object }) => object),
      ),
    );
  }
  await tx.put("listener", listener);
  return { object: toListenerBody(listener), revision: stored?.revision ?? 0, created: !stored, tagged: true, lint: [] };
}

/** Adds the calls under /v1/listeners. */
export function listenerCalls(api: Api, context: ApiContext): void {
  readCalls(api, context);
  writeCalls(api, context);
}

function readCalls(api: Api, { store }: ApiContext): void {
  const filters = { gateway: Type.Optional(Type.String({ maxLength: 64, description: "Only listeners of this gateway." })) };

  api.get("/v1/listeners", {
    schema: answering(listAnswers(listenerSchema), { summary: "List listeners by name", tags, querystring: listQuery(filters) }),
    handler: ({ query }) => readPage(store, "listener", query, { gateway: query.gateway }, toListenerBody),
  });

  api.get("/v1/listeners/:name", {
    schema: answering(readAnswers(listenerSchema), { summary: "Read a listener", tags, params: nameParams }),
    handler: ({ params }, reply) => readOne(store, reply, "listener", params.name, toListenerBody),
  });
}

function writeCalls(api: Api, { writes }: ApiContext): void {
  api.post("/v1/listeners", {
    schema: answering(writeAnswers(listenerSchema, { creates: true }), {
      summary: "Create a listener",
      tags,
      body: listenerSchema,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      const listener = fromListenerBody(request.body.name, request.body);
      const preconditions = readPreconditions(request.headers);
      return writes.carryOut(request, reply, async (tx) => {
        const stored = await tx.get("listener", listener.name);
        checkPreconditions(preconditions, stored?.revision);
        if (stored) await tx.insert("listener", listener); // Says that it exists.
        return put(tx, listener, stored);
      });
    },
  });

  api.put("/v1/listeners/:name", {
    schema: answering(writeAnswers(listenerSchema, { creates: true }), {
      summary: "Create or replace a listener",
      tags,
      params: nameParams,
      body: listenerPut,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      const listener = fromListenerBody(nameToPut(request.params.name, request.body), request.body);
      const preconditions = readPreconditions(request.headers);
      return writes.carryOut(request, reply, async (tx) => {
        const stored = await tx.get("listener", listener.name);
        checkPreconditions(preconditions, stored?.revision);
        return put(tx, listener, stored);
      });
    },
  });

  api.delete("/v1/listeners/:name", {
    schema: answering(writeAnswers(listenerSchema, { creates: false }), {
      summary: "Delete a listener that no route names",
      tags,
      params: nameParams,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      const name = existingName("listener", request.params.name);
      const preconditions = readPreconditions(request.headers);
      return writes.carryOut(request, reply, async (tx) => {
        const stored = await tx.get("listener", name);
        if (!stored) throw missing("listener", name);
        checkPreconditions(preconditions, stored.revision);
        await tx.delete("listener", name);
        return { object: toListenerBody(stored.object), revision: stored.revision, created: false, tagged: false, lint: [] };
      });
    },
  });
}
