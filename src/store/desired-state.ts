// The full load: every row at one revision, and the check that it is all of them. In: the tables. Out: StateRows.
// A read that brings fewer or more rows than the revision recorded (rows deleted behind our back, hidden by a permission, duplicated)
// is never "the truth": an empty answer would remove everything from every Envoy at once. Called by snapshot/ through store.ts.
import type pg from "pg";
import type { StateRows } from "../model/desired-state.js";
import { type Kind, kinds, type Revision } from "../model/revision.js";
import { objectTables, type RowKinds, space } from "./objects.js";
import { type CountColumns, fromCountColumns, type ObjectCounts } from "./revisions.js";
import { fromOverlayRow, type OverlayRow } from "./rollout-row.js";
import type { SchemaColumns, SchemaGate } from "./schema-version.js";
import { refuseStandby } from "./sqlstate.js";
import { inTransaction, type Transaction } from "./transaction.js";

/** The rows are not those that the revision recorded. Nothing may be served from them; `found` and `recorded` say where they differ. */
export class StateMismatch extends Error {
  constructor(
    readonly revision: Revision,
    readonly recorded: ObjectCounts | undefined,
    readonly found: ObjectCounts,
  ) {
    super(`the rows at revision ${revision} are not those that it recorded: ${JSON.stringify({ recorded, found })}`);
    this.name = "StateMismatch";
  }
}

type HeadRow = { readonly standby: boolean; readonly n: Revision; readonly id: string | null } & {
  readonly [K in keyof CountColumns]: number | null;
} & SchemaColumns;

// What the counter says and what the revision says are read together; revision 0 has no row, and no objects.
const headQuery = `
  select pg_is_in_recovery() as standby, counter.n, revisions.id::text as id, revisions.clusters, revisions.endpoints, revisions.listeners, revisions.routes,
         schema.version as schema_version, schema.compatible_from
    from revision_counter as counter left join revisions on revisions.revision = counter.n left join schema_version as schema on true`;

interface PastRouteRow {
  readonly name: string;
  readonly before: RowKinds["route"]["spec"] | null;
}
type NodeDrainPhaseRow = Required<NonNullable<StateRows["nodeDrains"]>[number]>;

/** How far back changes of routes are looked for, revisions: the read stays short where routes hardly change. */
const maxPastRevisions = 10_000;
const pastRoutesQuery = `
  select name, before from changes where revision > $1 and kind = 'route' order by revision desc, ordinal desc limit 200`;

/**
 * One repeatable-read transaction: all tables as of one commit.
 * @throws StateMismatch, QueryFailure, also of a standby, schema_too_new
 */
export async function loadState(pool: pg.Pool, schema: SchemaGate, queryTimeoutMs: number): Promise<StateRows> {
  return inTransaction(
    pool,
    { begin: "begin isolation level repeatable read read only", queryTimeoutMs },
    async (transaction) => {
      const [head] = await transaction.query<HeadRow>(headQuery);
      refuseStandby(head?.standby);
      if (head) schema.see(head);
      const revision = head?.n ?? 0;
      const clusters = await all(transaction, "cluster");
      const endpoints = await all(transaction, "endpoint");
      const listeners = await all(transaction, "listener");
      const routes = await all(transaction, "route");
      const overlays = await transaction.query<OverlayRow>(
        "select name, shares, changes from rollouts where state = 'staging' order by name",
      );
      const nodeDrains = await transaction.query<NodeDrainPhaseRow>("select node, phase from node_drains order by node");
      const past = await transaction.query<PastRouteRow>(pastRoutesQuery, [revision - maxPastRevisions]);
      const found = { cluster: clusters.length, endpoint: endpoints.length, listener: listeners.length, route: routes.length };
      const recorded = recordedCounts(head);
      if (!recorded || kinds.some((kind) => recorded[kind] !== found[kind])) throw new StateMismatch(revision, recorded, found);
      return {
        revision,
        id: head?.id ?? "",
        clusters: clusters.map(objectTables.cluster.fromRow),
        endpoints: endpoints.map(objectTables.endpoint.fromRow),
        listeners: listeners.map(objectTables.listener.fromRow),
        routes: routes.map(objectTables.route.fromRow),
        overlays: overlays.map(fromOverlayRow),
        nodeDrains,
        pastRoutes: past.map(({ name, before }) => ({
          name,
          before: before ? objectTables.route.fromRow({ spec: before }) : undefined,
        })),
      };
    },
  );
}

async function all<K extends Kind>(transaction: Transaction, kind: K): Promise<RowKinds[K][]> {
  const { table, columns } = objectTables[kind];
  return transaction.query<RowKinds[K]>(`select ${columns.join(", ")} from ${table} where space = $1 order by name`, [space]);
}

/** undefined: the counter has no row, or names a revision that has none. */
function recordedCounts(head: HeadRow | undefined): ObjectCounts | undefined {
  if (!head || (head.n > 0 && head.id === null)) return undefined;
  const { clusters, endpoints, listeners, routes } = head;
  return fromCountColumns({ clusters: clusters ?? 0, endpoints: endpoints ?? 0, listeners: listeners ?? 0, routes: routes ?? 0 });
}
