// The status tables: which replicas live, what each Envoy has, how far each revision is. In: what replicas saw. Out: the fleet's view.
// Leases and ages are reckoned on the database's clock: replicas' clocks are never compared. Nothing here is configuration.
// Called by status/ and api/ through store.ts, on the pool "feed", which API load can't starve.
import type pg from "pg";
import type { GatewaySync, ResourceException, StreamKind } from "../model/node.js";
import type { ResourceType } from "../model/resource-type.js";
import type { Revision } from "../model/revision.js";
import { read } from "./pool.js";
import { Prepared } from "./prepared.js";
import { channels } from "./revision-hints.js";

/** Revisions below the newest for which a replica's sync is kept. */
const keptSyncRevisions = 256;
/** A replica that is dead for this long is forgotten, with all it wrote. */
const forgetReplicaAfter = "1 hour";
const maxNodesListed = 1_000;

/** What a replica says of itself, every few seconds. */
export interface ReplicaBeat {
  readonly id: string;
  /** ISO 8601. */
  readonly startedAt: string;
  /** What it has loaded and serves. */
  readonly revision: Revision;
  /** It counts as gone when it has not beaten again for this long. */
  readonly leaseMs: number;
  /** Envoys connected to it. Default: 0. */
  readonly nodes?: number;
}

/** A live replica, and the Envoys connected to it as it said with its last beat. */
export interface ReplicaLoad {
  readonly id: string;
  readonly nodes: number;
}

/** One replica's part of a revision's sync. */
export interface SyncRow {
  readonly replica: string;
  readonly gateway: string;
  readonly revision: Revision;
  readonly sync: GatewaySync;
}

/** One Envoy as its replica sees it. */
export interface NodeRow {
  readonly id: string;
  readonly gateway: string;
  readonly replica: string;
  readonly connected: boolean;
  /** ISO 8601, the replica's clock: when the node's newest stream was opened, or the last one closed. */
  readonly since: string;
  readonly streams: readonly StreamKind[];
  readonly envoyVersion: string;
  readonly acked: Readonly<Record<ResourceType, Revision>>;
  readonly exceptions: readonly ResourceException[];
}

/** Which nodes, and which part of them. */
export interface NodeFilter {
  readonly id?: string | undefined;
  readonly gateway?: string | undefined;
  /** Ids after this one. */
  readonly after?: string | undefined;
  /** Only nodes that do not have one of these: refused, held or unanswered. */
  readonly lacks?: readonly { readonly type: ResourceType; readonly name: string }[] | undefined;
  /** Default and most: 1,000. */
  readonly limit?: number | undefined;
}

/** All throw database_unavailable; what was not saved is saved by the next flush. */
export interface StatusStore {
  /** Returns the replicas that live, this one maybe with what it said before. */
  heartbeat(beat: ReplicaBeat): Promise<readonly ReplicaLoad[]>;
  liveReplicas(): Promise<readonly { readonly id: string; readonly revision: Revision }[]>;
  /** The replica's view of its nodes. Where two replicas claim one node, the newer stream wins. `removed` are forgotten if still ours. */
  saveNodes(replica: string, nodes: readonly NodeRow[], removed: readonly string[]): Promise<void>;
  /** Overwrites the replica's row of each (gateway, revision), and hints. `beat`: renewed in the same statement, so with the rows or not at all. */
  saveSync(replica: string, rows: readonly SyncRow[], beat?: ReplicaBeat): Promise<void>;
  /** Of live replicas only, by gateway and replica. */
  readSync(revision: Revision): Promise<readonly SyncRow[]>;
  /** By id. A node of a replica that is gone is not connected. */
  nodes(filter?: NodeFilter): Promise<readonly NodeRow[]>;
  /** gateway → Envoys connected to live replicas other than `except`; gateways without any are left out. */
  countNodes(gateways: readonly string[], except: string): Promise<ReadonlyMap<string, number>>;
  /** At an orderly stop: at once, in place of when the lease ends. */
  removeReplica(id: string): Promise<void>;
}

const isLive = "exists (select from replicas where replicas.id = replica and replicas.lease_until > clock_timestamp())";

/** One CTE. Parameters: id, startedAt, revision, leaseMs, nodes. */
const beatOf = ([id, startedAt, revision, leaseMs, nodes]: readonly [string, string, string, string, string]): string => `
  beat as (
    insert into replicas (id, started_at, revision, lease_until, nodes)
    values (${id}, ${startedAt}, ${revision}, clock_timestamp() + ${leaseMs} * interval '1 millisecond', ${nodes})
    on conflict (id) do update set started_at = excluded.started_at, revision = excluded.revision, lease_until = excluded.lease_until,
                                   nodes = excluded.nodes, live_since = case when replicas.lease_until < clock_timestamp()
                                     or replicas.started_at <> excluded.started_at then clock_timestamp() else replicas.live_since end
  )`;

const beatQuery = new Prepared(
  "beat",
  `
  with ${beatOf(["$1", "$2", "$3", "$4", "$5"])}, dead as (
    delete from replicas where id <> $1 and lease_until < clock_timestamp() - interval '${forgetReplicaAfter}' returning id
  ), dead_nodes as (
    delete from nodes where replica in (select id from dead)
  ), dead_sync as (
    delete from revision_sync where replica in (select id from dead)
  )
  select id, nodes from replicas where lease_until > clock_timestamp()`,
);

