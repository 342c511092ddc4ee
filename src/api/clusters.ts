// Calls on clusters. In: HTTP. Out: rows, through model/ and the store. Schema and shapes: cluster-body.ts.
import type { Cluster } from "../model/cluster.js";
import { clusterRuleProblems } from "../model/cluster-rules.js";
import { addressKey, type Endpoint } from "../model/endpoint.js";
import { clusterLint, endpointsLint } from "../model/lint.js";
import { problem } from "../model/problem-codes.js";
import { clusterProblems, fitsAsBefore } from "../model/references.js";
import { repeated } from "../model/route-rules.js";
import type { Stored, WriteTx } from "../store/store.js";
import { answering, listAnswers, readAnswers, writeAnswers } from "./answers.js";
import { type ClusterBody, clusterCreated, clusterPut, clusterShown, fromClusterBody, toClusterBody } from "./cluster-body.js";
import type { Api, ApiContext } from "./context.js";
import { fromEndpointBody } from "./endpoint-body.js";
import { lockCluster } from "./locks.js";
import { existingName, listQuery, missing, nameParams, nameToPut, readOne, readPage } from "./objects.js";
import type { Outcome } from "./outcome.js";
import { checkPreconditions, readPreconditions } from "./preconditions.js";
import { refuse } from "./problem-details.js";
import { mutationQuery } from "./writes.js";

const tags = ["clusters"];

function inlineEndpoints(name: string, body: ClusterBody): readonly Endpoint[] {
  return (body.endpoints ?? []).map((endpoint) => fromEndpointBody(name, endpoint));
}

/** What the body says wrong by itself. */
function bodyProblems(cluster: Cluster, endpoints: readonly Endpoint[]) {
  return [...clusterRuleProblems(cluster), ...repeated(endpoints.map(addressKey), (at) => `/endpoints/${at}`, "endpoint")];
}

async function create(tx: WriteTx, cluster: Cluster, endpoints: readonly Endpoint[]): Promise<Outcome> {
  refuse(bodyProblems(cluster, endpoints));
  await tx.insert("cluster", cluster);
  // No route can name the cluster yet, so its endpoints meet no rule of references.
  if (endpoints.length > 0) await tx.putAll("endpoint", endpoints);
  const lint = [...clusterLint(cluster, []), ...endpointsLint(endpoints, "/endpoints")];
  return { object: toClusterBody(cluster), revision: 0, created: true, tagged: true, lint };
}

async function replace(
  tx: WriteTx,
  before: Stored<Cluster>,
  cluster: Cluster,
  around: Awaited<ReturnType<typeof lockCluster>>,
  hasEndpoints: boolean,
): Promise<Outcome> {
  const inline = hasEndpoints
    ? [
        problem(
          "/endpoints",
          "contradiction",
          `cluster ${cluster.name} exists: its endpoints are changed by PUT or PATCH on /v1/clusters/${cluster.name}/endpoints`,
        ),
      ]
    : [];
  const fits = fitsAsBefore(before.object, cluster);
  const broken = fits ? [] : clusterProblems(cluster, around.routes, around.clusters, before.object);
  refuse([...inline, ...clusterRuleProblems(cluster), ...broken]);
  await tx.put("cluster", cluster);
  return {
    object: toClusterBody(cluster),
    revision: before.revision,
    created: false,
    tagged: true,
    lint: clusterLint(cluster, around.routes),
  };
}

/** Adds the calls under /v1/clusters that are about the cluster itself. */
export function clusterCalls(api: Api, context: ApiContext): void {
  readCalls(api, context);
  writeCalls(api, context);
}

function readCalls(api: Api, { store }: ApiContext): void {
  api.get("/v1/clusters", {
    schema: answering(listAnswers(clusterShown), { summary: "List clusters by name", tags, querystring: listQuery({}) }),
    handler: ({ query }) => readPage(store, "cluster", query, {}, toClusterBody),
  });

  api.get("/v1/clusters/:name", {
    schema: answering(readAnswers(clusterShown), { summary: "Read a cluster", tags, params: nameParams }),
    handler: ({ params }, reply) => readOne(store, reply, "cluster", params.name, toClusterBody),
  });
}

function writeCalls(api: Api, { writes, limits }: ApiContext): void {
  const bodyLimit = limits.maxEndpointsBodyBytes;

  api.post("/v1/clusters", {
    bodyLimit,
    schema: answering(writeAnswers(clusterShown, { creates: true }), {
      summary: "Create a cluster, with endpoints or without",
      tags,
      body: clusterCreated,
      querystring: mutationQuery,
    }),
    handler: (request, reply) =>
      writes.carryOut(request, reply, async (tx) => {
        const { body } = request;
        checkPreconditions(readPreconditions(request.headers), (await tx.get("cluster", body.name))?.revision);
        return create(tx, fromClusterBody(body.name, body), inlineEndpoints(body.name, body));
      }),
  });

  api.put("/v1/clusters/:name", {
    bodyLimit,
    schema: answering(writeAnswers(clusterShown, { creates: true }), {
      summary: "Create or replace a cluster; its endpoints stay",
      tags,
      params: nameParams,
      body: clusterPut,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      const { body, params, headers } = request;
      const name = nameToPut(params.name, body);
      const preconditions = readPreconditions(headers);
      return writes.carryOut(request, reply, async (tx) => {
        const around = await lockCluster(tx, name);
        checkPreconditions(preconditions, around.stored?.revision);
        const cluster = fromClusterBody(name, body);
        if (!around.stored) return create(tx, cluster, inlineEndpoints(name, body));
        return replace(tx, around.stored, cluster, around, body.endpoints !== undefined);
      });
    },
  });

  api.delete("/v1/clusters/:name", {
    schema: answering(writeAnswers(clusterShown, { creates: false }), {
      summary: "Delete a cluster that no route names, with its endpoints",
      tags,
      params: nameParams,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      const name = existingName("cluster", request.params.name);
      const preconditions = readPreconditions(request.headers);
      return writes.carryOut(request, reply, async (tx) => {
        const stored = await tx.get("cluster", name);
        if (!stored) throw missing("cluster", name);
        checkPreconditions(preconditions, stored.revision);
        await tx.delete("cluster", name);
        return { object: toClusterBody(stored.object), revision: stored.revision, created: false, tagged: false, lint: [] };
      });
    },
  });
}
