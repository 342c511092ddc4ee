// The history as people read it: revisions newest first, what lies between two of them, and whether all of it is as it was written.
// In: filters and places. Out: facts of revisions, differences. Every read is bounded. Pool "api"; called by api/ through store.ts.
import type pg from "pg";
import type { Change, Kind, Revision } from "../model/revision.js";
import { type AuditAnswer, auditAfter, type ChainMark, maxAuditPage } from "./audit.js";
import { checkSpan, type DifferencePage, type Query, readDifferences, type Span } from "./differences.js";
import { type HistoryCut, readCut, refuseBeyond } from "./history-cut.js";
import { space } from "./objects.js";
import { read } from "./pool.js";
import { fromRevisionRow, type RevisionFacts, type RevisionMark, type RevisionRow, revisionColumns } from "./revisions.js";

/** Which revisions a list holds. `name` means something with `kind` only. */
export interface RevisionFilter {
  readonly author?: string | undefined;
  /** Those that changed an object of this kind. */
  readonly kind?: Kind | undefined;
  /** Those that changed this object. */
  readonly name?: string | undefined;
}

/** Which part of the list, newest first. */
export interface RevisionPage {
  /** Revisions before this one. */
  readonly before?: Revision | undefined;
  readonly limit: number;
  readonly filter?: RevisionFilter | undefined;
}

/** `next`: give it as `before`; undefined: there are no older ones. */
export interface RevisionList {
  readonly items: readonly RevisionFacts[];
  readonly next: Revision | undefined;
}

/** other-history: the revision of `at` is not there, or is another one. pruned: it was, with what came after it. */
export type RevisionsAfter =
  | { readonly kind: "next"; readonly revisions: readonly RevisionFacts[] }
  | { readonly kind: "other-history" }
  | { readonly kind: "pruned" };

/** All throw database_unavailable. */
export interface HistoryReads {
  list(page: RevisionPage): Promise<RevisionList>;
  /** Where the history that is kept begins. */
  cut(): Promise<HistoryCut>;
  /** What came after, in order, at most `limit`: for those who follow. */
  after(at: RevisionMark, limit: number): Promise<RevisionsAfter>;
  /** Sorted by kind and name. Both revisions must be there, or be the cut's; 0 is before all. @throws beyond_history */
  differences(span: Span, page: DifferencePage): Promise<readonly Change[]>;
  /** Verifies the next revisions after a mark that is believed, at most 1,000 of them. */
  audit(from: ChainMark, limit?: number): Promise<AuditAnswer>;
}

/** The reads of the pool "api". */
export function createHistory(pool: pg.Pool): HistoryReads {
  const query: Query = (text, values) => read(pool, text, values);
  const cut = (): Promise<HistoryCut> => readCut(query);
  return {
    cut,
    async list({ before, limit, filter = {} }) {
      const { text, values } = listQuery({ before, limit: limit + 1, filter });
      const rows = await read<RevisionRow>(pool, text, values);
      const items = rows.slice(0, limit).map(fromRevisionRow);
      return { items, next: rows.length > limit ? items.at(-1)?.revision : undefined };
    },
    async after(at, limit) {
      const rows = await read<RevisionRow>(
        pool,
        `select ${revisionColumns} from revisions where revision >= $1 order by revision limit $2`,
        [at.revision, limit + 1],
      );
      const facts = rows.map(fromRevisionRow);
      const begin = await cut(); // After the rows: what it still keeps, they had.
      if (at.revision < begin.revision) return { kind: "pruned" };
      if (at.revision === begin.revision)
        return at.id === begin.id ? { kind: "next", revisions: facts.slice(0, limit) } : { kind: "other-history" };
      const [own, ...next] = facts;
      return own?.revision === at.revision && own.id === at.id ? { kind: "next", revisions: next } : { kind: "other-history" };
    },
    async differences(span, page) {
      checkSpan(span);
      const found = await readDifferences(query, span, page);
      refuseBeyond(await cut(), span.from, span.to); // After the rows: what it still keeps, they had.
      return found;
    },
    audit: (from, limit = maxAuditPage) => auditAfter(pool, from, Math.min(limit, maxAuditPage)),
  };
}

/** With a kind, the index of the changes leads; without one, that of the revisions. */
function listQuery({ before, limit, filter }: RevisionPage): { readonly text: string; readonly values: readonly unknown[] } {
  const values: unknown[] = [];
  const parameter = (value: unknown): string => `$${values.push(value)}`;
  const { author, kind, name } = filter ?? {};
  const terms: string[] = [];
  if (before !== undefined) terms.push(`revisions.revision < ${parameter(before)}`);
  if (author !== undefined) terms.push(`revisions.author = ${parameter(author)}`);
  if (kind !== undefined) {
    const ofKind = [`change.space = ${parameter(space)}`, `change.kind = ${parameter(kind)}`];
    if (name !== undefined) ofKind.push(`change.name = ${parameter(name)}`);
    if (before !== undefined) ofKind.push(`change.revision < ${parameter(before)}`);
    const found = `select distinct change.revision from changes as change${author === undefined ? "" : " join revisions using (revision)"} where ${[
      ...ofKind,
      ...(author === undefined ? [] : [`revisions.author = ${parameter(author)}`]),
    ].join(" and ")} order by change.revision desc limit ${parameter(limit)}`;
    terms.push(`revisions.revision in (${found})`);
  }
  const where = terms.length > 0 ? ` where ${terms.join(" and ")}` : "";
  return { text: `select ${revisionColumns} from revisions${where} order by revision desc limit ${parameter(limit)}`, values };
}
