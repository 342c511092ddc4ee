// The kinds of objects as one table: where each lives, and how it goes into a row and back.
// In: a kind. Out: its table and its two conversions. Called by everything in store/ that works on any kind.
import type { Kind, ObjectKinds, Revision } from "../model/revision.js";
import { clustersOf, listenersOf } from "../model/route.js";
import { type ClusterRow, fromClusterRow, toClusterRow } from "./cluster-row.js";
import { type EndpointRow, fromEndpointRow, toEndpointRow } from "./endpoint-row.js";
import { fromListenerRow, type ListenerRow, toListenerRow } from "./listener-row.js";
import { Prepared } from "./prepared.js";
import { fromRouteRow, type RouteRow, toRouteRow } from "./route-row.js";

/** An object and the revision in which it last changed: its ETag. */
export interface Stored<T> {
  readonly object: T;
  readonly revision: Revision;
}

/** kind → what its table holds, without the revision. */
export interface RowKinds {
  cluster: ClusterRow;
  endpoint: EndpointRow;
  listener: ListenerRow;
  route: RouteRow;
}

/** What an object names, and what must therefore stay. */
export interface References {
  readonly clusters: readonly string[];
  readonly listeners: readonly string[];
}

/** How one kind is kept. */
export interface ObjectTable<K extends Kind> {
  readonly table: string;
  /** What an insert fills in besides space and revision. */
  readonly columns: readonly ("name" | "cluster" | "spec")[];
  /** Names kept as rows in route_clusters and route_listeners; an endpoint's cluster is a column of its own. */
  references(object: ObjectKinds[K]): References;
  toRow(object: ObjectKinds[K]): RowKinds[K];
  fromRow(row: Pick<RowKinds[K], "spec">): ObjectKinds[K];
}

/** The only space so far (DESIGN §13). */
export const space = "default";

const none: References = { clusters: [], listeners: [] };
const noReferences = (): References => none;

/** kind → how it is kept. A new kind fails to compile until it is here. */
export const objectTables: { readonly [K in Kind]: ObjectTable<K> } = {
  cluster: {
    table: "clusters",
    columns: ["name", "spec"],
    references: noReferences,
    toRow: toClusterRow,
    fromRow: fromClusterRow,
  },
  endpoint: {
    table: "endpoints",
    columns: ["name", "cluster", "spec"],
    references: noReferences,
    toRow: toEndpointRow,
    fromRow: fromEndpointRow,
  },
  listener: {
    table: "listeners",
    columns: ["name", "spec"],
    references: noReferences,
    toRow: toListenerRow,
    fromRow: fromListenerRow,
  },
  route: {
    table: "routes",
    columns: ["name", "spec"],
    references: (route) => ({ clusters: clustersOf(route), listeners: listenersOf(route) }),
    toRow: toRouteRow,
    fromRow: fromRouteRow,
  },
};

/** A row as `select *` of an object table brings it. */
export type StoredRow<K extends Kind> = RowKinds[K] & { readonly revision: Revision };

/** A row as callers get it: the object and its revision. */
export function fromStoredRow<K extends Kind>(kind: K, row: StoredRow<K>): Stored<ObjectKinds[K]> {
  return { object: objectTables[kind].fromRow(row), revision: row.revision };
}

/** Rows of one kind by name; a lock keeps them for the transaction. */
export function selectText(kind: Kind, condition: string, lock: string): string {
  const { table, columns } = objectTables[kind];
  return `select ${columns.join(", ")}, revision from ${table} where space = $1 and ${condition} order by name ${lock}`;
}

const lockQuery = (kind: Kind): Prepared => new Prepared(`lock_${kind}`, selectText(kind, "name = any($2)", "for no key update"));
/** Every write begins with one of these. */
export const lockQueries: Readonly<Record<Kind, Prepared>> = {
  cluster: lockQuery("cluster"),
  endpoint: lockQuery("endpoint"),
  listener: lockQuery("listener"),
  route: lockQuery("route"),
};

/** The row as Postgres will give it back: without what is undefined. */
export function jsonRow<K extends Kind>(kind: K, object: ObjectKinds[K]): RowKinds[K] {
  return JSON.parse(JSON.stringify(objectTables[kind].toRow(object)));
}
