// GET /v1/audit: whether the history is what was written. In: where to begin, and the hash that is known of it. Out: how far it holds,
// and where it does not. A page a call, so that a long history is no long request. `chancery audit verify` reads all of them.
import { Type } from "typebox";
import type { Revision } from "../model/revision.js";
import { type AuditAnswer, firstMark, type Store } from "../store/store.js";
import { answering, readAnswers } from "./answers.js";
import type { Api, ApiContext } from "./context.js";
import { integer, object } from "./fields.js";

const standardLimit = 1_000;
const query = object({
  after: Type.Optional(integer(0, Number.MAX_SAFE_INTEGER, "Begin after this revision, whose hash is `hash`.", 0)),
  hash: Type.Optional(
    Type.String({
      pattern: "^[0-9a-f]{64}$",
      description:
        "The hash that revision `after` must have. Default: with `after` 0, that of nothing; else the one that is there.",
    }),
  ),
  limit: Type.Optional(integer(1, 1_000, "Revisions to verify.", standardLimit)),
});

const mark = Type.Object({ revision: Type.Integer(), hash: Type.String() });
const auditShown = Type.Object({
  verified: Type.Integer({ description: "Revisions that are as they were written, of this page." }),
  mark: Type.Object(mark.properties, {
    description: "Where the chain stands after them. Keep it elsewhere, and verify against it later.",
  }),
  head: Type.Integer({ description: "The newest revision." }),
  cut: Type.Optional(
    Type.Object(
      {
        revision: Type.Integer(),
        hash: Type.String(),
        cutAt: Type.String({ description: "When, by the database's clock." }),
        days: Type.Integer({ description: "What was younger was kept." }),
        least: Type.Integer({ description: "So many of the newest revisions were kept." }),
      },
      { description: "The history up to this revision was pruned; the chain is verified from its hash on." },
    ),
  ),
  break: Type.Optional(
    Type.Object(
      {
        revision: Type.Integer(),
        kind: Type.Unsafe<string>({ type: "string", enum: ["edited", "missing", "unlinked", "other", "cut", "pruned"] }),
        detail: Type.String(),
      },
      { description: "The first place where the history is not what was written." },
    ),
  ),
  next: Type.Optional(mark),
});

/** The hash that a revision has, be it the last one that was pruned; undefined: it is not there. */
async function hashOf({ history, read }: Store, revision: Revision): Promise<string | undefined> {
  const cut = await history.cut();
  return revision === cut.revision ? cut.hash : (await read.revision(revision))?.hash;
}

function toCutBody({ revision, hash, cutAt, days, least }: NonNullable<AuditAnswer["cut"]>) {
  return { revision, hash, cutAt, days, least };
}

/** Adds GET /v1/audit. */
export function auditCalls(api: Api, { store }: ApiContext): void {
  api.get("/v1/audit", {
    schema: answering(readAnswers(auditShown), {
      summary: "Verify that the history is what was written: nothing edited, deleted or moved",
      tags: ["revisions"],
      querystring: query,
    }),
    handler: async ({ query: { after = 0, hash, limit = standardLimit } }) => {
      const known = hash ?? (after === 0 ? firstMark.hash : await hashOf(store, after));
      const { cut, ...answer } = await store.history.audit({ revision: after, hash: known ?? firstMark.hash }, limit);
      const isMore = answer.break === undefined && answer.mark.revision < answer.head;
      return { ...answer, ...(cut ? { cut: toCutBody(cut) } : {}), ...(isMore ? { next: answer.mark } : {}) };
    },
  });
}