// A stream's age is measured by its replica's own clock, and so is right whatever that clock says: now minus age is when it opened.
const saveNodesQuery = `
  insert into nodes as stored (id, gateway, replica, connected, since, opened_at, streams, envoy_version, acked, exceptions)
  select node.id, node.gateway, $1, node.connected, node.since, clock_timestamp() - node."ageMs" * interval '1 millisecond',
         node.streams, node."envoyVersion", node.acked, node.exceptions
    from jsonb_to_recordset($2::jsonb) as node (id text, gateway text, connected boolean, since timestamptz, "ageMs" double precision,
                                               streams jsonb, "envoyVersion" text, acked jsonb, exceptions jsonb)
   order by node.id
  on conflict (id) do update
     set gateway = excluded.gateway, replica = excluded.replica, connected = excluded.connected, since = excluded.since,
         opened_at = excluded.opened_at, streams = excluded.streams, envoy_version = excluded.envoy_version,
         acked = excluded.acked, exceptions = excluded.exceptions
   where stored.replica = excluded.replica or stored.opened_at < excluded.opened_at
      or not exists (select from replicas where replicas.id = stored.replica and replicas.lease_until > clock_timestamp())`;

/** With the beat of every change; the dead are forgotten by the beats that come without one. */
const saveSyncQuery = (withBeat: boolean): string => `
  with ${withBeat ? `${beatOf(["$1", "$3", "$4", "$5", "$6"])}, ` : ""}fresh as (
    select * from jsonb_to_recordset($2::jsonb) as fresh (gateway text, revision bigint, sync jsonb)
  ), old as (
    delete from revision_sync where replica = $1 and revision < (select max(revision) from fresh) - ${keptSyncRevisions}
  ), saved as (
    insert into revision_sync (replica, gateway, revision, sync) select $1, gateway, revision, sync from fresh
    on conflict (revision, gateway, replica) do update set sync = excluded.sync
  )
  select`;

const nodesQuery = `
  select id, gateway, replica, connected and ${isLive} as connected, since, streams, envoy_version, acked, exceptions from nodes
   where ($1::text is null or id = $1) and ($2::text is null or gateway = $2) and ($3::text is null or id > $3)
     and ($5::jsonb is null or exists (select from jsonb_array_elements(exceptions) as lacking, jsonb_array_elements($5) as asked
                                        where lacking->>'type' = asked->>'type' and lacking->>'name' = asked->>'name'))
   order by id limit $4`;

interface NodeColumns extends Omit<NodeRow, "since" | "envoyVersion"> {
  readonly since: Date;
  readonly envoy_version: string;
}

function fromNodeColumns({ envoy_version: envoyVersion, since, exceptions, ...row }: NodeColumns): NodeRow {
  const whole = exceptions.map((exception) => ({ ...exception, parts: exception.parts })); // JSON left out an undefined `parts`.
  return { ...row, since: since.toISOString(), envoyVersion, exceptions: whole };
}

/** Status on a pool; `notify`: saved sync is hinted. */
export function createStatusStore(pool: pg.Pool, notify: boolean): StatusStore {
  const hint = notify ? ` pg_notify('${channels.sync}', '')` : "";
  const saveSync = new Prepared("save_sync", saveSyncQuery(false) + hint);
  const saveSyncAndBeat = new Prepared("save_sync_and_beat", saveSyncQuery(true) + hint);
  return {
    async heartbeat({ id, startedAt, revision, leaseMs, nodes = 0 }) {
      return read<ReplicaLoad>(pool, beatQuery, [id, startedAt, revision, leaseMs, nodes]);
    },
    async liveReplicas() {
      return read(pool, "select id, revision from replicas where lease_until > clock_timestamp() order by id");
    },
    async saveNodes(replica, nodes, removed) {
      const now = Date.now();
      const aged = nodes.map(({ since, ...node }) => ({ ...node, since, ageMs: now - Date.parse(since) }));
      if (aged.length > 0) await read(pool, saveNodesQuery, [replica, JSON.stringify(aged)]);
      if (removed.length > 0) await read(pool, "delete from nodes where replica = $1 and id = any($2)", [replica, removed]);
    },
    async saveSync(replica, rows, beat) {
      if (rows.length === 0) return;
      const beatValues = beat ? [beat.startedAt, beat.revision, beat.leaseMs, beat.nodes ?? 0] : [];
      await read(pool, beat ? saveSyncAndBeat : saveSync, [replica, JSON.stringify(rows), ...beatValues]);
    },
    async readSync(revision) {
      return read<SyncRow>(
        pool,
        `select replica, gateway, revision, sync from revision_sync where revision = $1 and ${isLive} order by gateway, replica`,
        [revision],
      );
    },
    async nodes({ id, gateway, after, limit = maxNodesListed, lacks } = {}) {
      const asked = lacks && JSON.stringify(lacks.map(({ type, name }) => ({ type, name })));
      const rows = await read<NodeColumns>(pool, nodesQuery, [id, gateway, after, Math.min(limit, maxNodesListed), asked]);
      return rows.map(fromNodeColumns);
    },
    async countNodes(gateways, except) {
      const rows = await read<{ gateway: string; nodes: number }>(
        pool,
        `select gateway, count(*)::int as nodes from nodes where gateway = any($1) and replica <> $2 and connected and ${isLive} group by gateway`,
        [gateways, except],
      );
      return new Map(rows.map(({ gateway, nodes }) => [gateway, nodes]));
    },
    async removeReplica(id) {
      await read(
        pool,
        `with gone as (delete from replicas where id = $1), gone_nodes as (delete from nodes where replica = $1)
         delete from revision_sync where replica = $1`,
        [id],
      );
    },
  };
}
