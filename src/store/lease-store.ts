// Leases outside of the writes of their endpoints: renewed, shown, and looked at. In: names. Out: rows of `endpoint_leases`, one small
// write per renewal. Called by drain/ and api/ through store.ts.
import type pg from "pg";
import type { Author } from "../model/revision.js";
import { isOver, leaseGraceMs } from "./lease-tx.js";
import { space } from "./objects.js";
import { type Observe, read } from "./pool.js";
import { type WriteOptions, type Written, write } from "./write.js";
import type { WriteTx } from "./write-tx.js";

/** An endpoint's lease as it stands; times in ms, on the database's clock. */
export interface Lease {
  readonly ttlMs: number;
  /** Negative: it is over for so long. */
  readonly expiresInMs: number;
  /** The drain that its end began. */
  readonly drain: string | undefined;
  /** Why the endpoint stays although it is over. */
  readonly held: string | undefined;
}

/** What is to be done about leases. */
export interface LeaseLook {
  /** Clusters that have endpoints whose lease is over and that are not being drained. */
  readonly over: readonly string[];
  /** Endpoints that were renewed while the drain that the end of their lease began was under way. */
  readonly renewed: readonly { readonly name: string; readonly cluster: string; readonly drain: string }[];
  /** Endpoints that stay although their lease is over. */
  readonly held: number;
}

/** All throw database_unavailable. */
export interface LeaseStore {
  /** One small write, and no revision; undefined: there is no such lease. */
  renew(name: string): Promise<Lease | undefined>;
  get(name: string): Promise<Lease | undefined>;
  /** To be asked by whoever ends leases: a gap between two questions is noted, and leases begin anew after it. */
  look(): Promise<LeaseLook>;
  /** A step by "lease"; `drain`: whose endpoints it may take, to put them back. */
  write<T>(reason: string, work: (tx: WriteTx) => Promise<T>, drain?: string): Promise<Written<T>>;
}

interface LeaseColumns {
  readonly ttl_ms: number;
  readonly expires_in_ms: number;
  readonly drain: string | null;
  readonly held: string | null;
}

const columns = `ttl_ms, drain, held,
  (extract(epoch from greatest(renewed_at, (select resumed_at from lease_watch)) - clock_timestamp()) * 1000 + ttl_ms)::float8 as expires_in_ms`;

function fromColumns({ ttl_ms, expires_in_ms, drain, held }: LeaseColumns): Lease {
  return { ttlMs: ttl_ms, expiresInMs: Math.round(expires_in_ms), drain: drain ?? undefined, held: held ?? undefined };
}

// Without leases nobody looks: the first look after that notes a gap, and gives all of them their whole time.
const lookedQuery = `
  update lease_watch set looked_at = clock_timestamp(),
         resumed_at = case when looked_at < clock_timestamp() - ${leaseGraceMs} * interval '1 millisecond' then clock_timestamp() else resumed_at end
   where exists (select from endpoint_leases)`;
const overQuery = `
  select distinct endpoint_leases.cluster from endpoint_leases join endpoints using (space, name), lease_watch
   where endpoint_leases.space = $1 and ${isOver} and not (jsonb_exists(endpoints.spec, 'drain') and not jsonb_exists(endpoints.spec->'drain', 'route')) order by cluster`;
const renewedQuery = `
  select name, cluster, drain from endpoint_leases, lease_watch
   where space = $1 and drain is not null and not (${isOver}) order by name limit 100`;

/** `api` renews and reads, `jobs` looks and writes. */
export function createLeaseStore(api: pg.Pool, jobs: WriteOptions, observe: Observe): LeaseStore {
  const one = async (text: string, name: string): Promise<Lease | undefined> => {
    const [row] = await read<LeaseColumns>(api, text, [space, name]);
    return row && fromColumns(row);
  };
  return {
    renew: (name) =>
      observe("renew_lease", () =>
        one(
          `update endpoint_leases set renewed_at = clock_timestamp(), held = null where space = $1 and name = $2 returning ${columns}`,
          name,
        ),
      ),
    get: (name) => observe("lease", () => one(`select ${columns} from endpoint_leases where space = $1 and name = $2`, name)),
    look: () =>
      observe("look_at_leases", async () => {
        await read(jobs.pool, lookedQuery);
        const over = await read<{ cluster: string }>(jobs.pool, overQuery, [space]);
        const renewed = await read<LeaseLook["renewed"][number]>(jobs.pool, renewedQuery, [space]);
        const [held] = await read<{ n: number }>(
          jobs.pool,
          "select count(*)::int as n from endpoint_leases where space = $1 and held is not null",
          [space],
        );
        return { over: over.map(({ cluster }) => cluster), renewed, held: held?.n ?? 0 };
      }),
    write(reason, work, drain) {
      const author: Author = { author: "lease", requestId: "lease", reason };
      return observe("write_lease", () => write(jobs, author, work, { drain }));
    },
  };
}
