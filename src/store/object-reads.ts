// What the admin API reads: one object, or a page of them by name. In: names and filters. Out: objects with their revisions.
// Every read is one statement on the pool "api". Called by api/ through store.ts.
import type pg from "pg";
import type { Endpoint } from "../model/endpoint.js";
import type { Kind, ObjectKinds, Revision } from "../model/revision.js";
import { fromStoredRow, objectTables, type Stored, type StoredRow, space } from "./objects.js";
import { read } from "./pool.js";
import { type RevisionFacts, readRevision } from "./revisions.js";

/** Which objects a list holds; each key means something for the kinds that it names, and is not taken for others. */
export interface ListFilter {
  /** Endpoints of this cluster, or routes that name it. */
  readonly cluster?: string | undefined;
  /** Routes that name this listener. */
  readonly listener?: string | undefined;
  /** Listeners of this gateway. */
  readonly gateway?: string | undefined;
}

/** Which part of a list, and of which objects. */
export interface Page {
  /** The last name of the page before; its own need not exist any more. */
  readonly after?: string | undefined;
  readonly limit: number;
  readonly filter?: ListFilter | undefined;
}

/** One part of a list, sorted by name. */
export interface ListPage<T> {
  readonly items: readonly Stored<T>[];
  /** The name to go on after; undefined: this was the last page. */
  readonly next: string | undefined;
}

/** All throw database_unavailable. */
export interface StoreReads {
  get<K extends Kind>(kind: K, name: string): Promise<Stored<ObjectKinds[K]> | undefined>;
  /** Sorted by name, byte by byte. */
  list<K extends Kind>(kind: K, page: Page): Promise<ListPage<ObjectKinds[K]>>;
  endpointsOf(cluster: string): Promise<readonly Stored<Endpoint>[]>;
  revision(revision: Revision): Promise<RevisionFacts | undefined>;
}

/** kind → filter key → its condition; `?` is the parameter. */
const conditions: { readonly [K in Kind]: { readonly [F in keyof ListFilter]?: string } } = {
  cluster: {},
  endpoint: { cluster: "cluster = ?" },
  listener: { gateway: "jsonb_exists(spec->'gateways', ?)" },
  route: {
    cluster: "name in (select route from route_clusters where space = $1 and cluster = ?)",
    listener: "name in (select route from route_listeners where space = $1 and listener = ?)",
  },
};
const filterKeys = ["cluster", "listener", "gateway"] as const satisfies readonly (keyof ListFilter)[];

/** The reads of the pool "api". */
export function createReads(pool: pg.Pool): StoreReads {
  async function select<K extends Kind>(kind: K, condition: string, values: readonly unknown[]): Promise<StoredRow<K>[]> {
    const { table, columns } = objectTables[kind];
    return read<StoredRow<K>>(pool, `select ${columns.join(", ")}, revision from ${table} where space = $1 and ${condition}`, [
      space,
      ...values,
    ]);
  }
  return {
    async get(kind, name) {
      const [row] = await select(kind, "name = $2", [name]);
      return row && fromStoredRow(kind, row);
    },
    async list(kind, { after, limit, filter }) {
      const values: unknown[] = [after ?? "", limit + 1];
      const terms = filterKeys.flatMap((key) => {
        const [wanted, condition] = [filter?.[key], conditions[kind][key]];
        if (wanted === undefined || condition === undefined) return [];
        values.push(wanted);
        return [` and ${condition.replace("?", `$${values.length + 1}`)}`];
      });
      const rows = await select(kind, `name > $2${terms.join("")} order by name limit $3`, values);
      const items = rows.slice(0, limit);
      return { items: items.map((row) => fromStoredRow(kind, row)), next: rows.length > limit ? items.at(-1)?.name : undefined };
    },
    async endpointsOf(cluster) {
      return (await select("endpoint", "cluster = $2 order by name", [cluster])).map((row) => fromStoredRow("endpoint", row));
    },
    revision: (revision) => readRevision(pool, revision),
  };
}
