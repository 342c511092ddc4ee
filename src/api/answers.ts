// Schemas of answers, for /openapi.json; answers are written as plain JSON, not by these. In: the shape of an object.
// Out: Fastify's `response` map. Called by the noun files.
import { type TSchema, Type } from "typebox";
import { errorCodes } from "../errors.js";
import { guaranteeKinds } from "../model/drain-guarantee.js";
import { lintCodes } from "../model/lint.js";

const pointer = Type.String({ description: "JSON pointer (RFC 6901) into the body; empty: all of it." });

const problemDetails = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.Unsafe<string>({ type: "string", enum: Object.keys(errorCodes), description: "Stable; see docs/errors.md." }),
    detail: Type.String(),
    instance: Type.String({ description: "Path of the request." }),
    requestId: Type.String(),
    errors: Type.Array(Type.Object({ pointer, code: Type.String(), detail: Type.String() }), {
      description: "All faults of the body at once; at most 100.",
    }),
  },
  { description: "Problem details (RFC 9457), with facts of the code beside them." },
);

const lint = Type.Array(
  Type.Object({ code: Type.Unsafe<string>({ type: "string", enum: [...lintCodes] }), pointer, detail: Type.String() }),
  { description: "Advice: valid, and often not what was meant. Never blocks." },
);

const gatewaySync = Type.Object({
  total: Type.Integer({ description: "Envoys that the revision concerns." }),
  acked: Type.Integer(),
  refused: Type.Array(
    Type.Object({
      node: Type.String(),
      type: Type.String(),
      resource: Type.String(),
      detail: Type.String({ description: "Envoy's own words." }),
    }),
  ),
  lagging: Type.Array(Type.String()),
  gone: Type.Array(Type.String()),
});
/** How far a revision is. */
export const syncShown = Type.Object({
  revision: Type.Integer(),
  state: Type.Unsafe<string>({ type: "string", enum: ["acked", "pending", "refused"] }),
  gateways: Type.Record(Type.String(), gatewaySync),
  replicasBehind: Type.Array(Type.String(), {
    description: 'Control planes that have not loaded the revision; [""]: not known.',
  }),
});

/** Every failure that any call may answer with, by one schema. */
const failures = { "4xx": problemDetails, "5xx": problemDetails };

/** Answers of a call that reads one thing. */
export function readAnswers(shown: TSchema) {
  return { 200: shown, ...failures };
}

/** Answers of a call that lists objects, a page at a time. */
export function listAnswers(item: TSchema) {
  return {
    200: Type.Object({
      items: Type.Array(item),
      next: Type.Optional(Type.String({ description: "Give it as `after` for the next page." })),
    }),
    ...failures,
  };
}

/** What becomes of objects, and where they differ. */
export const objectChangesShown = Type.Array(
  Type.Object({
    kind: Type.String(),
    name: Type.String(),
    change: Type.Unsafe<string>({ type: "string", enum: ["created", "updated", "deleted"] }),
    diff: Type.Array(Type.Object({ pointer, before: Type.Optional(Type.Unknown()), after: Type.Optional(Type.Unknown()) })),
  }),
);

/** By what means a cluster's drains keep their deadline. */
export const guaranteeShown = Type.Object({
  kind: Type.Unsafe<string>({ type: "string", enum: [...guaranteeKinds] }),
  closesWithinMs: Type.Optional(
    Type.Integer({ description: "From when an Envoy knows that the deadline is over. Left out: there is no bound." }),
  ),
  because: Type.String({ description: "Why; for `left-open` also what to set." }),
});

const plan = Type.Object(
  {
    revision: Type.Null(),
    changed: Type.Boolean({ description: "false: everything is as asked already." }),
    objects: objectChangesShown,
    gateways: Type.Record(
      Type.String(),
      Type.Object({
        resources: Type.Array(
          Type.Object({
            type: Type.String(),
            name: Type.String(),
            change: Type.Unsafe<string>({ type: "string", enum: ["added", "changed", "removed"] }),
            parts: Type.Optional(
              Type.Array(Type.String(), { description: "Routes of it that would be others; left out: all of it." }),
            ),
          }),
        ),
        nodes: Type.Union([Type.Integer(), Type.Null()], { description: "Envoys connected now; null: not known." }),
        drains: Type.Array(Type.String(), { description: "Listeners whose connections would be closed after the drain time." }),
      }),
    ),
    guarantees: Type.Optional(
      Type.Array(Type.Object({ cluster: Type.String(), before: Type.Optional(guaranteeShown), after: guaranteeShown }), {
        description: "Clusters for which the deadline of a drain would be kept by other means, or for another time.",
      }),
    ),
    lint,
    rollout: Type.Optional(
      Type.Unknown({
        description: "How it would be staged, as it asks or as its gateways' policies say; left out: it would not.",
      }),
    ),
    validation: Type.Unknown({ description: "What a real Envoy says of it: `passed`, `off`, or an object that says why not." }),
  },
  { description: "With `?dryRun=true`: what the write would do. Nothing was changed." },
);

const written = {
  revision: Type.Integer({ description: "The one that this write made, or in which the object last changed." }),
  changed: Type.Boolean({ description: "false: everything was as asked already, and no revision was made." }),
};
const advice = { lint, sync: Type.Optional(syncShown) };

/** What the answer, and the plan, of a call have besides. */
interface Begins {
  readonly answer?: Readonly<Record<string, TSchema>>;
  readonly plan?: Readonly<Record<string, TSchema>>;
}

/** 201 when created, 202 when the wait was over too early. */
export function writeAnswers(shown: TSchema, { creates, begins = {} }: { readonly creates: boolean; readonly begins?: Begins }) {
  const answer = Type.Object({ ...written, object: shown, ...begins.answer, ...advice });
  return {
    200: Type.Union([answer, begins.plan ? Type.Object({ ...plan.properties, ...begins.plan }) : plan]),
    ...(creates ? { 201: answer } : {}),
    202: answer,
    ...failures,
  };
}

const changed = Type.Object({
  kind: Type.String(),
  name: Type.String({ description: "An endpoint's is `<cluster>/<address>:<port>`." }),
  change: Type.Unsafe<string>({ type: "string", enum: ["created", "updated", "unchanged", "deleted"] }),
});

/** Of the drain of an Envoy: no plan, as no object changes; with `?dryRun=true` it is shown as it would be. */
export function nodeDrainAnswers(shown: TSchema) {
  const answer = Type.Object({
    revision: Type.Union([written.revision, Type.Null()], { description: "null: with `?dryRun=true`." }),
    changed: written.changed,
    object: shown,
    lint,
  });
  return { 200: answer, 201: answer, ...failures };
}

/** Of a write of several objects. */
export function changesAnswers() {
  const answer = Type.Object({ ...written, objects: Type.Array(changed), ...advice });
  return { 200: Type.Union([answer, plan]), 202: answer, ...failures };
}

/** Adds answers to a route's schema for the documentation only: handlers are not typed by them. */
export function answering<S extends object>(answers: Readonly<Record<string | number, TSchema>>, schema: S): S {
  return { ...schema, response: answers };
}
