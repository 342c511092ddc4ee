// The history: who changed what, when and why, what differs between two revisions, and how far a revision is at the Envoys.
// In: HTTP. Out: what the store wrote down with each write, and what status/ knows. Following: follow.ts; going back: rollback.ts.
import type { FastifyRequest } from "fastify";
import { Type } from "typebox";
import { AppError } from "../errors.js";
import { problem } from "../model/problem-codes.js";
import { type Kind, kinds, type Revision } from "../model/revision.js";
import { beyondCut, type RevisionFacts, type Store } from "../store/store.js";
import { answering, readAnswers, syncShown } from "./answers.js";
import type { Api, ApiContext } from "./context.js";
import { integer, object, word } from "./fields.js";
import { Followers } from "./follow.js";
import { diffShown, diffText, revisionShown, toDiffBody, toRevisionBody } from "./revision-body.js";

const tags = ["revisions"];
const standardLimit = 100;
const maxRevision = Number.MAX_SAFE_INTEGER;

/** The path's revision. */
export const revisionParams = Type.Object({ revision: Type.String({ description: "Its number." }) });

/** A revision that is there. @throws not_found, beyond_history (it was, and was pruned) */
export async function existingRevision(store: Store, text: string): Promise<RevisionFacts> {
  const revision = /^[1-9]\d{0,14}$/.test(text) ? Number(text) : undefined;
  const facts = revision === undefined ? undefined : await store.read.revision(revision);
  if (facts) return facts;
  if (revision !== undefined) await refusePruned(store, revision);
  const name = text.slice(0, 128);
  throw new AppError("not_found", { kind: "revision", name, detail: `there is no revision ${name}` });
}

const flag = (description: string) =>
  Type.Optional(Type.Unsafe<"true" | "false">({ type: "string", enum: ["true", "false"], description }));
const listQuery = object({
  author: Type.Optional(Type.String({ maxLength: 128, description: "Only those by this author. Up to 128 characters." })),
  kind: Type.Optional(word(kinds, "Only those that changed an object of this kind.")),
  name: Type.Optional(
    Type.String({
      maxLength: 255,
      description:
        "Only those that changed this object of `kind`; an endpoint's name is `<cluster>/<address>:<port>`. Up to 255 characters.",
    }),
  ),
  before: Type.Optional(integer(1, maxRevision, "Revisions before this one: the `next` of the page before.")),
  limit: Type.Optional(integer(1, 1000, "Revisions on a page.", standardLimit)),
  follow: flag(
    "`true`: a stream of server-sent events, revisions and their sync as they happen. Takes `after` only. Default false.",
  ),
  after: Type.Optional(integer(0, maxRevision, "With `follow`: begin after this revision. Default: with the next one.")),
});

const standardDiffLimit = 1_000;
const diffQuery = object({
  against: Type.Optional(integer(0, maxRevision, "The revision to compare with. Default: the one before.")),
  after: Type.Optional(
    Type.String({ maxLength: 300, pattern: "^[a-z]+/.", description: "Objects after this one: the `next` of the page before." }),
  ),
  limit: Type.Optional(integer(1, 10_000, "Objects on a page.", standardDiffLimit)),
});

/** A name without its kind could be of several objects. @throws invalid_query */
function refuseLoneName(kind: Kind | undefined, name: string | undefined): void {
  if (name === undefined || kind !== undefined) return;
  throw new AppError("invalid_query", {}, [problem("/kind", "missing_field", "a name needs the kind that it is of")]);
}

function listCall(api: Api, { store }: ApiContext, followers: Followers): void {
  const page = Type.Object({
    items: Type.Array(revisionShown),
    next: Type.Optional(Type.Integer({ description: "Give it as `before` for the next page." })),
  });
  api.get("/v1/revisions", {
    schema: answering(readAnswers(page), {
      summary: "List revisions, newest first, or follow them",
      tags,
      querystring: listQuery,
    }),
    handler: async (request, reply) => {
      const { author, kind, name, before, limit = standardLimit, follow, after } = request.query;
      if (follow === "true") return followers.follow(request, reply, after);
      refuseLoneName(kind, name);
      const plain = (text: string | undefined) => text?.replaceAll("\0", "");
      const { items, next } = await store.history.list({
        before,
        limit,
        filter: { author: plain(author), kind, name: plain(name) },
      });
      return { items: items.map(toRevisionBody), ...(next === undefined ? {} : { next }) };
    },
  });
}

/** @throws beyond_history */
async function refusePruned(store: Pick<Store, "history">, revision: Revision): Promise<void> {
  const cut = await store.history.cut();
  if (revision <= cut.revision) throw beyondCut(revision, cut);
}

/** Revision 0 is before every write; the last one that was pruned is known by what it left. @throws not_found, beyond_history */
async function refuseUnknown(store: Store, revision: Revision): Promise<void> {
  const cut = await store.history.cut();
  if (revision < cut.revision) throw beyondCut(revision, cut);
  if (revision > cut.revision) await existingRevision(store, String(revision));
}

/** The first type of `Accept` that we have decides. */
function wantsText({ headers }: Pick<FastifyRequest, "headers">): boolean {
  const known = /text\/plain|application\/json|\*\/\*/.exec(headers.accept ?? "");
  return known?.[0] === "text/plain";
}

function diffCall(api: Api, { store }: ApiContext): void {
  api.get("/v1/revisions/:revision/diff", {
    schema: answering(readAnswers(diffShown), {
      summary: "What a revision changed, or what differs between it and another; as text with `Accept: text/plain`",
      tags,
      params: revisionParams,
      querystring: diffQuery,
    }),
    handler: async (request, reply) => {
      const facts = await existingRevision(store, request.params.revision);
      const { against = facts.revision - 1, limit = standardDiffLimit, after } = request.query;
      await refuseUnknown(store, against);
      const slash = after?.indexOf("/") ?? -1;
      const place =
        after === undefined ? undefined : { kind: after.slice(0, slash), name: after.slice(slash + 1).replaceAll("\0", "") };
      const changes = await store.history.differences({ from: against, to: facts.revision }, { after: place, limit: limit + 1 });
      const body = toDiffBody(facts.revision, against, changes, limit);
      if (!wantsText(request)) return body;
      reply.header("content-type", "text/plain; charset=utf-8").serializer(String);
      return diffText(body, facts);
    },
  });
}

/** Adds the calls under /v1/revisions that read. */
export function revisionCalls(api: Api, context: ApiContext): void {
  const { store, fleet } = context;
  listCall(api, context, new Followers(context));

  api.get("/v1/revisions/:revision", {
    schema: answering(readAnswers(revisionShown), {
      summary: "Read a revision: who made it, when and why",
      tags,
      params: revisionParams,
    }),
    handler: async ({ params }) => toRevisionBody(await existingRevision(store, params.revision)),
  });

  diffCall(api, context);

  api.get("/v1/revisions/:revision/sync", {
    schema: answering(readAnswers(syncShown), {
      summary: "How far a revision is at the Envoys, now: who has it, who refused it, who lags",
      tags,
      params: revisionParams,
    }),
    handler: async ({ params }) => fleet.lookSync((await existingRevision(store, params.revision)).revision),
  });
}
