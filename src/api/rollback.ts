// POST /v1/revisions/{n}/rollback: what a revision changed is undone, or the whole configuration becomes what it was at it. Always as a
// new revision: history is only added to. In: HTTP. Out: rows, through the rules, guards, plan and wait of every write (undo.ts).
import { Type } from "typebox";
import { AppError, type Problem } from "../errors.js";
import type { Revision } from "../model/revision.js";
import type { WriteTx } from "../store/store.js";
import { answering, changesAnswers } from "./answers.js";
import { overrideSchema } from "./change-body.js";
import type { ChangeView } from "./change-view.js";
import type { Api, ApiContext } from "./context.js";
import { object, word } from "./fields.js";
import type { Outcome } from "./outcome.js";
import { refusePreconditions } from "./preconditions.js";
import { existingRevision, revisionParams } from "./revisions.js";
import { type ChangeBody, inverse, restore } from "./undo.js";
import { mutationQuery } from "./writes.js";

const scopes = ["revision", "configuration"] as const;
type Scope = (typeof scopes)[number];

const rollbackBody = object({
  scope: word(
    scopes,
    "`revision`: undo what this revision changed, as long as nothing of it has been changed since. `configuration`: everything as it was at this revision.",
  ),
  override: Type.Optional(overrideSchema),
});

/** In the transaction; may run again. */
async function work(tx: WriteTx, revision: Revision, scope: Scope): Promise<Outcome> {
  const madeIn = scope === "revision" ? revision : undefined;
  const changes = await (scope === "revision" ? tx.differences(revision - 1, revision) : tx.differences(revision));
  const { view, done } = await restore(tx, changes, madeIn).catch((error: unknown) => {
    throw toldByObject(error, inverse(changes, madeIn));
  });
  return { object: done, as: "objects", revision: newestOf(view, revision), created: false, tagged: false, lint: [] };
}

/** When nothing is to be done, Envoys are waited for up to what changed last. */
function newestOf({ staged }: ChangeView, least: Revision): Revision {
  const all = [...staged.cluster.values(), ...staged.endpoint.values(), ...staged.listener.values(), ...staged.route.values()];
  return all.reduce((newest, { before }) => Math.max(newest, before?.revision ?? 0), least);
}

/** Nobody wrote a body that the problems could point into: each names its object instead. */
function toldByObject(error: unknown, writes: readonly ChangeBody[]): unknown {
  if (!(error instanceof AppError) || error.problems.length === 0) return error;
  const told = error.problems.map((one): Problem => {
    const [, at, within = ""] = /^\/changes\/(\d+)(?:\/object|\/ifMatch)?(.*)$/.exec(one.pointer) ?? [];
    const write = at === undefined ? undefined : writes[Number(at)];
    if (!write) return one;
    return { ...one, pointer: "", detail: `${nameOf(write)}${within === "" ? "" : ` ${within}`}: ${one.detail}` };
  });
  return new AppError(error.code, error.facts, told, error);
}

function nameOf(write: ChangeBody): string {
  if (write.op === "weights") return `route ${write.route}`;
  if (write.op === "delete") return `${write.kind} ${write.kind === "endpoint" ? `${write.cluster}/` : ""}${write.name}`;
  if (write.kind === "endpoint") return `endpoint ${write.cluster}/${write.object.address}:${write.object.port}`;
  return `${write.kind} ${write.object.name}`;
}

/** Adds POST /v1/revisions/{n}/rollback. */
export function rollbackCalls(api: Api, { store, writes }: ApiContext): void {
  api.post("/v1/revisions/:revision/rollback", {
    schema: answering(changesAnswers(), {
      summary: "Undo a revision, or restore the whole configuration as it was at it, as a new revision",
      tags: ["revisions"],
      params: revisionParams,
      body: rollbackBody,
      querystring: mutationQuery,
    }),
    handler: async (request, reply) => {
      refusePreconditions(request.headers);
      const { scope, override } = request.body;
      const { revision } = await existingRevision(store, request.params.revision);
      const reason = scope === "revision" ? `undo revision ${revision}` : `restore the configuration of revision ${revision}`;
      return writes.carryOut(request, reply, (tx) => work(tx, revision, scope), { override, reason });
    },
  });
}
