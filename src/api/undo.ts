// What a revision changed, put back: the same objects as they were before it, as a new revision, through the rules of all writes.
// All or nothing: where somebody has changed one of them since, or it would break a rule by now, everything is left as it is.
// In: the changes of a revision. Out: the revision that restores, or why there is none. Called by writes.ts and rollback.ts.
import { AppError } from "../errors.js";
import { addressKey } from "../model/endpoint.js";
import { problem } from "../model/problem-codes.js";
import type { Author, Change, Kind, Revision } from "../model/revision.js";
import type { Store, WriteTx } from "../store/store.js";
import type { ChangesBody } from "./change-body.js";
import { changeProblems } from "./change-rules.js";
import { toChangeSet } from "./change-set.js";
import { type ChangeView, stage } from "./change-view.js";
import { type Done, writeAll } from "./change-writes.js";
import { toClusterBody } from "./cluster-body.js";
import { toEndpointBody } from "./endpoint-body.js";
import { toListenerBody } from "./listener-body.js";
import { etag } from "./preconditions.js";
import { refuse } from "./problem-details.js";
import { toRouteBody } from "./route-body.js";
import { overrides } from "./write-choices.js";

/** One write of POST /v1/changes. */
export type ChangeBody = ChangesBody["changes"][number];

/** What became of it; `detail` in words. */
export type Undone =
  | { readonly state: "restored"; readonly revision: Revision }
  | { readonly state: "left"; readonly code: string; readonly detail: string };

/** `revision` made `changes`. Never throws: the caller has a refusal to tell, and this is a part of it. */
export async function undo(
  store: Pick<Store, "write">,
  author: Author,
  revision: Revision,
  changes: readonly Change[],
): Promise<Undone> {
  const reason = `an Envoy refused revision ${revision}, which asked to be rolled back then`;
  try {
    // It goes back to what was there moments ago, so no guard stands in its way; that is in the history, as for any write.
    const work = async (tx: WriteTx) => void (await restore(tx, changes, revision));
    const { committed } = await store.write({ ...author, reason }, work, { overrides });
    if (committed) return { state: "restored", revision: committed.revision };
    return { state: "left", code: "unchanged", detail: "everything is as it was before already" };
  } catch (error) {
    const code = error instanceof AppError ? error.code : "internal";
    const [first] = error instanceof AppError ? error.problems : [];
    const detail = first?.detail ?? (error instanceof Error ? error.message : String(error));
    // The answer to the commit was lost, and nobody can tell.
    const isOpen = error instanceof AppError && error.facts["outcome"] === "unknown";
    return {
      state: "left",
      code,
      detail: isOpen ? `it is not known whether it is restored: ${detail}` : `nothing is restored: ${detail}`,
    };
  }
}

/** What was staged for putting back, and what became of each object. */
export interface Restored {
  readonly writes: readonly ChangeBody[];
  readonly view: ChangeView;
  readonly done: readonly Done[];
}

/** Makes each object what it is before the changes. `madeIn`: only where it still is as that revision left it. */
export async function restore(tx: WriteTx, changes: readonly Change[], madeIn: Revision | undefined): Promise<Restored> {
  const writes = inverse(changes, madeIn);
  const { set, problems } = toChangeSet(writes);
  const view = await stage(tx, set);
  if (madeIn !== undefined) await refuseLaterOnes(tx, view, changes, madeIn);
  refuse([...problems, ...(await changeProblems(view))]);
  return { writes, view, done: await writeAll(tx, view) };
}

async function refuseLaterOnes(tx: WriteTx, view: ChangeView, changes: readonly Change[], madeIn: Revision): Promise<void> {
  const { cluster, endpoint, listener, route } = view.staged;
  const there = new Set(
    Object.entries({ cluster, endpoint, listener, route }).flatMap(([kind, staged]) =>
      [...staged].flatMap(([name, { before }]) => (before ? `${kind} ${name}` : [])),
    ),
  );
  // What the revision removed has no ETag that could be compared: it must still be gone.
  const back = changes.find(({ kind, name, after }) => after === undefined && there.has(`${kind} ${name}`));
  if (back) throw changedSince(back.kind, back.name);
  // A cluster that goes would take endpoints with it that came since.
  for (const { kind, name, before } of changes) {
    if (kind !== "cluster" || before) continue;
    const later = (await tx.endpointsOf(name)).find((stored) => stored.revision !== madeIn);
    if (later) throw changedSince("endpoint", `${name}/${addressKey(later.object)}`);
  }
}

function changedSince(kind: Kind, name: string): AppError {
  return new AppError("precondition_failed", {}, [problem("", "changed_since", `${kind} ${name} has been changed since`)]);
}

/** The writes that bring back what was there before the changes; with `madeIn`, as long as each object still is as that revision left it. */
export function inverse(changes: readonly Change[], madeIn: Revision | undefined): readonly ChangeBody[] {
  const created = new Set(changes.flatMap(({ kind, name, before }) => (kind === "cluster" && !before ? name : [])));
  return changes.flatMap((change): readonly ChangeBody[] => {
    // A cluster that goes takes its endpoints with it.
    if (change.kind === "endpoint" && !change.before && created.has(change.after?.cluster ?? "")) return [];
    const ifMatch = change.after && madeIn !== undefined ? { ifMatch: etag(madeIn) } : {};
    return [change.before ? putBack(change, ifMatch) : remove(change, ifMatch)].flatMap((one) => one ?? []);
  });
}

type IfMatch = { readonly ifMatch?: string };

function putBack(change: Change, ifMatch: IfMatch): ChangeBody | undefined {
  const put = { op: "put" as const, ...ifMatch };
  switch (change.kind) {
    case "cluster":
      return change.before && { ...put, kind: change.kind, object: { ...toClusterBody(change.before), name: change.name } };
    case "endpoint": {
      const { before } = change;
      return before && { ...put, kind: change.kind, cluster: before.cluster, object: toEndpointBody(before) };
    }
    case "listener":
      return change.before && { ...put, kind: change.kind, object: { ...toListenerBody(change.before), name: change.name } };
    case "route":
      return change.before && { ...put, kind: change.kind, object: { ...toRouteBody(change.before), name: change.name } };
  }
}

function remove({ kind, name }: Change, ifMatch: IfMatch): ChangeBody {
  const deletion = { op: "delete" as const, ...ifMatch };
  if (kind !== "endpoint") return { ...deletion, kind, name };
  const slash = name.indexOf("/");
  return { ...deletion, kind, cluster: name.slice(0, slash), name: name.slice(slash + 1) };
}
