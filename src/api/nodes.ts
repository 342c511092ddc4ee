// The fleet: every Envoy, where it is connected, what it has and what it refused. In: HTTP. Out: what status/ knows.
import { Type } from "typebox";
import { AppError } from "../errors.js";
import { resourceTypes } from "../model/resource-type.js";
import { answering, listAnswers, readAnswers } from "./answers.js";
import type { Api, ApiContext } from "./context.js";
import { integer, object } from "./fields.js";

const tags = ["nodes"];
const standardLimit = 100;

/** What an Envoy does not have, as the calls of nodes and of objects show it. */
export const exceptionFields = {
  type: Type.Unsafe<string>({ type: "string", enum: [...resourceTypes] }),
  resource: Type.String(),
  parts: Type.Array(Type.String(), { description: "Of a RouteConfiguration: its routes that are concerned; none: all of it." }),
  revision: Type.Integer(),
  detail: Type.String({ description: "Of a refusal: Envoy's own words." }),
  at: Type.String({ format: "date-time" }),
};
const nodeShown = Type.Object({
  id: Type.String(),
  gateway: Type.String(),
  gatewayKnown: Type.Boolean({ description: "false: no listener names its gateway, so its configuration is empty." }),
  connected: Type.Boolean(),
  draining: Type.Boolean({ description: "true: it is drained, or about to be; see GET /v1/node-drains/{node}." }),
  replica: Type.String({ description: "The control plane that it is connected to." }),
  since: Type.String({ format: "date-time" }),
  streams: Type.Array(Type.String()),
  envoyVersion: Type.String(),
  ackedRevision: Type.Integer(),
  acked: Type.Object(Object.fromEntries(resourceTypes.map((type) => [type, Type.Integer()]))),
  refused: Type.Array(
    Type.Object({ ...exceptionFields, author: Type.Optional(Type.String()), requestId: Type.Optional(Type.String()) }),
  ),
  held: Type.Array(
    Type.Object({
      ...exceptionFields,
      kind: Type.Unsafe<string>({ type: "string", enum: ["held", "unanswered"] }),
    }),
  ),
});

const query = object({
  gateway: Type.Optional(Type.String({ maxLength: 255, description: "Only Envoys of this gateway. Up to 255 characters." })),
  after: Type.Optional(Type.String({ maxLength: 255, description: "Ids after this one. Up to 255 characters." })),
  limit: Type.Optional(integer(1, 1000, "Nodes on a page.", standardLimit)),
});

/** Adds the calls under /v1/nodes. */
export function nodeCalls(api: Api, { fleet }: ApiContext): void {
  api.get("/v1/nodes", {
    schema: answering(listAnswers(nodeShown), {
      summary: "List the Envoys of all control planes by id",
      tags,
      querystring: query,
    }),
    handler: async (request) => {
      const { gateway, after, limit = standardLimit } = request.query;
      const { items, partial } = await fleet.nodes({ gateway, after, limit: limit + 1 });
      const page = items.slice(0, limit);
      const next = items.length > limit ? page.at(-1)?.id : undefined;
      return { items: page, ...(next === undefined ? {} : { next }), ...(partial ? { partial } : {}) };
    },
  });

  api.get("/v1/nodes/:id", {
    schema: answering(readAnswers(nodeShown), {
      summary: "Read one Envoy",
      tags,
      params: Type.Object({ id: Type.String({ description: "The id of its bootstrap." }) }),
    }),
    handler: async ({ params }) => {
      const node = await fleet.node(params.id);
      if (!node)
        throw new AppError("not_found", {
          kind: "node",
          name: params.id,
          detail: `no Envoy ${params.id} is or was lately connected`,
        });
      return node;
    },
  });
}
