// Rebalances outside of writes: which are open, what Envoys have open, lists. In: ids, counts of this replica's load reports. Out:
// RebalanceRecords and rows of `rebalance_loads`. Steps are on the pool of the jobs, as those of drains. Called by drain/ and api/.
import type pg from "pg";
import type { Author } from "../model/revision.js";
import { endedOf } from "./drain-store.js";
import { type Observe, read } from "./pool.js";
import { fromRebalanceColumns, type RebalanceColumns, type RebalanceRecord, rebalanceQuery } from "./rebalance-row.js";
import { type WriteOptions, type Written, write } from "./write.js";
import type { WriteTx } from "./write-tx.js";

/** What a replica's load reports are looked through for. */
export interface OpenRebalance {
  readonly id: string;
  readonly route: string;
  readonly gateways: readonly string[];
}

/** What one node's newest load report says. */
export interface RebalanceLoad {
  readonly rebalance: string;
  readonly node: string;
  /** address key → connections. */
  readonly counts: Readonly<Record<string, number>>;
  /** How long ago it came, ms: while nothing is waited for, reports come seldom, and an old one must not look fresh. */
  readonly agoMs: number;
}

/** Which rebalances, newest first. */
export interface RebalancePage {
  /** Older than this one. */
  readonly after?: string | undefined;
  readonly open?: boolean | undefined;
  readonly limit: number;
}

/** All throw database_unavailable. */
export interface RebalanceStore {
  open(): Promise<readonly OpenRebalance[]>;
  /** Overwrites what the node's report to this replica before this one said. */
  saveLoads(replica: string, rows: readonly RebalanceLoad[]): Promise<void>;
  /** Those of `ids` that are there, the oldest first. */
  read(ids: readonly string[]): Promise<readonly RebalanceRecord[]>;
  /** One step, as a write by "rebalance <id>". */
  write<T>(id: string, reason: string, work: (tx: WriteTx) => Promise<T>): Promise<Written<T>>;
  get(id: string): Promise<RebalanceRecord | undefined>;
  list(page: RebalancePage): Promise<{ readonly items: readonly RebalanceRecord[]; readonly next: string | undefined }>;
  /** Those of `ids` that have ended, or are not there. */
  ended(ids: readonly string[]): Promise<readonly string[]>;
}

const saveLoadsQuery = `
  insert into rebalance_loads (rebalance, node, replica, counts, load_at)
  select row.rebalance, row.node, $1, row.counts, clock_timestamp() - row."agoMs" * interval '1 millisecond'
    from jsonb_to_recordset($2::jsonb) as row (rebalance text, node text, counts jsonb, "agoMs" float8)
   where exists (select from rebalances where rebalances.id = row.rebalance and rebalances.ended_at is null)
   order by row.rebalance, row.node
  on conflict (rebalance, node, replica) do update set counts = excluded.counts, load_at = excluded.load_at`;

async function select(pool: pg.Pool, condition: string, values: readonly unknown[]): Promise<readonly RebalanceRecord[]> {
  return (await read<RebalanceColumns>(pool, rebalanceQuery(condition), values)).map(fromRebalanceColumns);
}

/** Rebalances on the pools. */
export function createRebalanceStore(api: pg.Pool, feed: pg.Pool, jobs: WriteOptions, observe: Observe): RebalanceStore {
  return {
    open: () =>
      observe("open_rebalances", () =>
        read<OpenRebalance>(jobs.pool, "select id, route, gateways from rebalances where ended_at is null order by ordinal"),
      ),
    async saveLoads(replica, rows) {
      if (rows.length > 0)
        await observe("save_rebalance_loads", () => read(feed, saveLoadsQuery, [replica, JSON.stringify(rows)]));
    },
    read: (ids) =>
      observe("read_rebalances", () => select(jobs.pool, "rebalances.id = any($1) order by rebalances.ordinal", [ids])),
    write(id, reason, work) {
      const author: Author = { author: `rebalance ${id}`, requestId: id, reason };
      return observe("write_rebalance", () => write(jobs, author, work));
    },
    get: (id) => observe("rebalance", async () => (await select(api, "rebalances.id = $1", [id]))[0]),
    list: ({ after, open, limit }) =>
      observe("rebalances", async () => {
        const items = await select(
          api,
          `($1::text is null or rebalances.ordinal < (select ordinal from rebalances as last where last.id = $1))
             and ($2::boolean is null or (rebalances.ended_at is null) = $2)
           order by rebalances.ordinal desc limit $3`,
          [after, open, limit + 1],
        );
        const page = items.slice(0, limit);
        return { items: page, next: items.length > limit ? page.at(-1)?.id : undefined };
      }),
    ended: (ids) => observe("ended_rebalances", () => endedOf(api, "rebalances", ids)),
  };
}
