// Calls on routes, and on their weights. In: HTTP. Out: rows, through model/ and the store. Schema and shapes: route-body.ts.
import { randomBytes } from "node:crypto";
import { Type } from "typebox";
import { AppError } from "../errors.js";
import { routeLint, weightsLint } from "../model/lint.js";
import { routeProblems } from "../model/references.js";
import { backendsOf, withBackends } from "../model/route.js";
import { routeRuleProblems, weightProblems } from "../model/route-rules.js";
import type { WriteTx } from "../store/store.js";
import { answering, listAnswers, readAnswers, writeAnswers } from "./answers.js";
import { readAuthor } from "./author.js";
import { weightsField } from "./backend-body.js";
import type { Api, ApiContext } from "./context.js";
import { object } from "./fields.js";
import { endpointsOfBackends, lockAroundRoute } from "./locks.js";
import { existingName, listQuery, missing, nameParams, nameToPut, readOne, readPage } from "./objects.js";
import type { Outcome } from "./outcome.js";
import { checkPreconditions, type Preconditions, readPreconditions } from "./preconditions.js";
import { refuse } from "./problem-details.js";
import { rebalanceAnswers, rebalanceField } from "./rebalance-body.js";
import { holdGround, type RebalanceRequest, rebalanceLint, rebalanceProblems, startRebalance } from "./rebalance-start.js";
import { fromRouteBody, type RouteBody, routeBodyProblems, routePut, routeSchema, toRouteBody } from "./route-body.js";
import { mutationQuery } from "./writes.js";

const tags = ["routes"];

const weightsBody = object({ weights: weightsField, rebalance: Type.Optional(rebalanceField) });

interface RouteWrite {
  readonly name: string;
  readonly body: RouteBody;
  readonly preconditions: Preconditions;
  readonly mustBeNew: boolean;
}

/** The route's own row is locked last, by the order of locks.ts. */
async function write(tx: WriteTx, { name, body, preconditions, mustBeNew }: RouteWrite): Promise<Outcome> {
  const around = await lockAroundRoute(tx, body);
  const stored = await tx.get("route", name);
  checkPreconditions(preconditions, stored?.revision);
  if (stored && mustBeNew) throw new AppError("already_exists", { kind: "route", name });
  const route = fromRouteBody(name, body, around.clusters);
  const endpoints = await endpointsOfBackends(tx, route);
  refuse([...routeBodyProblems(body), ...routeRuleProblems(route), ...routeProblems(route, { ...around, endpoints })]);
  await tx.put("route", route);
  return {
    object: toRouteBody(route),
    revision: stored?.revision ?? 0,
    created: !stored,
    tagged: true,
    lint: routeLint(route, around.clusters),
  };
}

async function writeWeights(
  tx: WriteTx,
  name: string,
  weights: Readonly<Record<string, number>>,
  preconditions: Preconditions,
  rebalance: RebalanceRequest | undefined,
): Promise<Outcome> {
  const ground = rebalance && (await holdGround(tx, name, Object.keys(weights)));
  const stored = await tx.get("route", name);
  if (!stored) throw missing("route", name);
  checkPreconditions(preconditions, stored.revision);
  refuse(weightProblems(stored.object, weights));
  const backends = backendsOf(stored.object).map((backend) => ({
    ...backend,
    weight: weights[backend.cluster] ?? backend.weight,
  }));
  const route = withBackends(stored.object, backends);
  if (ground) refuse(rebalanceProblems(stored.object, route, ground));
  await tx.put("route", route);
  const following = ground && { rebalance: await startRebalance(tx, rebalance, stored.object, route, ground) };
  return {
    ...following,
    object: toRouteBody(route),
    revision: stored.revision,
    created: false,
    tagged: true,
    lint: [...weightsLint(backends, "/backends"), ...(following ? await rebalanceLint(tx, following.rebalance.planned) : [])],
  };
}

/** Adds the calls under /v1/routes. */
export function routeCalls(api: Api, context: ApiContext): void {
  const { store, writes } = context;
  const filters = {
    cluster: Type.Optional(Type.String({ maxLength: 64, description: "Only routes that name this cluster." })),
    listener: Type.Optional(Type.String({ maxLength: 64, description: "Only routes on this listener." })),
  };

  api.get("/v1/routes", {
    schema: answering(listAnswers(routeSchema), { summary: "List routes by name", tags, querystring: listQuery(filters) }),
    handler: ({ query }) => readPage(store, "route", query, { cluster: query.cluster, listener: query.listener }, toRouteBody),
  });

  api.post("/v1/routes", {
    schema: answering(writeAnswers(routeSchema, { creates: true }), {
      summary: "Create a route",
      tags,
      body: routeSchema,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      const { body } = request;
      const preconditions = readPreconditions(request.headers);
      return writes.carryOut(request, reply, (tx) => write(tx, { name: body.name, body, preconditions, mustBeNew: true }));
    },
  });

  api.get("/v1/routes/:name", {
    schema: answering(readAnswers(routeSchema), { summary: "Read a route", tags, params: nameParams }),
    handler: ({ params }, reply) => readOne(store, reply, "route", params.name, toRouteBody),
  });

  api.put("/v1/routes/:name", {
    schema: answering(writeAnswers(routeSchema, { creates: true }), {
      summary: "Create or replace a route",
      tags,
      params: nameParams,
      body: routePut,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      const { body } = request;
      const name = nameToPut(request.params.name, body);
      const preconditions = readPreconditions(request.headers);
      return writes.carryOut(request, reply, (tx) => write(tx, { name, body, preconditions, mustBeNew: false }));
    },
  });

  api.delete("/v1/routes/:name", {
    schema: answering(writeAnswers(routeSchema, { creates: false }), {
      summary: "Delete a route",
      tags,
      params: nameParams,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      const name = existingName("route", request.params.name);
      const preconditions = readPreconditions(request.headers);
      return writes.carryOut(request, reply, async (tx) => {
        const stored = await tx.get("route", name);
        if (!stored) throw missing("route", name);
        checkPreconditions(preconditions, stored.revision);
        await tx.delete("route", name);
        return { object: toRouteBody(stored.object), revision: stored.revision, created: false, tagged: false, lint: [] };
      });
    },
  });
  weightsCall(api, context);
}

function weightsCall(api: Api, { onRebalance, writes }: ApiContext): void {
  api.put("/v1/routes/:name/weights", {
    schema: answering(writeAnswers(routeSchema, { creates: false, begins: rebalanceAnswers }), {
      summary: "Shift the weights of a route's backends, at once and nothing else; with `rebalance`, long connections follow",
      tags,
      params: nameParams,
      body: weightsBody,
      querystring: mutationQuery,
    }),
    handler: async (request, reply) => {
      const name = existingName("route", request.params.name);
      const preconditions = readPreconditions(request.headers);
      const { rebalance: choice, weights } = request.body;
      const by = readAuthor(request.headers, request.id);
      const rebalance = choice && { id: randomBytes(8).toString("hex"), by, choice };
      try {
        return await writes.carryOut(request, reply, (tx) => writeWeights(tx, name, weights, preconditions, rebalance));
      } finally {
        if (rebalance) onRebalance?.();
      }
    },
  });
}
