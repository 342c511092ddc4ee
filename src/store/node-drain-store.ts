// Drains of Envoys outside of writes: which there are, and what replicas see of their own Envoys. In: ids, acks and counts of connections.
// Out: NodeDrainRecords. Called by drain/ and api/ through store.ts; steps run on the pool of jobs, as those of drains.
import type pg from "pg";
import type { Author } from "../model/revision.js";
import {
  type ConnectionsVerdict,
  fromNodeDrainColumns,
  type NodeDrainColumns,
  type NodeDrainRecord,
  nodeDrainQuery,
} from "./node-drain-row.js";
import { type Observe, read } from "./pool.js";
import { type WriteOptions, type Written, write } from "./write.js";
import type { WriteTx } from "./write-tx.js";

/** What a replica sees of an Envoy, in the drain of this id. */
export interface NodeDrainSign {
  readonly node: string;
  readonly id: string;
  /** It has no listeners any more. */
  readonly acked: boolean;
  /** By its newest metrics after that; undefined: they do not come here, or there are no new ones. */
  readonly report: { readonly verdict: ConnectionsVerdict; readonly connections: number } | undefined;
}

/** Which drains, by node. */
export interface NodeDrainPage {
  readonly gateway?: string | undefined;
  /** Nodes after this one. */
  readonly after?: string | undefined;
  readonly limit: number;
}

/** All throw database_unavailable. */
export interface NodeDrainStore {
  get(node: string): Promise<NodeDrainRecord | undefined>;
  list(page: NodeDrainPage): Promise<readonly NodeDrainRecord[]>;
  /** Those of `nodes` that have ended, or are not there. */
  ended(nodes: readonly string[]): Promise<readonly string[]>;
  /** All, for those who look after them: a gap between two looks is noted. */
  look(): Promise<readonly NodeDrainRecord[]>;
  /** What was seen. The first ack stays; where a node reports to two replicas, a zero of one does not replace what the other has just seen. */
  save(replica: string, signs: readonly NodeDrainSign[]): Promise<void>;
  /** One step, as a write by "drain of <node>". */
  write<T>(node: string, reason: string, work: (tx: WriteTx) => Promise<T>): Promise<Written<T>>;
}

/** Where it reads and writes. */
export interface NodeDrainStoreOptions {
  readonly api: pg.Pool;
  readonly feed: pg.Pool;
  readonly jobs: WriteOptions;
  readonly observe: Observe;
}

/** Nobody has looked: every control plane, or the database, was away. Longer than two looks of one replica when all have ended. */
const unattendedAfter = "interval '5 seconds'";

const attendQuery = `
  update node_drains set looked_at = clock_timestamp(),
         resumed_at = case when looked_at < clock_timestamp() - ${unattendedAfter} then clock_timestamp() else resumed_at end
   where looked_at < clock_timestamp() - interval '400 milliseconds'`;

const saveQuery = `
  update node_drains as drain
     set acked_at = case when sign.acked then coalesce(drain.acked_at, clock_timestamp()) else drain.acked_at end,
         verdict = coalesce(told.verdict, drain.verdict), connections = coalesce(told.connections, drain.connections),
         reported_at = case when told.verdict is null then drain.reported_at else clock_timestamp() end,
         reported_by = case when told.verdict is null then drain.reported_by else $1 end,
         seen_at = clock_timestamp()
    from jsonb_to_recordset($2::jsonb) as sign (node text, id text, acked boolean, report jsonb)
         left join lateral (select sign.report->>'verdict' as verdict, (sign.report->>'connections')::int as connections) as told on true
   where drain.node = sign.node and drain.id = sign.id and drain.ended_at is null and drain.phase = 'withdrawn'
     and (told.verdict is distinct from 'zero' or drain.verdict is not distinct from 'zero' or drain.reported_by is null
          or drain.reported_by = $1 or drain.reported_at < clock_timestamp() - interval '5 s')`;

async function select(pool: pg.Pool, condition: string, values: readonly unknown[] = []): Promise<readonly NodeDrainRecord[]> {
  return (await read<NodeDrainColumns & Record<string, unknown>>(pool, nodeDrainQuery(condition), values)).map(
    fromNodeDrainColumns,
  );
}

/** Drains of Envoys on the pools. */
export function createNodeDrainStore({ api, feed, jobs, observe }: NodeDrainStoreOptions): NodeDrainStore {
  return {
    get: (node) => observe("node_drain", async () => (await select(api, "drain.node = $1", [node]))[0]),
    list: ({ gateway, after, limit }) =>
      observe("node_drains", () =>
        select(
          api,
          "($1::text is null or drain.gateway = $1) and ($2::text is null or drain.node > $2) order by drain.node limit $3",
          [gateway, after, limit],
        ),
      ),
    ended: (nodes) =>
      observe("ended_node_drains", async () => {
        const going = await read<{ node: string }>(
          api,
          "select node from node_drains where node = any($1) and ended_at is null",
          [nodes],
        );
        const open = new Set(going.map(({ node }) => node));
        return nodes.filter((node) => !open.has(node));
      }),
    look: () =>
      observe("look_at_node_drains", async () => {
        await read(feed, attendQuery);
        return select(feed, "true order by drain.node");
      }),
    async save(replica, signs) {
      if (signs.length > 0) await observe("save_node_drains", () => read(feed, saveQuery, [replica, JSON.stringify(signs)]));
    },
    write(node, reason, work) {
      const author: Author = { author: `drain of ${node}`.slice(0, 128), requestId: "node-drain", reason };
      return observe("write_node_drain", () => write(jobs, author, work));
    },
  };
}
