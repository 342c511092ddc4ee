// Calls on endpoints: one by its address, the whole set, many at once. In: HTTP. Out: rows, through model/ and the store.
// All of them hold the cluster, so writers of one cluster go one after the other; send many changes in one PATCH.
// Schema and shapes: endpoint-body.ts.
import { Type } from "typebox";
import type { Problem } from "../errors.js";
import { canonicalAddress, parseAddressKey } from "../model/address.js";
import { addressKey, type Endpoint } from "../model/endpoint.js";
import { endpointsLint } from "../model/lint.js";
import { problem } from "../model/problem-codes.js";
import { endpointProblems, locationProblems, type PlacedEndpoint } from "../model/references.js";
import { repeated } from "../model/route-rules.js";
import type { Stored, WriteTx } from "../store/store.js";
import { answering, readAnswers, writeAnswers } from "./answers.js";
import { maxEndpointsPerCall } from "./cluster-body.js";
import type { Api, ApiContext } from "./context.js";
import {
  type EndpointBody,
  type EndpointPutBody,
  endpointPatch,
  endpointPut,
  endpointSchema,
  fromEndpointBody,
  patched,
  toEndpointBody,
} from "./endpoint-body.js";
import { list, object } from "./fields.js";
import { formatFault } from "./formats.js";
import { lockSiblings } from "./locks.js";
import { existingName, missing, nameParams } from "./objects.js";
import type { Outcome } from "./outcome.js";
import { checkPreconditions, etag, readPreconditions, refusePreconditions } from "./preconditions.js";
import { invalid, refuse } from "./problem-details.js";
import { mutationQuery } from "./writes.js";

/** All writes here are of endpoints. */
const ofEndpoints = { isOfEndpoints: true } as const;

const tags = ["endpoints"];
const endpointParams = Type.Object({
  name: Type.String({ description: "Name of the cluster." }),
  endpoint: Type.String({ description: "`10.0.0.7:8080` or `[fd00::7]:8080`." }),
});
const keySchema = Type.String({
  minLength: 1,
  maxLength: 64,
  description: "`10.0.0.7:8080` or `[fd00::7]:8080`. 1–64 characters.",
});

const setSchema = object({
  endpoints: list(endpointSchema, 0, maxEndpointsPerCall, "All endpoints of the cluster; those that are not named are removed."),
});
const patchSchema = object({
  upsert: Type.Optional(list(endpointSchema, 0, maxEndpointsPerCall, "Endpoints to create or replace.")),
  remove: Type.Optional(list(keySchema, 0, maxEndpointsPerCall, "Addresses to remove; each must be there.")),
});

/** A body that the schema has passed, and where it stands in the request. */
interface PlacedBody {
  readonly body: EndpointBody;
  readonly pointer: string;
}

function keyOf({ address, port }: { readonly address: string; readonly port: number }): string {
  return addressKey({ address: canonicalAddress(address) ?? address, port });
}

function nameOf(endpoint: Endpoint): string {
  return `${endpoint.cluster}/${addressKey(endpoint)}`;
}

/** The body of PUT: address and port are the path's, which the body may repeat. @throws invalid_body */
function wholeBody(key: string, body: EndpointPutBody): EndpointBody {
  const parsed = parseAddressKey(key);
  const fault = formatFault("endpoint-address", parsed?.address ?? key.replace(/:\d*$/, ""));
  if (!parsed || fault !== undefined) {
    throw invalid([
      problem(
        "/address",
        "wrong_format",
        fault ?? "the path ends with an address and a port, like 10.0.0.7:8080 or [fd00::7]:8080",
      ),
    ]);
  }
  const differs: Problem[] = [];
  if (body.address !== undefined && canonicalAddress(body.address) !== parsed.address)
    differs.push(problem("/address", "name_differs", `the path says ${parsed.address}`));
  if (body.port !== undefined && body.port !== parsed.port)
    differs.push(problem("/port", "name_differs", `the path says ${parsed.port}`));
  refuse(differs);
  return { ...body, ...parsed };
}

/** The name of an endpoint that may be there. @throws not_found */
function existingEndpoint(cluster: string, key: string): string {
  const parsed = parseAddressKey(key);
  if (!parsed) throw missing("endpoint", `${cluster}/${key}`);
  return `${existingName("cluster", cluster)}/${addressKey(parsed)}`;
}

async function holdCluster(tx: WriteTx, name: string): Promise<void> {
  if (!(await tx.get("cluster", name))) throw missing("cluster", name);
}

/** The rules for endpoints that come or change. Only a new address can be in another backend already. */
async function upsertProblems(
  tx: WriteTx,
  cluster: string,
  placed: readonly PlacedEndpoint[],
  before: StoredSet,
): Promise<readonly Problem[]> {
  const moved = placed.flatMap(({ endpoint, pointer }) => {
    const old = before.get(addressKey(endpoint));
    return old ? locationProblems(old.object, endpoint, pointer) : [];
  });
  const added = placed.filter(({ endpoint }) => !before.has(addressKey(endpoint)));
  return added.length === 0 ? moved : [...moved, ...endpointProblems(added, await lockSiblings(tx, cluster))];
}

