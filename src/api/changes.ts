// POST /v1/changes: several writes that happen together or not at all, in one transaction and one revision. In: HTTP. Out: rows.
// All is read and judged before anything is written (change-view.ts, change-rules.ts), so the order of the writes does not matter.
import type { Kind } from "../model/revision.js";
import type { WriteTx } from "../store/store.js";
import { answering, changesAnswers } from "./answers.js";
import { type ChangesBody, changesBody } from "./change-body.js";
import { changeLint, changeProblems } from "./change-rules.js";
import { type ChangeSet, expandSets, pointerTo, toChangeSet } from "./change-set.js";
import { type ChangeView, stage } from "./change-view.js";
import { writeAll } from "./change-writes.js";
import type { Api, ApiContext } from "./context.js";
import type { Outcome } from "./outcome.js";
import { refusePreconditions } from "./preconditions.js";
import { refuse } from "./problem-details.js";
import { fromRolloutBody } from "./rollout-body.js";
import type { ObjectName } from "./validated-write.js";
import { mutationQuery } from "./writes.js";

/** Objects that the set owns, and the body does not name, are to go; what goes with its cluster need not be told. */
async function prune(tx: WriteTx, set: ChangeSet, owner: string): Promise<void> {
  for (const { kind, name } of await tx.appliedBy(owner)) {
    if (set[kind].has(name)) continue;
    const placed = { at: undefined, ifMatch: undefined };
    if (kind === "cluster" || kind === "listener") set[kind].set(name, { ...placed, body: undefined });
    else if (kind === "route") set.route.set(name, { ...placed, body: undefined, weights: undefined });
    else {
      const [cluster = ""] = name.split("/");
      set.endpoint.set(name, { ...placed, cluster, endpoint: undefined, within: "" });
    }
  }
}

/** The writes of the body, in the transaction; a second run begins with a set of its own. */
async function work(tx: WriteTx, body: ChangesBody): Promise<Outcome> {
  const { set, problems } = toChangeSet(body.changes);
  const named = namesPut(set);
  if (body.apply?.prune) await prune(tx, set, body.apply.set);
  const view = await stage(tx, set);
  refuse([...problems, ...(await changeProblems(view))]);
  const done = await writeAll(tx, view);
  if (body.apply) await tx.recordApplied(body.apply.set, named);
  const listed = new Set(named.map(({ kind, name }) => `${kind} ${name}`));
  return {
    object: done.filter(
      ({ kind, name, change }) => kind !== "endpoint" || change !== "unchanged" || listed.has(`${kind} ${name}`),
    ),
    as: "objects",
    revision: newestOf(view),
    created: false,
    tagged: false,
    lint: await changeLint(view),
    ...(body.apply ? { applied: { set: body.apply.set, objects: named } } : {}),
  };
}

/** Objects that the body itself puts, which is what a set owns: listed endpoints belong to their cluster. */
function namesPut(set: ChangeSet): readonly { readonly kind: Kind; readonly name: string }[] {
  const of = <C>(kind: Kind, changes: ReadonlyMap<string, C>, puts: (change: C) => boolean) =>
    [...changes].flatMap(([name, change]) => (puts(change) ? [{ kind, name }] : []));
  return [
    ...of("cluster", set.cluster, ({ body }) => body !== undefined),
    ...of("endpoint", set.endpoint, ({ endpoint }) => endpoint !== undefined),
    ...of("listener", set.listener, ({ body }) => body !== undefined),
    ...of("route", set.route, ({ body }) => body !== undefined),
  ];
}

/** Where the body says something of the object; of an endpoint, maybe in its cluster's list. */
function placeOf({ changes }: ChangesBody, { kind, name }: ObjectName): string | undefined {
  const { set } = toChangeSet(changes);
  const listed = [...set.cluster].flatMap(([cluster, { body }]) => (body?.endpoints ? [[cluster, []] as const] : []));
  expandSets(set, new Map(listed));
  switch (kind) {
    case "endpoint": {
      const change = set.endpoint.get(name);
      return change && pointerTo(change, change.within);
    }
    case "route": {
      const change = set.route.get(name);
      return change && pointerTo(change, change.weights ? "/weights" : "/object");
    }
    case "cluster":
    case "listener": {
      const change = set[kind].get(name);
      return change && pointerTo(change, "/object");
    }
  }
}

/** In which what the change is about last changed: what a wait is for, when nothing changes now. */
function newestOf({ staged }: ChangeView): number {
  const all = [...staged.cluster.values(), ...staged.endpoint.values(), ...staged.listener.values(), ...staged.route.values()];
  return all.reduce((newest, { before }) => Math.max(newest, before?.revision ?? 0), 0);
}

/** Adds POST /v1/changes. */
export function changeCalls(api: Api, { writes, limits }: ApiContext): void {
  api.post("/v1/changes", {
    bodyLimit: limits.maxEndpointsBodyBytes,
    schema: answering(changesAnswers(), {
      summary: "Write several objects at once: all of them, in one revision, or none",
      tags: ["changes"],
      body: changesBody,
      querystring: mutationQuery,
    }),
    handler: (request, reply) => {
      refusePreconditions(request.headers);
      const { body } = request;
      return writes.carryOut(request, reply, (tx) => work(tx, body), {
        override: body.override,
        rollout: body.rollout && fromRolloutBody(body.rollout),
        baseRevision: body.baseRevision,
        pointerTo: (object) => placeOf(body, object),
      });
    },
  });
}
