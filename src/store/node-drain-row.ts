// The drain of an Envoy as its table holds it, and the query that reads it with everything a decision needs. In: a condition. Out:
// NodeDrainRecords. Every age and rest of time is reckoned by the database: a replica's clock decides nothing.
// Called by node-drain-store.ts and node-drain-tx.ts.
import type { NodeDrainPhase } from "../model/node-drain.js";
import type { Author } from "../model/revision.js";

/** The kind under which `changes` has it; it is no kind of object. */
export const nodeDrainKind = "node-drain";

/** As `changes` holds it. */
export interface NodeDrainSpec {
  readonly gateway: string;
  readonly phase: NodeDrainPhase;
}

/** What the Envoy's newest metrics say. settling: nothing is seen, and it is too early to believe it. */
export type ConnectionsVerdict = "open" | "settling" | "zero";

/** One as it stands at the time of the read. Ages and rests in ms, on the database's clock. */
export interface NodeDrainRecord {
  readonly node: string;
  readonly id: string;
  readonly gateway: string;
  readonly phase: NodeDrainPhase;
  readonly by: Author;
  readonly lameDuckMs: number;
  readonly timeoutMs: number;
  /** ISO 8601; for people. */
  readonly createdAt: string;
  readonly withdrawAt: string;
  readonly deadline: string;
  readonly endedAt: string | undefined;
  /** Since it began, up to its end. */
  readonly ageMs: number;
  /** Until the listeners go, and until the deadline; negative: since then. */
  readonly withdrawInMs: number;
  readonly deadlineInMs: number;
  /** Since the Envoy was known to have no listeners; undefined: it is not known to. */
  readonly ackedAgeMs: number | undefined;
  readonly verdict: ConnectionsVerdict | undefined;
  /** Client connections by its newest metrics since then; undefined: none have come. */
  readonly connections: number | undefined;
  readonly reportAgeMs: number | undefined;
  /** Connected to a live replica now. */
  readonly connected: boolean;
  /** How long it has given no sign, as far as somebody looked; 0 while it is connected. */
  readonly awayMs: number;
  /** Since when somebody has looked without a gap; undefined: there was none. */
  readonly attendedMs: number | undefined;
  readonly safeToStop: boolean;
  readonly leftOpen: number | undefined;
  readonly outcome: string | undefined;
}

/** What `nodeDrainQuery` brings. */
export interface NodeDrainColumns {
  readonly node: string;
  readonly id: string;
  readonly gateway: string;
  readonly phase: NodeDrainPhase;
  readonly author: string;
  readonly request_id: string;
  readonly reason: string | null;
  readonly lame_duck_ms: number;
  readonly timeout_ms: number;
  readonly created_at: Date;
  readonly withdraw_at: Date;
  readonly deadline: Date;
  readonly ended_at: Date | null;
  readonly age_ms: number;
  readonly withdraw_in_ms: number;
  readonly deadline_in_ms: number;
  readonly acked_age_ms: number | null;
  readonly verdict: ConnectionsVerdict | null;
  readonly connections: number | null;
  readonly report_age_ms: number | null;
  readonly connected: boolean;
  readonly away_ms: number;
  readonly attended_ms: number | null;
  readonly safe_to_stop: boolean;
  readonly left_open: number | null;
  readonly outcome: string | null;
}

const ms = (interval: string): string => `(extract(epoch from ${interval}) * 1000)::float8`;
const isLive = "live.connected and replicas.lease_until > clock_timestamp()";

/** `condition` is about `drain`, and may go on with `order by` and `limit`. A replica that died took no leave of its Envoys: until its lease is over they count as connected. */
export function nodeDrainQuery(condition: string): string {
  return `
    select drain.node, drain.id, drain.gateway, drain.phase, drain.author, drain.request_id, drain.reason, drain.lame_duck_ms,
           drain.timeout_ms, drain.created_at, drain.withdraw_at, drain.deadline, drain.ended_at,
           drain.verdict, drain.connections, drain.safe_to_stop, drain.left_open, drain.outcome,
           ${ms("coalesce(drain.ended_at, clock_timestamp()) - drain.created_at")} as age_ms,
           ${ms("drain.withdraw_at - clock_timestamp()")} as withdraw_in_ms,
           ${ms("drain.deadline - clock_timestamp()")} as deadline_in_ms,
           ${ms("clock_timestamp() - drain.acked_at")} as acked_age_ms,
           ${ms("clock_timestamp() - drain.reported_at")} as report_age_ms,
           ${ms("clock_timestamp() - drain.resumed_at")} as attended_ms,
           coalesce(${isLive}, false) as connected,
           case when ${isLive} then 0
                else greatest(0, ${ms("clock_timestamp() - greatest(drain.seen_at, drain.resumed_at, case when live.connected then replicas.lease_until else live.opened_at end)")})
           end as away_ms
      from node_drains as drain left join nodes as live on live.id = drain.node
           left join replicas on replicas.id = live.replica
     where ${condition}`;
}

/** For reading. */
export function fromNodeDrainColumns(row: NodeDrainColumns): NodeDrainRecord {
  const { node, id, gateway, phase, connected } = row;
  return {
    ...{ node, id, gateway, phase, connected },
    by: { author: row.author, requestId: row.request_id, reason: row.reason ?? undefined },
    lameDuckMs: row.lame_duck_ms,
    timeoutMs: row.timeout_ms,
    createdAt: row.created_at.toISOString(),
    withdrawAt: row.withdraw_at.toISOString(),
    deadline: row.deadline.toISOString(),
    endedAt: row.ended_at?.toISOString(),
    ageMs: row.age_ms,
    withdrawInMs: row.withdraw_in_ms,
    deadlineInMs: row.deadline_in_ms,
    ackedAgeMs: row.acked_age_ms ?? undefined,
    verdict: row.verdict ?? undefined,
    connections: row.connections ?? undefined,
    reportAgeMs: row.report_age_ms ?? undefined,
    awayMs: row.away_ms,
    attendedMs: row.attended_ms ?? undefined,
    safeToStop: row.safe_to_stop,
    leftOpen: row.left_open ?? undefined,
    outcome: row.outcome ?? undefined,
  };
}
