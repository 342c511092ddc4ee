// A drain as its tables hold it, and the one query that reads it with everything a decision needs. In: a condition. Out: DrainRecords.
// Every age and rest of time is reckoned by the database, in the statement itself: a replica's clock decides nothing.
// Called by drain-store.ts and drain-tx.ts.
import type { Afterwards, DrainedEndpoint, DrainState } from "../model/drain.js";
import type { Author, Revision } from "../model/revision.js";
import type { JsonForm } from "./json-form.js";

/** What a node's newest load report says. */
export type LoadVerdict = "settling" | "in-flight" | "zero";

/** One Envoy's part of a drain. Ages in ms, on the database's clock. */
export interface DrainNode {
  readonly node: string;
  readonly gateway: string;
  /** Connected to a live replica now. */
  readonly connected: boolean;
  /** How long it has given no sign; 0 while it is connected. */
  readonly awayMs: number;
  /** Since when it was known to send nothing new; undefined: it is not known to. */
  readonly ackedAgeMs: number | undefined;
  /** undefined: no load report has come. */
  readonly verdict: LoadVerdict | undefined;
  readonly inFlight: number;
  readonly unattributed: number;
  readonly loadAgeMs: number | undefined;
}

/** A drain that this one waits for, because it has some of the same endpoints. */
export interface JoinedDrain {
  readonly id: string;
  readonly ended: boolean;
  readonly safeToStop: boolean;
  readonly leftOpen: number;
}

/** A drain as the tables have it at the time of the read. */
export interface DrainRecord {
  readonly id: string;
  readonly by: Author;
  readonly state: DrainState;
  readonly afterwards: Afterwards;
  readonly timeoutMs: number;
  /** What Envoys must have, to send nothing new. 0: nothing had to be changed. */
  readonly revision: Revision;
  readonly endpoints: readonly DrainedEndpoint[];
  readonly gateways: readonly string[];
  /** ISO 8601, the database's clock; for people. */
  readonly createdAt: string;
  readonly deadline: string;
  readonly endedAt: string | undefined;
  /** Since it began, up to its end. */
  readonly ageMs: number;
  /** Until the deadline; negative: since then. */
  readonly deadlineInMs: number;
  /** The same for the end of closing; undefined: it is not closing. */
  readonly closingInMs: number | undefined;
  readonly safeToStop: boolean;
  readonly leftOpen: number | undefined;
  readonly outcome: string | undefined;
  /** By name. While it is open: also those that are connected and have not been heard of. */
  readonly nodes: readonly DrainNode[];
  readonly joined: readonly JoinedDrain[];
}

/** What `drainQuery` brings. */
export interface DrainColumns {
  readonly id: string;
  readonly author: string;
  readonly request_id: string;
  readonly reason: string | null;
  readonly state: DrainState;
  readonly afterwards: Afterwards;
  readonly timeout_ms: number;
  readonly revision: Revision;
  readonly endpoints: JsonForm<readonly DrainedEndpoint[]>;
  readonly gateways: readonly string[];
  readonly created_at: Date;
  readonly deadline: Date;
  readonly ended_at: Date | null;
  readonly age_ms: number;
  readonly deadline_in_ms: number;
  readonly closing_in_ms: number | null;
  readonly safe_to_stop: boolean;
  readonly left_open: number | null;
  readonly outcome: string | null;
  readonly nodes: readonly NodeColumns[] | null;
  readonly joined: readonly JoinedDrain[] | null;
}

interface NodeColumns extends Omit<DrainNode, "ackedAgeMs" | "verdict" | "loadAgeMs"> {
  readonly ackedAgeMs: number | null;
  readonly verdict: LoadVerdict | null;
  readonly loadAgeMs: number | null;
}

/** An interval as a number. */
export const ms = (interval: string): string => `(extract(epoch from ${interval}) * 1000)::float8`;

