// An endpoint's body. In: JSON that the schema has passed. Out: model/endpoint.ts, defaults filled in, and back.
// The calls are in endpoints.ts. Addresses are stored in their canonical form, so that equal ones are equal strings.
import { type Static, Type } from "typebox";
import { canonicalAddress } from "../model/address.js";
import type { Endpoint, Labels } from "../model/endpoint.js";
import { integer, labels, maxLabels, object, text } from "./fields.js";

const standard = { weight: 1, region: "", zone: "", priority: 0, enabled: true } as const;

const address = text(1, 45, "endpoint-address", "IPv4 or IPv6 address, without brackets; never a host name.");
const port = integer(1, 65_535, "Port.");
const ttlMs = Type.Optional(
  integer(
    1_000,
    86_400_000,
    "Drained and removed when nobody writes or renews it for so long (docs/registration.md). Left out in a PUT: it stays for ever.",
  ),
);
const labelsField = (leftOut: string) =>
  Type.Optional(
    labels(
      0,
      maxLabels,
      `What a drain can select endpoints by; Envoys don't get them, so nothing is pushed when they change. ${leftOut}`,
    ),
  );
const fields = {
  ttlMs,
  labels: labelsField("Left out: none."),
  weight: Type.Optional(integer(1, 1000, "Share relative to the other endpoints of its locality.", standard.weight)),
  region: Type.Optional(
    text(0, 128, "printable", "Region, fixed for the life of the endpoint. Default: as it is; empty for a new one."),
  ),
  zone: Type.Optional(
    text(0, 128, "printable", "Zone, fixed for the life of the endpoint. Default: as it is; empty for a new one."),
  ),
  priority: Type.Optional(
    integer(0, 127, "0 is served first; larger ones only when smaller ones have none healthy.", standard.priority),
  ),
  enabled: Type.Optional(
    Type.Boolean({
      default: standard.enabled,
      description: "false: nothing new is sent to it, what is under way goes on. Default true.",
    }),
  ),
  drain: Type.Optional(
    Type.Object(
      {
        id: Type.String({ maxLength: 64 }),
        phase: Type.String({ maxLength: 16 }),
        route: Type.Optional(Type.String({ maxLength: 64, description: "In this route alone, as a step of a rebalance." })),
      },
      {
        additionalProperties: false,
        readOnly: true,
        description: "It is being drained; see /v1/drains. Shown only: what a body says of it changes nothing.",
      },
    ),
  ),
};

/** An endpoint in a list. */
export const endpointSchema = object({ address, port, ...fields }, { description: "One address of a cluster." });
/** Address and port are in the path, and may be repeated here. */
export const endpointPut = object({ address: Type.Optional(address), port: Type.Optional(port), ...fields });
/** What may be changed of one address without saying the rest. */
export const endpointPatch = object(
  {
    weight: Type.Optional(integer(1, 1000, "Share relative to the other endpoints of its locality. Left out: as it is.")),
    priority: Type.Optional(integer(0, 127, "0 is served first. Left out: as it is.")),
    enabled: Type.Optional(
      Type.Boolean({ description: "false: nothing new is sent to it, what is under way goes on. Left out: as it is." }),
    ),
    ttlMs,
    labels: labelsField("All of them anew; left out: as they are."),
  },
  { minProperties: 1 },
);
/** A body that the schema has passed. */
export type EndpointPatchBody = Static<typeof endpointPatch>;
/** A body that the schema has passed. */
export type EndpointBody = Static<typeof endpointSchema>;
/** The same for PUT on one address. */
export type EndpointPutBody = Static<typeof endpointPut>;

/**
 * Defaults filled in; the address in its canonical form. Region and zone that are left out are those of `stored`, if it is there: they
 * can't be edited, so nothing else can be meant, and whoever disables an endpoint need not know them.
 */
export function fromEndpointBody(cluster: string, body: EndpointBody, stored?: Endpoint): Endpoint {
  return {
    cluster,
    address: canonicalAddress(body.address) ?? body.address, // The schema has refused what is no address.
    port: body.port,
    weight: body.weight ?? standard.weight,
    region: body.region ?? stored?.region ?? standard.region,
    zone: body.zone ?? stored?.zone ?? standard.zone,
    priority: body.priority ?? standard.priority,
    enabled: body.enabled ?? standard.enabled,
    ...(body.ttlMs === undefined ? {} : { ttlMs: body.ttlMs }),
    ...labelled(body.labels),
  };
}

/** No labels and an empty set of them are the same endpoint. */
function labelled(given: Labels | undefined): Pick<Endpoint, "labels"> {
  return given === undefined || Object.keys(given).length === 0 ? {} : { labels: given };
}

/** The endpoint with what the patch says, and everything else as it was. */
export function patched(endpoint: Endpoint, { weight, priority, enabled, ttlMs, labels: given }: EndpointPatchBody): Endpoint {
  const { labels: before, ...others } = endpoint;
  return {
    ...others,
    ...labelled(given ?? before),
    weight: weight ?? endpoint.weight,
    priority: priority ?? endpoint.priority,
    enabled: enabled ?? endpoint.enabled,
    ...(ttlMs === undefined ? {} : { ttlMs }),
  };
}

/** The inverse of fromEndpointBody. */
export function toEndpointBody({ drain, labels: given, ttlMs, ...endpoint }: Endpoint): EndpointBody {
  const { address, port, weight, region, zone, priority, enabled } = endpoint;
  const more = { ...(ttlMs === undefined ? {} : { ttlMs }), ...labelled(given), ...(drain ? { drain } : {}) };
  return { address, port, weight, region, zone, priority, enabled, ...more };
}
