// Drains outside of writes: which are open, what each Envoy has said, lists. In: ids, acks and load verdicts of this replica's streams.
// Out: DrainRecords and rows of `drain_nodes`. The jobs have a pool of their own, with short limits: a transaction whose process hangs
// is cut off by the database while there is time left for another replica. Called by drain/ and api/ through store.ts.
import type pg from "pg";
import { maxOpenDrains } from "../model/drain.js";
import type { Author, Revision } from "../model/revision.js";
import { type DrainColumns, type DrainRecord, drainQuery, fromDrainColumns, type LoadVerdict } from "./drain-row.js";
import { type Observe, read } from "./pool.js";
import { type WriteOptions, type Written, write } from "./write.js";
import type { WriteTx } from "./write-tx.js";

/** Two that begin at once may both find room: so a few more are looked at than may be open. */
const maxLookedAt = 2 * maxOpenDrains;

/** What the watch of a replica is to look for. */
export interface WatchedDrain {
  readonly id: string;
  /** An Envoy that has it sends nothing new there. */
  readonly revision: Revision;
  readonly gateways: readonly string[];
  /** Those that can have something in flight: none of a UDP cluster. */
  readonly endpoints: readonly {
    readonly cluster: string;
    readonly endpoint: string;
    readonly connectTimeoutMs: number;
    /** In this route alone. */
    readonly route?: string | undefined;
  }[];
}

/** A node has the drain's revision. */
export interface DrainAck {
  readonly drain: string;
  readonly node: string;
  readonly gateway: string;
}

/** What a node's newest load report says of a drain's endpoints. Requests and connections, summed over them. */
export interface DrainLoad extends DrainAck {
  readonly verdict: LoadVerdict;
  readonly inFlight: number;
  /** In the cluster's own gauges and in no report of an endpoint: may be a drained one's. */
  readonly unattributed: number;
}

/** Gauges of one cluster resource. */
export interface SharedGauges {
  readonly requests: number;
  /** Requests that wait for a connection. */
  readonly pending: number;
  /** The most that can be left over for the endpoints of this drain (`LeftOver.bound`). */
  readonly least: number;
  /** How long before they were written hosts last came or went without a known reason; undefined: never. */
  readonly unexplainedAgoMs?: number;
  /** Their age when they were written. */
  readonly agoMs?: number;
}

/** What a node's newest metrics say of the clusters of a drain, where another replica has its load reports. */
export interface DrainGauges extends DrainAck {
  /** cluster resource name → gauges. */
  readonly gauges: Readonly<Record<string, SharedGauges>>;
}

/** The same, read by the replica that has the load reports. */
export interface SampledGauges extends Omit<DrainGauges, "gateway"> {
  readonly sampledAgoMs: number;
}

/** Which drains, newest first. */
export interface DrainPage {
  /** Drains older than this one. */
  readonly after?: string | undefined;
  readonly open?: boolean | undefined;
  readonly limit: number;
}

/** What the watch needs: an Envoy's configuration, load reports and metrics may be on three replicas, so its row has three parts. */
export type DrainRowStore = Pick<DrainStore, "watched" | "endings" | "saveAcks" | "saveLoads" | "saveGauges" | "acks" | "gauges">;

