// Revisions as rows: taking the next one, and reading what is known of one. In: the net changes of a transaction. Out: its number.
// The statement is made of literals, so that it can travel in one message with COMMIT (transaction.ts). Called by store.ts.
import pg from "pg";
import { AppError } from "../errors.js";
import type { Author, Kind, Revision } from "../model/revision.js";
import type { NodeDrainRowChange } from "./node-drain-tx.js";
import { read, readPrimary } from "./pool.js";
import type { OverlayRowChange } from "./rollout-writes.js";
import type { Transaction } from "./transaction.js";
import type { RowChange } from "./write-tx.js";

/** A revision by number and random id: which history it belongs to. Revision 0, before every write, has the id "". */
export interface RevisionMark {
  readonly revision: Revision;
  readonly id: string;
}

/** kind → objects of it. */
export type ObjectCounts = Readonly<Record<Kind, number>>;

/** Who made a revision, when and why, and how many objects of each kind there were after it. */
export interface RevisionFacts extends RevisionMark, Author {
  /** ISO 8601, the database's clock. */
  readonly at: string;
  readonly counts: ObjectCounts;
  /** Objects that it changed. */
  readonly changes: number;
  /** Guards that it was allowed to pass. */
  readonly overrides: readonly string[];
  /** Over the row, its changes and the hash before it (audit.ts); hexadecimal. */
  readonly hash: string;
}

/** Columns of `revisions` and `revision_counter` that count objects. */
export interface CountColumns {
  readonly clusters: number;
  readonly endpoints: number;
  readonly listeners: number;
  readonly routes: number;
}

/** The columns' plural names as our kinds. */
export function fromCountColumns(row: CountColumns): ObjectCounts {
  return { cluster: row.clusters, endpoint: row.endpoints, listener: row.listeners, route: row.routes };
}

/** How a revision is committed. */
export interface CommitChoices {
  /** Guards that it is allowed to pass. */
  readonly overrides: readonly string[];
  /** A kind may be left without objects: that is overridden, or one object was removed by its name. */
  readonly mayEmpty: boolean;
  /** The staged rollout that it belongs to; undefined: what any of them holds is not its to change. */
  readonly rollout: string | undefined;
  readonly notify: boolean;
  /** New specs of rows that were there are to be written with their revision; false: they have been. */
  readonly applies: boolean;
}

/** The last statement of a write. `id` is made by the caller, who can ask for it when the answer is lost. */
export function commitStatement(
  id: string,
  author: Author,
  changes: readonly (RowChange | OverlayRowChange | NodeDrainRowChange)[],
  { overrides, mayEmpty, rollout, notify, applies }: CommitChoices,
): string {
  const list = JSON.stringify(changes.map(({ kind, name, before, after }) => ({ kind, name, before, after })));
  // A NUL would end the whole message there: Postgres holds none in a text.
  const literal = (text: string | undefined): string =>
    text === undefined ? "null" : pg.escapeLiteral(text.replaceAll("\0", ""));
  const texts = [id, author.author, author.requestId, author.reason].map(literal);
  const passed = `array[${overrides.map(literal).join(", ")}]::text[]`;
  return `select commit_revision(${texts.join(", ")}, ${pg.escapeLiteral(list)}::jsonb, ${passed}, ${mayEmpty}, ${literal(rollout)}::text, ${notify}, ${applies}) as revision`;
}

/** The newest revision: two look-ups by primary key. @throws database_unavailable */
export async function readHead(pool: pg.Pool): Promise<RevisionMark> {
  const [row] = await readPrimary<RevisionMark & { readonly standby: boolean }>(
    pool,
    `select pg_is_in_recovery() as standby, counter.n as revision, coalesce(revisions.id::text, '') as id
       from revision_counter as counter left join revisions on revisions.revision = counter.n`,
  );
  return { revision: row?.revision ?? 0, id: row?.id ?? "" };
}

/** Which of these revisions the database still has, by id. @throws database_unavailable */
export async function keptOf(pool: pg.Pool, marks: readonly RevisionMark[]): Promise<ReadonlySet<string>> {
  const rows = await read<{ readonly id: string }>(
    pool,
    `select revisions.id::text as id from revisions
       join unnest($1::bigint[], $2::uuid[]) as known(revision, id) on known.revision = revisions.revision and known.id = revisions.id`,
    [marks.map(({ revision }) => revision), marks.map(({ id }) => id)],
  );
  return new Set(rows.map(({ id }) => id));
}

/** Tells at the beginning of a write what its commit would find: that its base is not the newest revision. @throws precondition_failed */
export async function refuseOtherBase(transaction: Transaction, base: Revision): Promise<void> {
  const [row] = await transaction.query<{ n: Revision }>("select n from revision_counter");
  if (row?.n !== base) throw otherBase(base, row?.n ?? 0);
}

/** The configuration has moved on since `base`, or never was there. */
export function otherBase(base: Revision, current: Revision): AppError {
  const detail = `the newest revision is ${current}, and the change was made for ${base}`;
  return new AppError("precondition_failed", { current, detail });
}

/**
 * The number under which a write's id was committed; undefined: it was not, so far. Locked, so that this statement has a commit of its own,
 * which waits for a synchronous standby as any does: after a restart a primary shows commits that its standby never got.
 * @throws database_unavailable
 */
export async function findCommitted(pool: pg.Pool, id: string): Promise<Revision | undefined> {
  const [row] = await read<{ revision: Revision }>(pool, "select revision from revisions where id = $1 for update", [id]);
  return row?.revision;
}

/** A row as `revisionColumns` brings it. */
export interface RevisionRow extends CountColumns {
  readonly revision: Revision;
  readonly id: string;
  readonly author: string;
  readonly request_id: string;
  readonly reason: string | null;
  readonly at: Date;
  readonly changes: number;
  readonly overrides: readonly string[];
  readonly hash: string;
}

/** What a RevisionRow is selected by; ordinals have no gaps, so the last one counts them. */
export const revisionColumns = `revisions.revision, revisions.id::text as id, revisions.author, revisions.request_id, revisions.reason, revisions.at,
  revisions.clusters, revisions.endpoints, revisions.listeners, revisions.routes, revisions.overrides, encode(revisions.hash, 'hex') as hash,
  coalesce((select max(ordinal) from changes where changes.revision = revisions.revision), 0) as changes`;

/** For reading. */
export function fromRevisionRow(row: RevisionRow): RevisionFacts {
  return {
    revision: row.revision,
    id: row.id,
    author: row.author,
    requestId: row.request_id,
    reason: row.reason ?? undefined,
    at: row.at.toISOString(),
    counts: fromCountColumns(row),
    changes: row.changes,
    overrides: row.overrides,
    hash: row.hash,
  };
}

/** @throws database_unavailable */
export async function readRevision(pool: pg.Pool, revision: Revision): Promise<RevisionFacts | undefined> {
  const [row] = await read<RevisionRow>(pool, `select ${revisionColumns} from revisions where revision = $1`, [revision]);
  return row && fromRevisionRow(row);
}
