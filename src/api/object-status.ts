// What became of one object at the Envoys: who refused it, in its own words, and who does not have it yet. A call of its own, so that
// what GET shows of an object is exactly what PUT takes. In: HTTP. Out: what status/ knows of the object's resources, and of a cluster
// by what means a drain's deadline is kept.
import { Type } from "typebox";
import { type DrainGuarantee, guaranteeOf } from "../model/drain-guarantee.js";
import type { Kind } from "../model/revision.js";
import { type ResourceName, resourcesOfCluster, resourcesOfListener, resourcesOfRoute } from "../plan/object-resources.js";
import type { HeldView, NodeView, RefusalView } from "../status/node-view.js";
import { answering, guaranteeShown, readAnswers } from "./answers.js";
import type { Api, ApiContext } from "./context.js";
import { exceptionFields } from "./nodes.js";
import { existingName, missing, nameParams } from "./objects.js";

/** Envoys that are looked at; the first by id. */
const maxNodes = 100;
/** Routes by which a cluster's own resources are found. */
const maxRoutes = 1_000;

type StatusKind = Exclude<Kind, "endpoint">;

const shown = Type.Object({
  kind: Type.String(),
  name: Type.String(),
  revision: Type.Integer({ description: "In which the object last changed." }),
  refused: Type.Array(
    Type.Object({
      node: Type.String(),
      gateway: Type.String(),
      ...exceptionFields,
      author: Type.Optional(Type.String()),
      requestId: Type.Optional(Type.String()),
    }),
    { description: "Refusals that stand, by Envoy. Those of its endpoints and of its part in shared resources are among them." },
  ),
  held: Type.Array(
    Type.Object({
      node: Type.String(),
      gateway: Type.String(),
      ...exceptionFields,
      kind: Type.Unsafe<string>({ type: "string", enum: ["held", "unanswered"] }),
    }),
    { description: "What an Envoy does not have yet." },
  ),
  drain: Type.Optional(
    Type.Object(
      {
        guarantee: guaranteeShown,
      },
      { description: "Of a cluster: by what means the deadline of a drain is kept; see docs/draining-guarantees.md." },
    ),
  ),
  partial: Type.Optional(
    Type.Boolean({ description: "true: not all Envoys are told; the database can't be asked, or they are too many." }),
  ),
});

interface Found {
  readonly revision: number;
  readonly resources: readonly ResourceName[];
  /** Of a cluster. */
  readonly guarantee?: DrainGuarantee;
  /** Not all routes of the cluster were looked at. */
  readonly partial?: boolean;
}

/** undefined: there is no such object. */
async function find({ store }: ApiContext, kind: StatusKind, name: string): Promise<Found | undefined> {
  switch (kind) {
    case "cluster": {
      const stored = await store.read.get(kind, name);
      if (!stored) return undefined;
      const { items, next } = await store.read.list("route", { limit: maxRoutes, filter: { cluster: name } });
      const routes = items.map(({ object }) => object);
      const guarantee = guaranteeOf(stored.object, routes);
      return { revision: stored.revision, resources: resourcesOfCluster(name, routes), guarantee, partial: next !== undefined };
    }
    case "listener": {
      const stored = await store.read.get(kind, name);
      return stored && { revision: stored.revision, resources: resourcesOfListener(name) };
    }
    case "route": {
      const stored = await store.read.get(kind, name);
      return stored && { revision: stored.revision, resources: resourcesOfRoute(stored.object) };
    }
  }
}

/** Whether an exception is the object's: of one of its resources, and not of other routes in it. */
function isAbout({ type, resource, parts }: RefusalView | HeldView, resources: readonly ResourceName[]): boolean {
  return resources.some(
    (one) =>
      one.type === type && one.name === resource && (one.part === undefined || parts.length === 0 || parts.includes(one.part)),
  );
}

function exceptionsOf<E extends RefusalView | HeldView>(
  nodes: readonly NodeView[],
  resources: readonly ResourceName[],
  of: (node: NodeView) => readonly E[],
): readonly (E & { readonly node: string; readonly gateway: string })[] {
  return nodes.flatMap((node) =>
    of(node)
      .filter((one) => isAbout(one, resources))
      .map((one) => ({ node: node.id, gateway: node.gateway, ...one })),
  );
}

/** Adds GET …/status of clusters, listeners and routes. */
export function objectStatusCalls(api: Api, context: ApiContext): void {
  for (const kind of ["cluster", "listener", "route"] as const satisfies readonly StatusKind[]) {
    api.get(`/v1/${kind}s/:name/status`, {
      schema: answering(readAnswers(shown), {
        summary: `Read what Envoys make of a ${kind}: who refuses it, and who does not have it yet`,
        tags: [`${kind}s`],
        params: nameParams,
      }),
      handler: async ({ params }) => {
        const name = existingName(kind, params.name);
        const found = await find(context, kind, name);
        if (!found) throw missing(kind, name);
        const { revision, resources, guarantee } = found;
        const { items, partial } = await context.fleet.nodes({ lacks: resources, limit: maxNodes });
        const refused = exceptionsOf(items, resources, (node) => node.refused);
        const held = exceptionsOf(items, resources, (node) => node.held);
        const isPartial = partial || found.partial || items.length >= maxNodes;
        const drain = guarantee ? { drain: { guarantee } } : {};
        return { kind, name, revision, refused, held, ...drain, ...(isPartial ? { partial: true } : {}) };
      },
    });
  }
}
