// Calls on the lease of an endpoint that registers itself: renew it, and see how long it lasts. In: HTTP. Out: one small write, or a read;
// no revision. Whoever puts the endpoint with its `ttlMs` renews it as well (endpoints.ts); its end is brought about by drain/.
import { Type } from "typebox";
import { AppError } from "../errors.js";
import { parseAddressKey } from "../model/address.js";
import { addressKey } from "../model/endpoint.js";
import type { Lease } from "../store/store.js";
import { answering, readAnswers } from "./answers.js";
import type { Api, ApiContext } from "./context.js";
import { existingName, missing } from "./objects.js";
import { refusePreconditions } from "./preconditions.js";

const tags = ["endpoints"];
const params = Type.Object({
  name: Type.String({ description: "Name of the cluster." }),
  endpoint: Type.String({ description: "`10.0.0.7:8080` or `[fd00::7]:8080`." }),
});
const leaseShown = Type.Object({
  ttlMs: Type.Optional(Type.Integer({ description: "Left out: it stays for ever." })),
  expiresInMs: Type.Optional(Type.Integer({ description: "Until its lease is over; negative: since then." })),
  drain: Type.Optional(Type.String({ description: "The drain that the end of its lease began; cancelled when it is renewed." })),
  held: Type.Optional(Type.String({ description: "Why it stays although its lease is over." })),
});

function nameOf(cluster: string, key: string): string {
  const parsed = parseAddressKey(key);
  if (!parsed) throw missing("endpoint", `${cluster}/${key}`);
  return `${existingName("cluster", cluster)}/${addressKey(parsed)}`;
}

function toBody({ ttlMs, expiresInMs, drain, held }: Lease) {
  return { ttlMs, expiresInMs, ...(drain === undefined ? {} : { drain }), ...(held === undefined ? {} : { held }) };
}

/** Adds POST …/endpoints/{endpoint}/renew and GET …/endpoints/{endpoint}/status. */
export function leaseCalls(api: Api, { store }: ApiContext): void {
  const url = "/v1/clusters/:name/endpoints/:endpoint";
  const isThere = async (name: string): Promise<void> => {
    if (!(await store.read.get("endpoint", name))) throw missing("endpoint", name);
  };

  api.post(`${url}/renew`, {
    schema: answering(readAnswers(leaseShown), {
      summary: "Renew the lease of an endpoint: no revision, one small write",
      tags,
      params,
    }),
    handler: async ({ headers, params: { name: cluster, endpoint } }) => {
      refusePreconditions(headers); // A renewal changes no object.
      const name = nameOf(cluster, endpoint);
      const lease = await store.leases.renew(name);
      if (lease) return toBody(lease);
      await isThere(name);
      throw new AppError("conflict", {
        kind: "endpoint",
        name,
        detail: `endpoint ${name} has no ttlMs, so there is nothing to renew`,
      });
    },
  });

  api.get(`${url}/status`, {
    schema: answering(readAnswers(leaseShown), {
      summary: "Read how long an endpoint stays without being renewed",
      tags,
      params,
    }),
    handler: async ({ params: { name: cluster, endpoint } }) => {
      const name = nameOf(cluster, endpoint);
      const lease = await store.leases.get(name);
      if (lease) return toBody(lease);
      await isThere(name);
      return {};
    },
  });
}
