// Leases within a write: renewed with the endpoints that are put, begun and forgotten with them, and ended. In: a transaction. Out: rows
// of `endpoint_leases` and `endpoint_lease_ends`. Called by write-tx.ts, and through WriteTx.leases by drain/.
import type { Revision } from "../model/revision.js";
import { space } from "./objects.js";
import type { Transaction } from "./transaction.js";

/** While no control plane looks for longer than this, nobody could renew; a lease is over only so long after its time. In ms. */
export const leaseGraceMs = 1_500;
/** What has ended is counted for so long at least, and until no lease of the cluster is over. */
const endsKeptFor = "1 hour";

/** About `endpoint_leases`, with `lease_watch` beside it. */
export const isOver = `clock_timestamp() > greatest(endpoint_leases.renewed_at, lease_watch.resumed_at)
  + (endpoint_leases.ttl_ms + ${leaseGraceMs}) * interval '1 millisecond'`;

/** What a write may do with leases. The cluster is locked before. */
export interface LeaseTx {
  /** Leases of the cluster that are over and are no other transaction's, the longest over first; locked. */
  claimOver(cluster: string): Promise<readonly string[]>;
  /** Names of the cluster's endpoints whose lease ended and that nothing has replaced. */
  ended(cluster: string): Promise<readonly string[]>;
  /** The endpoint goes by this drain. */
  end(cluster: string, name: string, drain: string): Promise<void>;
  /** The endpoints stay, and why; those that stay already keep their words. Returns how many were not held before. */
  hold(names: readonly string[], because: string): Promise<number>;
  /** The drain that the lease's end began, if the lease is not over any more; locked. */
  claimRenewed(name: string): Promise<string | undefined>;
  /** It has been renewed: its drain is forgotten. */
  goOn(cluster: string, name: string): Promise<void>;
}

/** Names and times of life of endpoints that are written. */
export interface LeasedRow {
  readonly name: string;
  readonly cluster: string;
  readonly revision?: Revision;
  readonly spec: { readonly ttlMs?: number | undefined };
}

/** Whoever writes an endpoint with `ttlMs` renews its lease; one that is written without has none. */
export async function renewWritten(
  transaction: Transaction,
  rows: readonly LeasedRow[],
  before: (name: string) => LeasedRow | undefined,
): Promise<void> {
  const dropped = rows.filter(({ name, spec }) => spec.ttlMs === undefined && before(name)?.spec.ttlMs !== undefined);
  if (dropped.length > 0) {
    const names = dropped.map(({ name }) => name);
    await transaction.query("delete from endpoint_leases where space = $1 and name = any($2)", [space, names]);
  }
  const leased = rows.filter(({ spec }) => spec.ttlMs !== undefined);
  if (leased.length === 0) return;
  await transaction.query(
    `insert into endpoint_leases as stored (space, name, cluster, ttl_ms)
     select $1, name, cluster, "ttlMs" from jsonb_to_recordset($2::jsonb) as row (name text, cluster text, "ttlMs" int) order by name
     on conflict (space, name) do update set ttl_ms = excluded.ttl_ms, renewed_at = clock_timestamp(), held = null`,
    [space, JSON.stringify(leased.map(({ name, cluster, spec }) => ({ name, cluster, ttlMs: spec.ttlMs })))],
  );
  for (const created of leased.filter(({ name }) => before(name) === undefined)) await replace(transaction, created);
}

/** One has come: in its own place, or in that of the one that went first. */
async function replace(transaction: Transaction, { name, cluster }: LeasedRow): Promise<void> {
  await transaction.query(
    `delete from endpoint_lease_ends as ends where space = $1 and cluster = $2 and name = (
       select name from endpoint_lease_ends where space = $1 and cluster = $2
          and (name = $3 or not exists (select from endpoints where endpoints.space = $1 and endpoints.name = endpoint_lease_ends.name))
        order by name <> $3, at limit 1)`,
    [space, cluster, name],
  );
}

/** Leases on a transaction. */
export function createLeaseTx(transaction: Transaction): LeaseTx {
  return {
    async claimOver(cluster) {
      const rows = await transaction.query<{ name: string }>(
        `select name from endpoint_leases, lease_watch
          where space = $1 and cluster = $2 and ${isOver}
          order by renewed_at + ttl_ms * interval '1 millisecond', name for update of endpoint_leases skip locked`,
        [space, cluster],
      );
      return rows.map(({ name }) => name);
    },
    async ended(cluster) {
      await transaction.query(
        `delete from endpoint_lease_ends where space = $1 and cluster = $2 and at < clock_timestamp() - interval '${endsKeptFor}'
            and not exists (select from endpoint_leases where space = $1 and cluster = $2 and held is not null)`,
        [space, cluster],
      );
      const rows = await transaction.query<{ name: string }>(
        "select name from endpoint_lease_ends where space = $1 and cluster = $2",
        [space, cluster],
      );
      return rows.map(({ name }) => name);
    },
    async end(cluster, name, drain) {
      await transaction.query("update endpoint_leases set drain = $3, held = null where space = $1 and name = $2", [
        space,
        name,
        drain,
      ]);
      await transaction.query(
        "insert into endpoint_lease_ends (space, cluster, name) values ($1, $2, $3) on conflict (space, cluster, name) do update set at = excluded.at",
        [space, cluster, name],
      );
    },
    async hold(names, because) {
      const rows = await transaction.query(
        `update endpoint_leases set held = $3 where space = $1 and name = any($2) and held is null returning name`,
        [space, names, because],
      );
      return rows.length;
    },
    async claimRenewed(name) {
      const [row] = await transaction.query<{ drain: string }>(
        `select drain from endpoint_leases, lease_watch
          where space = $1 and name = $2 and drain is not null and not (${isOver}) for update of endpoint_leases skip locked`,
        [space, name],
      );
      return row?.drain;
    },
    async goOn(cluster, name) {
      await transaction.query("update endpoint_leases set drain = null, held = null where space = $1 and name = $2", [
        space,
        name,
      ]);
      await transaction.query("delete from endpoint_lease_ends where space = $1 and cluster = $2 and name = $3", [
        space,
        cluster,
        name,
      ]);
    },
  };
}
