// A revision and a difference as the API shows them. In: facts of the store. Out: JSON, or text for a terminal.
// Called by revisions.ts and follow.ts. Pure.
import { Type } from "typebox";
import type { Change, Revision } from "../model/revision.js";
import { type PlannedObject, toPlannedObject } from "../plan/plan.js";
import type { RevisionFacts } from "../store/store.js";
import { objectChangesShown } from "./answers.js";
import { compact } from "./fields.js";
import { showObject } from "./shown-object.js";

/** A revision as GET shows it. */
export const revisionShown = Type.Object({
  revision: Type.Integer(),
  id: Type.String({ description: "Random: the same number with another id is another history." }),
  at: Type.String({ format: "date-time", description: "By the database's clock." }),
  author: Type.String(),
  reason: Type.Optional(Type.String()),
  requestId: Type.String(),
  changes: Type.Integer({ description: "Objects that it changed." }),
  counts: Type.Record(Type.String(), Type.Integer(), { description: "kind → objects after it." }),
  overrides: Type.Array(Type.String(), { description: "Guards that it was allowed to pass." }),
  hash: Type.String({ description: "Over the revision, its changes and the hash before it: see GET /v1/audit." }),
});

/** What lies between two revisions. */
export const diffShown = Type.Object({
  revision: Type.Integer(),
  against: Type.Integer(),
  objects: objectChangesShown,
  next: Type.Optional(Type.String({ description: "Give it as `after` for the next page." })),
});

/** The same, as a value. */
export interface DiffBody {
  readonly revision: Revision;
  readonly against: Revision;
  readonly objects: readonly PlannedObject[];
  readonly next?: string;
}

export function toRevisionBody(facts: RevisionFacts) {
  const { revision, id, at, author, reason, requestId, changes, counts, overrides, hash } = facts;
  return compact({ revision, id, at, author, reason, requestId, changes, counts, overrides, hash });
}

/** At most `limit` of the changes, of which there may be one more. */
export function toDiffBody(revision: Revision, against: Revision, changes: readonly Change[], limit: number): DiffBody {
  const page = changes.slice(0, limit);
  const last = page.at(-1);
  const next = changes.length > limit && last ? `${last.kind}/${last.name}` : undefined;
  const objects = page.map((change) => toPlannedObject(change, showObject));
  return { revision, against, objects, ...(next === undefined ? {} : { next }) };
}

const signs = { created: "+", updated: "~", deleted: "-" } as const;

/** For reading: one line for each place that differs, before and after. Ends with a line break. */
export function diffText({ revision, against, objects, next }: DiffBody, facts: RevisionFacts | undefined): string {
  const why = facts?.reason === undefined ? "" : `: ${facts.reason}`;
  const head = facts
    ? `revision ${revision} against ${against}, by ${facts.author} at ${facts.at}${why}`
    : `revision ${revision} against ${against}`;
  const lines = objects.flatMap(({ kind, name, change, diff }) => [
    `${signs[change]} ${kind} ${name}`,
    ...diff.flatMap(placeLines),
  ]);
  const end = objects.length === 0 ? ["nothing differs"] : next === undefined ? [] : [`more follow after ${next}`];
  return `${[head, ...lines, ...end].join("\n")}\n`;
}

function placeLines({ pointer, before, after }: PlannedObject["diff"][number]): readonly string[] {
  return [...valueLines("-", pointer, before), ...valueLines("+", pointer, after)];
}

/** A whole object is told field by field. */
function valueLines(sign: "-" | "+", pointer: string, value: unknown): readonly string[] {
  if (value === undefined) return [];
  if (pointer === "" && typeof value === "object" && value !== null)
    return Object.entries(value).map(([key, field]) => `    ${sign} /${key}: ${JSON.stringify(field)}`);
  return [`    ${sign} ${pointer}: ${JSON.stringify(value)}`];
}
