// Staged rollouts, read, and what their Envoys say, written: nothing here is configuration (that is rollout-writes.ts). In: a pool. Out:
// rollouts as they stand, with every time as an age on the database's clock, so that replicas' clocks are never compared.
// Called by rollout/ and api/ through store.ts.
import type pg from "pg";
import type { Guard } from "../model/guard.js";
import type { Author, Change, Revision } from "../model/revision.js";
import type { RolloutPolicy } from "../model/rollout.js";
import type { ObjectKey } from "./applied.js";
import { type Observe, read } from "./pool.js";
import { type SpecChange, toChange } from "./row-change.js";

/** staging: some Envoys see it. watching: all do, and it may still be undone. */
export type RolloutState = "staging" | "watching" | "done" | "aborted";

/** Objects that become a set's. */
export interface AppliedObjects {
  readonly set: string;
  readonly objects: readonly ObjectKey[];
}

/** One rollout as it stands. Times are ISO 8601, ages ms, both of the database's clock. */
export interface StoredRollout extends Author {
  readonly name: string;
  readonly state: RolloutState;
  /** Index into the policy's stages. */
  readonly stage: number;
  readonly policy: RolloutPolicy;
  readonly gateways: readonly string[];
  /** gateway → Envoys of the stage, by id, as they were connected when it began. */
  readonly expected: ReadonlyMap<string, readonly string[]>;
  readonly overrides: readonly Guard[];
  /** The set of files that its objects belong to once it is promoted; undefined: none. */
  readonly applied: AppliedObjects | undefined;
  /** In which it last moved, and began. */
  readonly revision: Revision;
  readonly beganIn: Revision;
  readonly startedAt: string;
  readonly endedAt: string | undefined;
  readonly cause: string | undefined;
  readonly detail: string | undefined;
  readonly stageAgeMs: number;
  /** How long the stage has been looked after without a gap. */
  readonly attendedMs: number;
  /** How long all its Envoys have had the changes; undefined: not all have them. */
  readonly bakedMs: number | undefined;
}

/** What one Envoy of an open rollout says. */
export interface RolloutNode {
  readonly rollout: string;
  readonly node: string;
  readonly gateway: string;
  readonly stage: number;
  readonly connected: boolean;
  readonly has: boolean;
  readonly refusal: { readonly type: string; readonly resource: string; readonly detail: string } | undefined;
}
/** The same with what the database reckons: how long it has been away, and how often it came in this stage. */
export interface StoredRolloutNode extends RolloutNode {
  readonly lostMs: number | undefined;
  readonly streams: number;
}

/** Requests since a stage began. */
export interface Traffic {
  readonly requests: number;
  /** Answered by 5xx. */
  readonly errors: number;
}

/** One that is under way, with what is known of its Envoys. */
export interface OpenRollout {
  readonly rollout: StoredRollout;
  readonly nodes: readonly StoredRolloutNode[];
  /** Of the Envoys of the stage, and of the others of its gateways. */
  readonly traffic: { readonly stage: Traffic; readonly others: Traffic };
}

/** What holds for a gateway's changes that do not say otherwise. */
export interface GatewayPolicy {
  readonly gateway: string;
  readonly rollout: RolloutPolicy;
  readonly author: string;
  /** ISO 8601. */
  readonly at: string;
}

/** All throw database_unavailable. */
export interface RolloutStore {
  /** Those under way. To be asked by whoever looks after them: a gap between two questions is noted. */
  open(): Promise<readonly OpenRollout[]>;
  one(name: string): Promise<OpenRollout | undefined>;
  /** Those of `names` that have ended, or are not there. */
  ended(names: readonly string[]): Promise<readonly string[]>;
  /** What it changes, which never changes itself and may be large: to be asked once. Empty: there is none of this name. */
  changesOf(name: string): Promise<readonly Change[]>;
  /** Newest first, at most `limit`, those that began before the one of this name. */
  list(limit: number, before?: string): Promise<readonly StoredRollout[]>;
  /** What a replica sees of its own Envoys. `streams`: that were opened since the last time. */
  saveNodes(replica: string, nodes: readonly (RolloutNode & { readonly streams: number })[]): Promise<void>;
  /** Adds to what the replica has counted in the stage. */
  addTraffic(replica: string, rollout: string, stage: number, stageTraffic: Traffic, others: Traffic): Promise<void>;
  /** All Envoys of the stage have it: from now on it bakes. Once per stage. */
  markAcked(name: string, stage: number): Promise<void>;
  policies(gateways?: readonly string[]): Promise<readonly GatewayPolicy[]>;
}

