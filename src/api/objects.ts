// What the calls of all nouns do alike: names from paths, bodies of PUT, lists, and reading one object with its ETag.
// Called by clusters.ts, listeners.ts, routes.ts.
import { type Static, type TSchema, Type } from "typebox";
import { AppError } from "../errors.js";
import { problem } from "../model/problem-codes.js";
import type { Kind, ObjectKinds } from "../model/revision.js";
import type { ListFilter, Store, Stored } from "../store/store.js";
import { integer, isName, object } from "./fields.js";
import { etag } from "./preconditions.js";
import { refuse } from "./problem-details.js";

const standardLimit = 100;

/** The path of one object. */
export const nameParams = Type.Object({ name: Type.String({ description: "Name of the object." }) });

const paging = {
  after: Type.Optional(
    Type.String({ maxLength: 255, description: "Names after this one: the `next` of the page before. Up to 255 characters." }),
  ),
  limit: Type.Optional(integer(1, 1000, "Objects on a page.", standardLimit)),
};

/** Query of a list: a page, and filters of the noun. */
export function listQuery<T extends Record<string, TSchema>>(filters: T) {
  return object({ ...paging, ...filters });
}
const pageQuery = listQuery({});

/** A name that no object can have needs no look. @throws not_found */
export function existingName(kind: Kind, name: string): string {
  if (!isName(name)) throw missing(kind, name);
  return name;
}

/** The error for an object that is not there. */
export function missing(kind: Kind, name: string): AppError {
  return new AppError("not_found", { kind, name: name.slice(0, 128), detail: `there is no ${kind} ${name.slice(0, 128)}` });
}

/** The name under which PUT writes: the path's, which the body may repeat. @throws invalid_body */
export function nameToPut(path: string, body: { readonly name?: string }): string {
  const problems = [];
  if (!isName(path)) {
    problems.push(
      problem("/name", "wrong_format", 'a name is 1–64 of a–z, 0–9, "-" and ".", and starts and ends with a letter or digit'),
    );
  } else if (body.name !== undefined && body.name !== path) {
    problems.push(problem("/name", "name_differs", `the path says ${path}`));
  }
  refuse(problems);
  return path;
}

interface ReplyHead {
  header(name: string, value: string): unknown;
}

/** One object with its ETag. @throws not_found */
export async function readOne<K extends Kind, B>(
  store: Store,
  reply: ReplyHead,
  kind: K,
  name: string,
  toBody: (object: ObjectKinds[K]) => B,
): Promise<B> {
  const stored = await store.read.get(kind, existingName(kind, name));
  if (!stored) throw missing(kind, name);
  reply.header("etag", etag(stored.revision));
  return toBody(stored.object);
}

/** A page, as the answer shows it. */
export interface ListBody<B> {
  readonly items: readonly B[];
  readonly next?: string;
}

/** One page of a kind by name; `filter` holds what the query asks for. */
export async function readPage<K extends Kind, B>(
  store: Store,
  kind: K,
  query: Static<typeof pageQuery>,
  filter: ListFilter,
  toBody: (object: ObjectKinds[K]) => B,
): Promise<ListBody<B>> {
  const { items, next } = await store.read.list(kind, {
    after: query.after?.replaceAll("\0", ""),
    limit: query.limit ?? standardLimit,
    filter,
  });
  return { items: items.map((stored: Stored<ObjectKinds[K]>) => toBody(stored.object)), ...(next === undefined ? {} : { next }) };
}
