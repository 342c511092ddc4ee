// Drains within a write: looked for, begun, held, claimed and ended, in the transaction that also changes their endpoints, so that
// neither is ever true without the other. In: a transaction. Out: rows of `drains` and `drain_nodes`. Called through WriteTx.drains.
import { type Afterwards, type DrainedEndpoint, type DrainState, goneAfterMs } from "../model/drain.js";
import type { Labels } from "../model/endpoint.js";
import type { Author, Revision } from "../model/revision.js";
import { type DrainColumns, type DrainRecord, drainQuery, fromDrainColumns } from "./drain-row.js";
import { space } from "./objects.js";
import type { Transaction } from "./transaction.js";

/** A drain that begins. */
export interface NewDrain {
  readonly id: string;
  readonly by: Author;
  readonly afterwards: Afterwards;
  readonly timeoutMs: number;
  readonly endpoints: readonly DrainedEndpoint[];
  readonly gateways: readonly string[];
  /** The newest revision of the drains that it joins; 0: none. */
  readonly joinedAt: Revision;
  /** Given when there is nothing to do: it begins at its end. */
  readonly ended?: DrainEnd;
}

/** How a drain ended. */
export interface DrainEnd {
  readonly state: Exclude<DrainState, "draining" | "closing">;
  readonly safeToStop: boolean;
  readonly leftOpen: number;
  /** For people. */
  readonly outcome: string;
}

/** Which endpoints; what is left out does not matter. */
export interface EndpointFilter {
  readonly cluster?: string | undefined;
  readonly address?: string | undefined;
  readonly port?: number | undefined;
  readonly zone?: string | undefined;
  readonly region?: string | undefined;
  /** All of them. */
  readonly labels?: Labels | undefined;
}

/** How an endpoint went. */
export interface Removal {
  readonly revision: Revision;
  readonly agoMs: number;
  /** The drain that took it; undefined: it was removed in another way. */
  readonly drain: DrainRecord | undefined;
}

/** What a write may do with drains. A drain's own row is locked before clusters and endpoints. */
export interface DrainTx {
  /** Names of endpoints, sorted; not locked. At most `limit`. */
  endpointsWith(filter: EndpointFilter, limit: number): Promise<readonly string[]>;
  /** Gateways whose listeners reach one of the clusters, sorted. */
  gatewaysOf(clusters: readonly string[]): Promise<readonly string[]>;
  /** How an endpoint of this address went last, from this cluster or from any; undefined: none ever did. */
  lastRemoval(endpoint: string, cluster: string | undefined): Promise<Removal | undefined>;
  countOpen(): Promise<number>;
  start(drain: NewDrain): Promise<void>;
  read(id: string): Promise<DrainRecord | undefined>;
  /** Locked; waits for whoever has it. */
  hold(id: string): Promise<DrainRecord | undefined>;
  /** Locked; undefined when it has ended, or another transaction has it: that one does what there is to do. */
  claim(id: string): Promise<DrainRecord | undefined>;
  /** From draining to closing. */
  close(id: string, withinMs: number): Promise<void>;
  /** From open to an end. */
  end(id: string, end: DrainEnd): Promise<void>;
}

/** What has ended is kept for so long, and each end takes a few that are older. */
const retention = "30 days";
const cleanUpStep = 20;
/** The statement that takes them. */
export function endedRowsGone(table: "drains" | "rebalances"): string {
  return `delete from ${table} where id in (select id from ${table} where ended_at < clock_timestamp() - interval '${retention}'
                                             order by ended_at limit ${cleanUpStep} for update skip locked)`;
}

/** `revisionId`: of the revision that the transaction is going to make. */
export function createDrainTx(transaction: Transaction, revisionId: string): DrainTx {
  const one = async (condition: string, values: readonly unknown[]): Promise<DrainRecord | undefined> => {
    const [row] = await transaction.query<DrainColumns>(drainQuery(condition), values);
    return row && fromDrainColumns(row);
  };
  const locked = async (id: string, lock: string): Promise<DrainRecord | undefined> => {
    const rows = await transaction.query(`select id from drains where id = $1 ${lock}`, [id]);
    return rows.length === 0 ? undefined : one("drains.id = $1", [id]);
  };
  return {
    ...createLooks(transaction, one),
    start: (drain) => start(transaction, revisionId, drain),
    read: (id) => one("drains.id = $1", [id]),
    hold: (id) => locked(id, "for update"),
    claim: (id) => locked(id, "and ended_at is null for update skip locked"),
    async close(id, withinMs) {
      await transaction.query(
        `update drains set state = 'closing', closing_until = clock_timestamp() + $2::int * interval '1 millisecond'
          where id = $1 and state = 'draining'`,
        [id, Math.ceil(withinMs)],
      );
    },
    async end(id, { state, safeToStop, leftOpen, outcome }) {
      await transaction.query(
        `update drains set state = $2, ended_at = clock_timestamp(), safe_to_stop = $3, left_open = $4, outcome = $5
          where id = $1 and ended_at is null`,
        [id, state, safeToStop, leftOpen, outcome],
      );
      await transaction.query(endedRowsGone("drains"));
    },
  };
}