/** All throw database_unavailable. */
export interface DrainStore {
  /** Ids of those that have not ended, the nearest deadline first. */
  open(): Promise<readonly string[]>;
  /** Those of `ids` that are there, with all that is known of their Envoys. A row per Envoy and drain: ask for a few at a time. */
  read(ids: readonly string[]): Promise<readonly DrainRecord[]>;
  /** One step of a drain, as a write by "drain <id>" that may take its own endpoints. */
  write<T>(id: string, reason: string, work: (tx: WriteTx) => Promise<T>): Promise<Written<T>>;
  get(id: string): Promise<DrainRecord | undefined>;
  list(page: DrainPage): Promise<{ readonly items: readonly DrainRecord[]; readonly next: string | undefined }>;
  /** Those of `ids` that have ended, or are not there. */
  ended(ids: readonly string[]): Promise<readonly string[]>;
  /** Those that have not ended, as much as the watch needs. */
  watched(): Promise<readonly WatchedDrain[]>;
  /**
   * Those of `ids` that have ended, or are not there. `isSettled`: as safe, with nothing in flight on any Envoy, as each of them last
   * reported.
   */
  endings(ids: readonly string[]): Promise<readonly { readonly drain: string; readonly isSettled: boolean }[]>;
  /** Each is noted once: the first time stays. */
  saveAcks(replica: string, rows: readonly DrainAck[]): Promise<void>;
  /**
   * Overwrites what the node's report before this one said; nothing once the drain has ended, as then the endpoints are gone. Where one node reports to two replicas, a zero of one does not replace what
   * the other has just seen.
   */
  saveLoads(replica: string, rows: readonly DrainLoad[]): Promise<void>;
  saveGauges(replica: string, rows: readonly DrainGauges[]): Promise<void>;
  /** Not older than 10 s. */
  gauges(drains: readonly string[]): Promise<readonly SampledGauges[]>;
  /** When the nodes of drains acked, on the database's clock, for the replica that has only their reports. */
  acks(
    drains: readonly string[],
  ): Promise<readonly { readonly drain: string; readonly node: string; readonly ackedAgoMs: number }[]>;
}

/** Where it reads and writes. */
export interface DrainStoreOptions {
  readonly api: pg.Pool;
  readonly feed: pg.Pool;
  readonly jobs: WriteOptions;
  readonly observe: Observe;
}

const saveAcksQuery = `
  insert into drain_nodes as stored (drain, node, gateway, acked_at, acked_by)
  select row.drain, row.node, row.gateway, clock_timestamp(), $1
    from jsonb_to_recordset($2::jsonb) as row (drain text, node text, gateway text)
   where exists (select from drains where drains.id = row.drain)
   order by row.drain, row.node
  on conflict (drain, node) do update
     set acked_at = coalesce(stored.acked_at, excluded.acked_at), acked_by = excluded.acked_by, at = clock_timestamp()`;

const saveLoadsQuery = `
  insert into drain_nodes as stored (drain, node, gateway, verdict, in_flight, unattributed, load_at, load_by)
  select row.drain, row.node, row.gateway, row.verdict, row."inFlight", row.unattributed, clock_timestamp(), $1
    from jsonb_to_recordset($2::jsonb) as row (drain text, node text, gateway text, verdict text, "inFlight" int, unattributed int)
   where exists (select from drains where drains.id = row.drain and ended_at is null)
   order by row.drain, row.node
  on conflict (drain, node) do update
     set verdict = excluded.verdict, in_flight = excluded.in_flight, unattributed = excluded.unattributed,
         load_at = excluded.load_at, load_by = excluded.load_by, at = clock_timestamp()
   where excluded.verdict <> 'zero' or stored.load_at is null or stored.load_by = excluded.load_by or stored.verdict = 'zero'
      or stored.load_at < clock_timestamp() - interval '5 s'`;

const saveGaugesQuery = `
  insert into drain_nodes as stored (drain, node, gateway, gauges, gauges_at, gauges_by)
  select row.drain, row.node, row.gateway, row.gauges, clock_timestamp(), $1
    from jsonb_to_recordset($2::jsonb) as row (drain text, node text, gateway text, gauges jsonb)
   where exists (select from drains where drains.id = row.drain)
   order by row.drain, row.node
  on conflict (drain, node) do update
     set gauges = excluded.gauges, gauges_at = excluded.gauges_at, gauges_by = excluded.gauges_by, at = clock_timestamp()`;

const ageMs = (time: string): string => `(extract(epoch from clock_timestamp() - ${time}) * 1000)::float8`;

const endingsQuery = `
  select asked.id as drain,
         drains.safe_to_stop is true
           and not exists (select from drain_nodes where drain = asked.id and verdict is distinct from 'zero') as "isSettled"
    from unnest($1::text[]) as asked (id) left join drains on drains.id = asked.id
   where drains.id is null or drains.ended_at is not null`;

const watchedQuery = `
  select drains.id, coalesce(revisions.revision, drains.joined_at) as revision,
         drains.gateways, drains.endpoints
    from drains left join revisions on revisions.id = drains.revision_id
   where drains.ended_at is null order by drains.ordinal limit ${maxLookedAt}`;