interface RolloutRow {
  readonly name: string;
  readonly state: RolloutState;
  readonly stage: number;
  readonly policy: RolloutPolicy;
  readonly shares: Readonly<Record<string, number>>;
  readonly expected: Readonly<Record<string, readonly string[]>>;
  readonly overrides: readonly Guard[];
  readonly applied: AppliedObjects | null;
  readonly revision: Revision;
  readonly began_in: Revision;
  readonly author: string;
  readonly request_id: string;
  readonly reason: string | null;
  readonly started_at: Date;
  readonly ended_at: Date | null;
  readonly cause: string | null;
  readonly detail: string | null;
  readonly stage_age_ms: number;
  readonly attended_ms: number;
  readonly baked_ms: number | null;
}

const ageMs = (column: string): string => `(extract(epoch from clock_timestamp() - ${column}) * 1000)::double precision`;
const columns = `name, state, stage, policy, shares, expected, overrides, applied, revision, began_in, author, request_id, reason, started_at,
  ended_at, cause, detail, ${ageMs("stage_at")} as stage_age_ms,
  ${ageMs("greatest(stage_at, resumed_at)")} as attended_ms, ${ageMs("acked_at")} as baked_ms`;

function fromRow(row: RolloutRow): StoredRollout {
  const { name, state, stage, policy, overrides, revision, author } = row;
  return {
    ...{ name, state, stage, overrides, revision, author },
    // JSON has no undefined.
    policy: { ...policy, abortOn: { ...policy.abortOn, errorRate: policy.abortOn.errorRate } },
    gateways: Object.keys(row.shares).sort(),
    expected: new Map(Object.entries(row.expected)),
    applied: row.applied ?? undefined,
    beganIn: row.began_in,
    requestId: row.request_id,
    reason: row.reason ?? undefined,
    startedAt: row.started_at.toISOString(),
    endedAt: row.ended_at?.toISOString(),
    cause: row.cause ?? undefined,
    detail: row.detail ?? undefined,
    stageAgeMs: row.stage_age_ms,
    attendedMs: row.attended_ms,
    bakedMs: row.baked_ms ?? undefined,
  };
}

interface NodeRow extends Omit<StoredRolloutNode, "refusal" | "lostMs"> {
  readonly refusal: NonNullable<StoredRolloutNode["refusal"]> | null;
  readonly lost_ms: number | null;
}

interface TrafficRow {
  readonly rollout: string;
  readonly sees: boolean;
  readonly requests: number;
  readonly errors: number;
}

/** Nobody has looked after rollouts: every control plane, or the database, was away. */
const unattendedAfter = "interval '2 seconds'";
const isLive = "exists (select from replicas where replicas.id = replica and replicas.lease_until > clock_timestamp())";

// Of a replica that is gone, nobody is connected; since when, nobody wrote down, so what it said last counts as the time.
const nodesQuery = `
  select rollout, node, gateway, rollout_nodes.stage, connected and ${isLive} as connected, has, refusal, streams,
         case when connected and ${isLive} then null else ${ageMs("greatest(coalesce(lost_at, seen_at), resumed_at)")} end as lost_ms
    from rollout_nodes join rollouts on name = rollout where rollout = any($1) order by rollout, node`;
const trafficQuery = `
  select traffic.rollout, sees, sum(requests)::bigint as requests, sum(errors)::bigint as errors
    from rollout_traffic as traffic join rollouts on rollouts.name = traffic.rollout and rollouts.stage = traffic.stage
   where traffic.rollout = any($1) group by traffic.rollout, sees`;

async function withNodes(pool: pg.Pool, rows: readonly RolloutRow[]): Promise<readonly OpenRollout[]> {
  if (rows.length === 0) return [];
  const names = rows.map(({ name }) => name);
  const nodes = await read<NodeRow>(pool, nodesQuery, [names]);
  const drained = new Set((await read<{ node: string }>(pool, "select node from node_drains")).map(({ node }) => node));
  const traffic = await read<TrafficRow>(pool, trafficQuery, [names]);
  const counted = (name: string, sees: boolean): Traffic => {
    const row = traffic.find((one) => one.rollout === name && one.sees === sees);
    return { requests: row?.requests ?? 0, errors: row?.errors ?? 0 };
  };
  return rows.map((row) => ({
    rollout: withoutDrained(fromRow(row), drained),
    nodes: nodes
      .filter(({ rollout, node }) => rollout === row.name && !drained.has(node))
      .map(({ refusal, lost_ms: lostMs, ...node }) => ({ ...node, refusal: refusal ?? undefined, lostMs: lostMs ?? undefined })),
    traffic: { stage: counted(row.name, true), others: counted(row.name, false) },
  }));
}

/** An Envoy that is drained is in no stage: nobody waits for it, and what it says stops nothing. */
function withoutDrained(rollout: StoredRollout, drained: ReadonlySet<string>): StoredRollout {
  if (drained.size === 0) return rollout;
  const expected = [...rollout.expected].map(
    ([gateway, nodes]) => [gateway, nodes.filter((node) => !drained.has(node))] as const,
  );
  return { ...rollout, expected: new Map(expected) };
}