type Looks = Pick<DrainTx, "endpointsWith" | "gatewaysOf" | "lastRemoval" | "countOpen">;

function createLooks(
  transaction: Transaction,
  one: (condition: string, values: readonly unknown[]) => Promise<DrainRecord | undefined>,
): Looks {
  return {
    async endpointsWith({ cluster, address, port, zone, region, labels }, limit) {
      const rows = await transaction.query<{ name: string }>(
        `select name from endpoints where space = $1 and ($2::text is null or cluster = $2)
            and ($3::text is null or spec->>'address' = $3) and ($4::int is null or (spec->>'port')::int = $4)
            and ($5::text is null or spec->>'zone' = $5) and ($6::text is null or spec->>'region' = $6)
            and ($7::jsonb is null or spec->'labels' @> $7::jsonb)
          order by name limit $8`,
        [space, cluster, address, port, zone, region, labels && JSON.stringify(labels), limit],
      );
      return rows.map(({ name }) => name);
    },
    async gatewaysOf(clusters) {
      const rows = await transaction.query<{ gateway: string }>(
        `select distinct gateway from route_clusters
           join route_listeners using (space, route)
           join listeners on listeners.space = route_listeners.space and listeners.name = route_listeners.listener,
                jsonb_array_elements_text(listeners.spec->'gateways') as gateway
          where route_clusters.space = $1 and route_clusters.cluster = any($2) order by gateway`,
        [space, clusters],
      );
      return rows.map(({ gateway }) => gateway);
    },
    async countOpen() {
      const [row] = await transaction.query<{ n: number }>("select count(*)::int as n from drains where ended_at is null");
      return row?.n ?? 0;
    },
    async lastRemoval(endpoint, cluster) {
      const [row] = await transaction.query<{ revision: Revision; author: string; ago_ms: number }>(
        `select changes.revision, revisions.author, (extract(epoch from clock_timestamp() - revisions.at) * 1000)::float8 as ago_ms
           from changes join revisions using (revision)
          where space = $1 and kind = 'endpoint' and after is null
            and ($2::text is null and right(name, length($3) + 1) = '/' || $3 or name = $2 || '/' || $3)
          order by changes.revision desc limit 1`,
        [space, cluster, endpoint],
      );
      if (!row) return undefined;
      // The history tells who took it. A person may call himself so: then there is no such drain.
      const id = /^drain (.+)$/.exec(row.author)?.[1];
      const drain = id === undefined ? undefined : await one("drains.id = $1", [id]);
      return { revision: row.revision, agoMs: row.ago_ms, drain };
    },
  };
}

// Who is connected now is waited for from the first moment on. So is, for a while, who was when his replica died: that one took no
// leave of him, and he may be on his way to another.
const expectNodes = `
  insert into drain_nodes (drain, node, gateway)
  select $1, id, gateway from nodes
   where gateway = any($2) and (connected or opened_at > clock_timestamp() - ${goneAfterMs} * interval '1 millisecond')`;

async function start(transaction: Transaction, revisionId: string, drain: NewDrain): Promise<void> {
  const { id, by, afterwards, timeoutMs, endpoints, gateways, joinedAt, ended } = drain;
  const makesRevision = endpoints.some(({ joins }) => joins === undefined) && ended === undefined;
  await transaction.query(
    `insert into drains (id, author, request_id, reason, state, afterwards, timeout_ms, revision_id, joined_at, endpoints, gateways,
                         deadline, ended_at, safe_to_stop, left_open, outcome)
     values ($1, $2, $3, $4, $5, $6, $7::int, $8, $9, $10, $11, clock_timestamp() + $7::int * interval '1 millisecond',
             case when $12::boolean then clock_timestamp() end, $13, $14, $15)`,
    [
      id,
      by.author,
      by.requestId,
      by.reason,
      ended?.state ?? "draining",
      afterwards,
      timeoutMs,
      makesRevision ? revisionId : null,
      joinedAt,
      JSON.stringify(endpoints),
      JSON.stringify(gateways),
      ended !== undefined,
      ended?.safeToStop ?? false,
      ended?.leftOpen,
      ended?.outcome,
    ],
  );
  if (ended === undefined) await transaction.query(expectNodes, [id, gateways]);
}