type WatchedColumns = Omit<WatchedDrain, "endpoints"> & Pick<DrainRecord, "endpoints">;

async function readWatched(pool: pg.Pool): Promise<readonly WatchedDrain[]> {
  const rows = await read<WatchedColumns>(pool, watchedQuery);
  return rows.map(({ endpoints, ...drain }) => ({
    ...drain,
    endpoints: endpoints
      .filter(({ guarantee }) => guarantee.kind !== "none-needed")
      .map(({ cluster, endpoint, connectTimeoutMs, route }) => ({ cluster, endpoint, connectTimeoutMs, route })),
  }));
}

async function select(pool: pg.Pool, condition: string, values: readonly unknown[] = []): Promise<readonly DrainRecord[]> {
  return (await read<DrainColumns>(pool, drainQuery(condition), values)).map(fromDrainColumns);
}

/** Those of `ids` that have ended, or are not there. */
export async function endedOf(pool: pg.Pool, table: "drains" | "rebalances", ids: readonly string[]): Promise<readonly string[]> {
  const going = await read<{ id: string }>(pool, `select id from ${table} where id = any($1) and ended_at is null`, [ids]);
  const open = new Set(going.map(({ id }) => id));
  return ids.filter((id) => !open.has(id));
}

/** Drains on the pools. */
export function createDrainStore({ api, feed, jobs, observe }: DrainStoreOptions): DrainStore {
  return {
    open: () =>
      observe("open_drains", async () => {
        const nearest = `select id from drains where ended_at is null order by coalesce(closing_until, deadline) limit ${maxLookedAt}`;
        return (await read<{ id: string }>(jobs.pool, nearest)).map(({ id }) => id);
      }),
    read: (ids) => observe("read_drains", () => select(jobs.pool, "drains.id = any($1) order by drains.ordinal", [ids])),
    write(id, reason, work) {
      const author: Author = { author: `drain ${id}`, requestId: id, reason };
      return observe("write_drain", () => write(jobs, author, work, { drain: id }));
    },
    get: (id) => observe("drain", async () => (await select(api, "drains.id = $1", [id]))[0]),
    list: ({ after, open, limit }) =>
      observe("drains", async () => {
        const items = await select(
          api,
          `($1::text is null or drains.ordinal < (select ordinal from drains as last where last.id = $1))
             and ($2::boolean is null or (drains.ended_at is null) = $2)
           order by drains.ordinal desc limit $3`,
          [after, open, limit + 1],
        );
        const page = items.slice(0, limit);
        return { items: page, next: items.length > limit ? page.at(-1)?.id : undefined };
      }),
    ended: (ids) => observe("ended_drains", () => endedOf(api, "drains", ids)),
    watched: () => observe("watched_drains", () => readWatched(feed)),
    endings: (ids) => observe("drain_endings", () => read(feed, endingsQuery, [ids])),
    async saveAcks(replica, rows) {
      if (rows.length > 0) await observe("save_drain_acks", () => read(feed, saveAcksQuery, [replica, JSON.stringify(rows)]));
    },
    async saveLoads(replica, rows) {
      if (rows.length > 0) await observe("save_drain_loads", () => read(feed, saveLoadsQuery, [replica, JSON.stringify(rows)]));
    },
    async saveGauges(replica, rows) {
      if (rows.length > 0) await observe("save_drain_gauges", () => read(feed, saveGaugesQuery, [replica, JSON.stringify(rows)]));
    },
    gauges: (drains) =>
      observe("drain_gauges", () =>
        read(
          feed,
          `select drain, node, gauges, ${ageMs("gauges_at")} as "sampledAgoMs" from drain_nodes
            where drain = any($1) and gauges_at > clock_timestamp() - interval '10 s'`,
          [drains],
        ),
      ),
    acks: (drains) =>
      observe("drain_acks", () =>
        read(
          feed,
          `select drain, node, ${ageMs("acked_at")} as "ackedAgoMs" from drain_nodes where drain = any($1) and acked_at is not null`,
          [drains],
        ),
      ),
  };
}