// Replicas may both claim a node for a moment: who has it connected wins.
const saveNodesQuery = `
  insert into rollout_nodes as stored (rollout, node, gateway, replica, stage, connected, has, refusal, streams, lost_at)
  select node.rollout, node.node, node.gateway, $1, node.stage, node.connected, node.has, node.refusal, node.streams,
         case when node.connected then null else clock_timestamp() end
    from jsonb_to_recordset($2::jsonb) as node (rollout text, node text, gateway text, stage int, connected boolean, has boolean,
                                               refusal jsonb, streams int)
   where exists (select from rollouts where name = node.rollout and state in ('staging', 'watching'))
   order by node.rollout, node.node
  on conflict (rollout, node) do update
     set replica = excluded.replica, stage = excluded.stage, connected = excluded.connected, has = excluded.has,
         refusal = excluded.refusal, seen_at = clock_timestamp(),
         lost_at = case when excluded.connected then null else coalesce(stored.lost_at, clock_timestamp()) end,
         streams = excluded.streams + case when stored.stage = excluded.stage then stored.streams else 0 end
   where excluded.connected or stored.replica = excluded.replica`;

const addTrafficQuery = `
  insert into rollout_traffic as stored (rollout, replica, stage, sees, requests, errors)
  select $2, $1, $3, sees, requests, errors
    from jsonb_to_recordset($4::jsonb) as counted (sees boolean, requests bigint, errors bigint)
   where exists (select from rollouts where name = $2 and stage = $3)
  on conflict (rollout, replica, stage, sees) do update
     set requests = stored.requests + excluded.requests, errors = stored.errors + excluded.errors`;

const openQuery = `
  update rollouts set looked_at = clock_timestamp(),
         resumed_at = case when looked_at < clock_timestamp() - ${unattendedAfter} then clock_timestamp() else resumed_at end
   where state in ('staging', 'watching') returning ${columns}`;
const markAckedQuery = "update rollouts set acked_at = clock_timestamp() where name = $1 and stage = $2 and acked_at is null";

function createPolicies(pool: pg.Pool): Pick<RolloutStore, "policies"> {
  return {
    async policies(gateways) {
      const rows = await read<Omit<GatewayPolicy, "at"> & { readonly at: Date }>(
        pool,
        "select gateway, rollout, author, at from gateway_policies where $1::text[] is null or gateway = any($1) order by gateway",
        [gateways ?? null],
      );
      return rows.map(({ at, ...row }) => ({ ...row, at: at.toISOString() }));
    },
  };
}

/** `api` reads for callers; `feed`, which they can't starve, is for those who look after rollouts, whose calls are observed. */
export function createRolloutStore(api: pg.Pool, feed: pg.Pool, observe: Observe): RolloutStore {
  return {
    async open() {
      const rows = await observe("open_rollouts", () => read<RolloutRow>(feed, openQuery));
      return withNodes(feed, rows);
    },
    async one(name) {
      const [found] = await withNodes(
        api,
        await read<RolloutRow>(api, `select ${columns} from rollouts where name = $1`, [name]),
      );
      return found;
    },
    async ended(names) {
      const going = await read<{ name: string }>(
        api,
        "select name from rollouts where name = any($1) and state in ('staging', 'watching')",
        [names],
      );
      const open = new Set(going.map(({ name }) => name));
      return names.filter((name) => !open.has(name));
    },
    async changesOf(name) {
      const [row] = await read<{ changes: readonly SpecChange[] }>(api, "select changes from rollouts where name = $1", [name]);
      return (row?.changes ?? []).map(toChange);
    },
    async list(limit, before) {
      const rows = await read<RolloutRow>(
        api,
        `select ${columns} from rollouts
          where $2::text is null or (started_at, name) < (select started_at, name from rollouts where name = $2)
          order by started_at desc, name desc limit $1`,
        [limit, before ?? null],
      );
      return rows.map(fromRow);
    },
    async saveNodes(replica, nodes) {
      if (nodes.length === 0) return;
      await observe("save_rollout_nodes", () => read(feed, saveNodesQuery, [replica, JSON.stringify(nodes)]));
    },
    async addTraffic(replica, rollout, stage, stageTraffic, others) {
      const counted = [
        { sees: true, ...stageTraffic },
        { sees: false, ...others },
      ].filter(({ requests, errors }) => requests + errors > 0);
      if (counted.length === 0) return;
      await observe("add_rollout_traffic", () => read(feed, addTrafficQuery, [replica, rollout, stage, JSON.stringify(counted)]));
    },
    async markAcked(name, stage) {
      await observe("mark_rollout_acked", () => read(feed, markAckedQuery, [name, stage]));
    },
    ...createPolicies(api),
  };
}
