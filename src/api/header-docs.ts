// The request headers of each call, for /openapi.json only: they are read where they mean something (author.ts, preconditions.ts,
// write-choices.ts), and their faults are told there. In: a call's schema. Out: the same with its headers. Called by server.ts.
import type { FastifySchema } from "fastify";

const text = (description: string, maxLength: number) => ({ type: "string", maxLength, description });

const ofEveryWrite = {
  "Idempotency-Key": {
    ...text("1–128 visible characters, new for each thing to be done. A repeat within 24 hours gets the first answer.", 128),
    pattern: "^[\\x21-\\x7e]{1,128}$",
  },
  "X-Chancery-Author": text("Who asks, recorded with the revision. Default: anonymous.", 128),
  "X-Chancery-Reason": text("Why, recorded with the revision.", 512),
};
const ofEveryCall = {
  "X-Request-Id": { ...text("Goes into the log and the answer. Default: one is made.", 64), pattern: "^[A-Za-z0-9._-]{1,64}$" },
};
const ifMatch = {
  "If-Match": text("Go on only if the object's ETag is one of these, or, with `*`, if it exists; else 412.", 512),
};
const ifNoneMatch = { "If-None-Match": { ...text("`*`: create, never replace; else 412.", 1), enum: ["*"] } };
const lastEventId = { "Last-Event-ID": text("With `follow`: begin after this revision, where `after` is not given.", 15) };

/** Writes of several objects: each says its own precondition in the body, or none is needed. */
const withoutPreconditions = [
  "PUT /v1/clusters/:name/endpoints",
  "PATCH /v1/clusters/:name/endpoints",
  "POST /v1/changes",
  "POST /v1/clusters/:name/endpoints/:endpoint/renew",
  "POST /v1/revisions/:revision/rollback",
  "POST /v1/drains",
  "DELETE /v1/drains/:id",
  "DELETE /v1/rebalances/:id",
  "POST /v1/node-drains",
  "DELETE /v1/node-drains/:node",
  "DELETE /v1/rollouts/:rollout",
  "PUT /v1/gateways/:gateway/rollout-policy",
  "DELETE /v1/gateways/:gateway/rollout-policy",
];

/** The headers that a call reads. `url` is Fastify's pattern. */
export function headersOf(method: string, url: string): Readonly<Record<string, object>> {
  const call = `${method} ${url}`;
  if (!url.startsWith("/v1/")) return ofEveryCall;
  if (method === "GET") return call === "GET /v1/revisions" ? { ...ofEveryCall, ...lastEventId } : ofEveryCall;
  const isCreate = method === "POST" || (method === "PUT" && !url.endsWith("/weights"));
  const preconditions = withoutPreconditions.includes(call) ? {} : { ...ifMatch, ...(isCreate ? ifNoneMatch : {}) };
  return { ...ofEveryCall, ...ofEveryWrite, ...preconditions };
}

/** What the documentation is made from. */
export function documented<S extends FastifySchema | undefined>(schema: S, method: string | string[], url: string) {
  const [first = "GET"] = [method].flat();
  if (!schema) return schema;
  return { ...schema, headers: { type: "object", properties: headersOf(first, url) } };
}