async function putOne(tx: WriteTx, endpoint: Endpoint, stored: Stored<Endpoint> | undefined): Promise<Outcome> {
  const before = new Map(stored ? [[addressKey(endpoint), stored]] : []);
  refuse(await upsertProblems(tx, endpoint.cluster, [{ endpoint, pointer: "" }], before));
  await tx.put("endpoint", endpoint);
  return { object: toEndpointBody(endpoint), revision: stored?.revision ?? 0, created: !stored, tagged: true, lint: [] };
}

/** address key → the endpoint as it is stored. */
type StoredSet = ReadonlyMap<string, Stored<Endpoint>>;

/** What becomes of a cluster's endpoints. */
interface SetChange {
  readonly cluster: string;
  readonly bodies: readonly PlacedBody[];
  readonly removes: (key: string) => boolean;
  /** More that may be wrong, given what is there. */
  readonly check: (before: StoredSet) => readonly Problem[];
}

/**
 * Makes the set what it shall be, and answers with all of it. A set that stays as it is was last changed by its newest member, as
 * far as is known: an earlier removal left nothing that could tell of it.
 */
async function changeSet(tx: WriteTx, { cluster, bodies, removes, check }: SetChange): Promise<Outcome> {
  await holdCluster(tx, cluster);
  const stored = await tx.endpointsOf(cluster);
  const before = new Map(stored.map((one) => [addressKey(one.object), one]));
  const placed = bodies.map(({ body, pointer }) => ({
    endpoint: fromEndpointBody(cluster, body, before.get(keyOf(body))?.object),
    pointer,
  }));
  refuse([...check(before), ...(await upsertProblems(tx, cluster, placed, before))]);
  const gone = [...before.keys()].filter(removes);
  await tx.deleteAll(
    "endpoint",
    gone.map((key) => `${cluster}/${key}`),
  );
  const upserted = placed.map(({ endpoint }) => endpoint).sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  await tx.putAll("endpoint", upserted);
  const after = (await tx.endpointsOf(cluster)).map(({ object: one }) => one);
  const revision = Math.max(0, ...stored.map((one) => one.revision));
  return {
    object: { endpoints: after.map(toEndpointBody) },
    revision,
    created: false,
    tagged: false,
    lint: endpointsLint(after, "/endpoints"),
  };
}

function place(bodies: readonly EndpointBody[], list: string): readonly PlacedBody[] {
  return bodies.map((body, at) => ({ body, pointer: `/${list}/${at}` }));
}

/** What a PATCH says wrong by itself: addresses twice, and such as are none. */
function patchProblems(upsert: readonly PlacedBody[], remove: readonly (string | undefined)[]): readonly Problem[] {
  const keys = upsert.map(({ body }) => keyOf(body));
  const upserted = new Set(keys);
  const removals = remove.flatMap((key, at) => {
    const pointer = `/remove/${at}`;
    if (key === undefined)
      return problem(pointer, "wrong_format", "must be an address and a port, like 10.0.0.7:8080 or [fd00::7]:8080");
    if (upserted.has(key)) return problem(pointer, "contradiction", `${key} is to be kept and to be removed`);
    return [];
  });
  const removed = remove.map((key, at) => key ?? `none ${at}`); // What is no address equals nothing.
  return [
    ...repeated(keys, (at) => `/upsert/${at}`, "endpoint"),
    ...removals,
    ...repeated(removed, (at) => `/remove/${at}`, "endpoint"),
  ];
}