// A replica that died took no leave of its Envoys: they count as connected until its lease is over, and are away from then on. While nobody
// looked (all control planes were away, or the database), no Envoy could be seen to come: that time does not count.
const attendedSince = "coalesce((select min(live_since) from replicas where lease_until > clock_timestamp()), clock_timestamp())";
const nodesOfDrain = `
  select jsonb_agg(jsonb_build_object(
           'node', node, 'gateway', gateway, 'connected', connected, 'awayMs', away_ms, 'ackedAgeMs', acked_age_ms, 'verdict', verdict,
           'inFlight', in_flight, 'unattributed', unattributed, 'loadAgeMs', load_age_ms) order by node) as list
    from (
      select coalesce(known.node, live.id) as node, coalesce(live.gateway, known.gateway) as gateway,
             coalesce(live.connected and live.lease_until > clock_timestamp(), false) as connected,
             case when live.connected and live.lease_until > clock_timestamp() then 0
                  else greatest(0, ${ms(`clock_timestamp() - greatest(known.at, case when live.connected then live.lease_until else live.opened_at end, ${attendedSince})`)}) end as away_ms,
             ${ms("clock_timestamp() - known.acked_at")} as acked_age_ms, known.verdict, coalesce(known.in_flight, 0) as in_flight,
             coalesce(known.unattributed, 0) as unattributed, ${ms("clock_timestamp() - known.load_at")} as load_age_ms
        from (select * from drain_nodes where drain_nodes.drain = drains.id) as known
        full join (select nodes.id, nodes.gateway, nodes.connected, nodes.opened_at, replicas.lease_until
                     from nodes left join replicas on replicas.id = nodes.replica
                    where drains.ended_at is null and drains.gateways ? nodes.gateway) as live on live.id = known.node
       where known.node is not null or (live.connected and live.lease_until > clock_timestamp())
    ) as each`;

const joinedByDrain = `
  select jsonb_agg(jsonb_build_object('id', other.id, 'ended', other.ended_at is not null, 'safeToStop', other.safe_to_stop,
                                      'leftOpen', coalesce(other.left_open, 0)) order by other.id) as list
    from drains as other
   where other.id in (select each->>'joins' from jsonb_array_elements(drains.endpoints) as each)`;

/** `condition` is about `drains`, and may go on with `order by` and `limit`. */
export function drainQuery(condition: string): string {
  return `
    select drains.id, drains.author, drains.request_id, drains.reason, drains.state, drains.afterwards, drains.timeout_ms,
           coalesce(revisions.revision, drains.joined_at) as revision, drains.endpoints, drains.gateways, drains.created_at,
           drains.deadline, drains.ended_at, drains.safe_to_stop, drains.left_open, drains.outcome,
           ${ms("coalesce(drains.ended_at, clock_timestamp()) - drains.created_at")} as age_ms,
           ${ms("drains.deadline - clock_timestamp()")} as deadline_in_ms,
           ${ms("drains.closing_until - clock_timestamp()")} as closing_in_ms,
           nodes.list as nodes, joined.list as joined
      from drains left join revisions on revisions.id = drains.revision_id
           left join lateral (${nodesOfDrain}) as nodes on true
           left join lateral (${joinedByDrain}) as joined on true
     where ${condition}`;
}

/** For reading. */
export function fromDrainColumns(row: DrainColumns): DrainRecord {
  return {
    id: row.id,
    by: { author: row.author, requestId: row.request_id, reason: row.reason ?? undefined },
    state: row.state,
    afterwards: row.afterwards,
    timeoutMs: row.timeout_ms,
    revision: row.revision,
    endpoints: row.endpoints.map(fromEndpointForm),
    gateways: row.gateways,
    createdAt: row.created_at.toISOString(),
    deadline: row.deadline.toISOString(),
    endedAt: row.ended_at?.toISOString(),
    ageMs: row.age_ms,
    deadlineInMs: row.deadline_in_ms,
    closingInMs: row.closing_in_ms ?? undefined,
    safeToStop: row.safe_to_stop,
    leftOpen: row.left_open ?? undefined,
    outcome: row.outcome ?? undefined,
    nodes: (row.nodes ?? []).map(fromNodeColumns),
    joined: row.joined ?? [],
  };
}

function fromEndpointForm({ guarantee, joins, ...endpoint }: JsonForm<DrainedEndpoint>): DrainedEndpoint {
  return { ...endpoint, guarantee: { ...guarantee, closesWithinMs: guarantee.closesWithinMs }, joins };
}

function fromNodeColumns({ ackedAgeMs, verdict, loadAgeMs, ...node }: NodeColumns): DrainNode {
  return { ...node, ackedAgeMs: ackedAgeMs ?? undefined, verdict: verdict ?? undefined, loadAgeMs: loadAgeMs ?? undefined };
}
