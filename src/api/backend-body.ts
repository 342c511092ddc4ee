// Backends of a route's body, the same for all protocols. Called by http-route-body.ts and l4-route-body.ts.
import { type Static, Type } from "typebox";
import type { Backend } from "../model/route.js";
import { integer, list, name, object } from "./fields.js";

/** Weights are relative, and Envoy's shares have four digits. */
const maxWeight = 10_000;
/** Backends of one route. */
const maxBackends = 32;
const standardWeight = 1;

const backend = object({
  cluster: name("cluster"),
  weight: Type.Optional(
    integer(0, maxWeight, "Share relative to the other backends; 0: none, but it stays ready.", standardWeight),
  ),
});

/** The `backends` of a route; names are compared by model/route-rules.ts. */
export const backendsSchema = list(backend, 1, maxBackends, "Clusters that share the traffic by weight.");

/** New weights of a route, by cluster. */
export const weightsField = Type.Unsafe<Record<string, number>>({
  type: "object",
  additionalProperties: integer(0, maxWeight, "New weight of the backend whose cluster is the key."),
  minProperties: 1,
  maxProperties: maxBackends,
  description: `Every backend of the route, once. 1–${maxBackends} of them.`,
});

/** The default weight filled in; the order is kept, because the last one is the canary. */
export function fromBackendsBody(body: Static<typeof backendsSchema>): readonly Backend[] {
  return body.map(({ cluster, weight }) => ({ cluster, weight: weight ?? standardWeight }));
}

/** The inverse of fromBackendsBody. */
export function toBackendsBody(backends: readonly Backend[]): Static<typeof backendsSchema> {
  return backends.map(({ cluster, weight }) => ({ cluster, weight }));
}