function setCalls(api: Api, { store, writes, limits }: ApiContext): void {
  const bodyLimit = limits.maxEndpointsBodyBytes;
  const url = "/v1/clusters/:name/endpoints";

  api.get(url, {
    schema: answering(readAnswers(setSchema), { summary: "Read all endpoints of a cluster", tags, params: nameParams }),
    handler: async ({ params }) => {
      const name = existingName("cluster", params.name);
      const endpoints = await store.read.endpointsOf(name);
      if (endpoints.length === 0 && !(await store.read.get("cluster", name))) throw missing("cluster", name);
      return { endpoints: endpoints.map(({ object: endpoint }) => toEndpointBody(endpoint)) };
    },
  });

  api.put(url, {
    bodyLimit,
    schema: answering(writeAnswers(setSchema, { creates: false }), {
      summary: "Replace all endpoints of a cluster",
      tags,
      params: nameParams,
      body: setSchema,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      const name = existingName("cluster", request.params.name);
      refusePreconditions(request.headers);
      const bodies = place(request.body.endpoints, "endpoints");
      const keys = bodies.map(({ body }) => keyOf(body));
      refuse(repeated(keys, (at) => `/endpoints/${at}`, "endpoint"));
      const kept = new Set(keys);
      return writes.carryOut(
        request,
        reply,
        (tx) => changeSet(tx, { cluster: name, bodies, removes: (key) => !kept.has(key), check: () => [] }),
        ofEndpoints,
      );
    },
  });
}

function patchCall(api: Api, { writes, limits }: ApiContext): void {
  const bodyLimit = limits.maxEndpointsBodyBytes;
  const url = "/v1/clusters/:name/endpoints";
  api.patch(url, {
    bodyLimit,
    schema: answering(writeAnswers(setSchema, { creates: false }), {
      summary: "Change many endpoints at once",
      tags,
      params: nameParams,
      body: patchSchema,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      const name = existingName("cluster", request.params.name);
      refusePreconditions(request.headers);
      const bodies = place(request.body.upsert ?? [], "upsert");
      const remove = (request.body.remove ?? []).map((text) => {
        const parsed = parseAddressKey(text);
        return parsed && addressKey(parsed);
      });
      refuse(patchProblems(bodies, remove));
      const removed = new Set(remove);
      const check = (before: StoredSet): Problem[] =>
        remove.flatMap((key, at) => {
          if (key === undefined || before.has(key)) return [];
          return problem(`/remove/${at}`, "unknown_endpoint", `cluster ${name} has no endpoint ${key}`);
        });
      return writes.carryOut(
        request,
        reply,
        (tx) => changeSet(tx, { cluster: name, bodies, removes: (key) => removed.has(key), check }),
        ofEndpoints,
      );
    },
  });
}

const singleUrl = "/v1/clusters/:name/endpoints/:endpoint";

function singleCalls(api: Api, { store, writes }: ApiContext): void {
  const url = singleUrl;

  api.get(url, {
    schema: answering(readAnswers(endpointSchema), { summary: "Read an endpoint", tags, params: endpointParams }),
    handler: async ({ params }, reply) => {
      const name = existingEndpoint(params.name, params.endpoint);
      const stored = await store.read.get("endpoint", name);
      if (!stored) throw missing("endpoint", name);
      reply.header("etag", etag(stored.revision));
      return toEndpointBody(stored.object);
    },
  });

  api.put(url, {
    schema: answering(writeAnswers(endpointSchema, { creates: true }), {
      summary: "Create or replace an endpoint",
      tags,
      params: endpointParams,
      body: endpointPut,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      const cluster = existingName("cluster", request.params.name);
      const body = wholeBody(request.params.endpoint, request.body);
      const preconditions = readPreconditions(request.headers);
      return writes.carryOut(
        request,
        reply,
        async (tx) => {
          await holdCluster(tx, cluster);
          const stored = await tx.get("endpoint", `${cluster}/${keyOf(body)}`);
          checkPreconditions(preconditions, stored?.revision);
          return putOne(tx, fromEndpointBody(cluster, body, stored?.object), stored);
        },
        ofEndpoints,
      );
    },
  });

  api.delete(url, {
    schema: answering(writeAnswers(endpointSchema, { creates: false }), {
      summary: "Remove an endpoint",
      tags,
      params: endpointParams,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      const name = existingEndpoint(request.params.name, request.params.endpoint);
      const preconditions = readPreconditions(request.headers);
      return writes.carryOut(
        request,
        reply,
        async (tx) => {
          const cluster = request.params.name;
          await holdCluster(tx, cluster);
          const stored = await tx.get("endpoint", name);
          if (!stored) throw missing("endpoint", name);
          checkPreconditions(preconditions, stored.revision);
          await tx.delete("endpoint", name);
          return { object: toEndpointBody(stored.object), revision: stored.revision, created: false, tagged: false, lint: [] };
        },
        ofEndpoints,
      );
    },
  });
}

function patchOneCall(api: Api, { writes }: ApiContext): void {
  api.patch(singleUrl, {
    schema: answering(writeAnswers(endpointSchema, { creates: false }), {
      summary: "Change an endpoint's weight or priority, or enable or disable it, and leave the rest as it is",
      tags,
      params: endpointParams,
      body: endpointPatch,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      const name = existingEndpoint(request.params.name, request.params.endpoint);
      const preconditions = readPreconditions(request.headers);
      return writes.carryOut(
        request,
        reply,
        async (tx) => {
          await holdCluster(tx, request.params.name);
          const stored = await tx.get("endpoint", name);
          checkPreconditions(preconditions, stored?.revision);
          if (!stored) throw missing("endpoint", name);
          return putOne(tx, patched(stored.object, request.body), stored);
        },
        ofEndpoints,
      );
    },
  });
}

/** Adds the calls under /v1/clusters/{name}/endpoints. */
export function endpointCalls(api: Api, context: ApiContext): void {
  setCalls(api, context);
  patchCall(api, context);
  singleCalls(api, context);
  patchOneCall(api, context);
}
