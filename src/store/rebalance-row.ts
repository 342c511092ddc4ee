// A rebalance as its tables hold it, and the one query that reads it with everything a decision needs. In: a condition. Out:
// RebalanceRecords. Times are reckoned by the database, as for drains. Called by rebalance-store.ts and rebalance-tx.ts.
import type { ClosedEndpoint, LosingBackend, RebalanceState } from "../model/rebalance.js";
import type { Author } from "../model/revision.js";
import type { Route } from "../model/route.js";
import { ms } from "./drain-row.js";
import type { JsonForm } from "./json-form.js";
import { space } from "./objects.js";
import { fromRouteRow } from "./route-row.js";

/** What the load reports of one connected Envoy say of the route's endpoints. */
export interface RebalanceNode {
  readonly node: string;
  /** A report has come since the next step became due; false also while none is due. */
  readonly reported: boolean;
  /** address key → connections, by reports of the last seconds; an endpoint without any is absent. */
  readonly counts: ReadonlyMap<string, number>;
}

/** A rebalance as the tables have it at the time of the read. */
export interface RebalanceRecord {
  readonly id: string;
  readonly by: Author;
  readonly state: RebalanceState;
  readonly route: string;
  /** cluster → weight. */
  readonly weights: Readonly<Record<string, number>>;
  readonly losing: readonly LosingBackend[];
  readonly afterMs: number;
  readonly ratePerSecond: number;
  readonly gateways: readonly string[];
  /** ISO 8601, the database's clock; for people. */
  readonly createdAt: string;
  readonly endedAt: string | undefined;
  readonly outcome: string | undefined;
  readonly ageMs: number;
  readonly steps: readonly ClosedEndpoint[];
  /** The drain of the last step, and whether it has ended. */
  readonly drain: { readonly id: string; readonly ended: boolean } | undefined;
  /** Until the next step may begin; negative: since it might have. Means nothing while a drain is under way. */
  readonly dueInMs: number;
  /** cluster → connections at its end. */
  readonly connections: Readonly<Record<string, number>> | undefined;
  /** As it is now; undefined: it is gone. */
  readonly routeNow: Route | undefined;
  /** Connected now, by name; none once it has ended. */
  readonly nodes: readonly RebalanceNode[];
}

/** What `rebalanceQuery` brings. */
export interface RebalanceColumns {
  readonly id: string;
  readonly author: string;
  readonly request_id: string;
  readonly reason: string | null;
  readonly state: RebalanceState;
  readonly route: string;
  readonly weights: Readonly<Record<string, number>>;
  readonly losing: JsonForm<readonly LosingBackend[]>;
  readonly after_ms: number;
  readonly rate_per_second: number;
  readonly gateways: readonly string[];
  readonly created_at: Date;
  readonly ended_at: Date | null;
  readonly outcome: string | null;
  readonly age_ms: number;
  readonly steps: readonly ClosedEndpoint[];
  readonly drain: string | null;
  readonly drain_ended: boolean;
  readonly due_in_ms: number;
  readonly connections: Readonly<Record<string, number>> | null;
  readonly route_spec: JsonForm<Route> | null;
  readonly nodes: readonly NodeColumns[] | null;
}

interface NodeColumns {
  readonly node: string;
  readonly reported: boolean;
  readonly counts: readonly Readonly<Record<string, number>>[];
}

/** Older than this a report is silence: they come every second. */
const fresh = "interval '5 s'";

// An Envoy's load reports may come to several replicas, each of which has a row of it.
const nodesOfRebalance = `
  select jsonb_agg(jsonb_build_object('node', nodes.id, 'reported', coalesce(loads.reported, false),
                                      'counts', coalesce(loads.counts, '[]'::jsonb)) order by nodes.id) as list
    from nodes join replicas on replicas.id = nodes.replica
         left join lateral (
           select jsonb_agg(rebalance_loads.counts) as counts, bool_or(rebalance_loads.load_at > due.at) as reported
             from rebalance_loads
            where rebalance_loads.rebalance = rebalances.id and rebalance_loads.node = nodes.id
              and rebalance_loads.load_at > clock_timestamp() - ${fresh}) as loads on true
   where rebalances.ended_at is null and jsonb_exists(rebalances.gateways, nodes.gateway)
     and nodes.connected and replicas.lease_until > clock_timestamp()`;

/** `condition` is about `rebalances`, and may go on with `order by` and `limit`. */
export function rebalanceQuery(condition: string): string {
  return `
    select rebalances.id, rebalances.author, rebalances.request_id, rebalances.reason, rebalances.state, rebalances.route,
           rebalances.weights, rebalances.losing, rebalances.after_ms, rebalances.rate_per_second, rebalances.gateways,
           rebalances.created_at, rebalances.ended_at, rebalances.outcome, rebalances.steps, rebalances.drain, rebalances.connections,
           coalesce(drains.ended_at is not null, true) as drain_ended, routes.spec as route_spec, nodes.list as nodes,
           ${ms("coalesce(rebalances.ended_at, clock_timestamp()) - rebalances.created_at")} as age_ms,
           ${ms("due.at - clock_timestamp()")} as due_in_ms
      from rebalances left join drains on drains.id = rebalances.drain
           left join routes on routes.space = '${space}' and routes.name = rebalances.route
           cross join lateral (
             select greatest(rebalances.next_at, drains.ended_at + rebalances.pause_ms * interval '1 millisecond') as at) as due
           left join lateral (${nodesOfRebalance}) as nodes on true
     where ${condition}`;
}

/** For reading. */
export function fromRebalanceColumns(row: RebalanceColumns): RebalanceRecord {
  return {
    id: row.id,
    by: { author: row.author, requestId: row.request_id, reason: row.reason ?? undefined },
    state: row.state,
    route: row.route,
    weights: row.weights,
    losing: row.losing.map(({ cluster, guarantee }) => ({
      cluster,
      guarantee: { ...guarantee, closesWithinMs: guarantee.closesWithinMs },
    })),
    afterMs: row.after_ms,
    ratePerSecond: row.rate_per_second,
    gateways: row.gateways,
    createdAt: row.created_at.toISOString(),
    endedAt: row.ended_at?.toISOString(),
    outcome: row.outcome ?? undefined,
    ageMs: row.age_ms,
    steps: row.steps,
    drain: row.drain === null ? undefined : { id: row.drain, ended: row.drain_ended },
    dueInMs: row.due_in_ms,
    connections: row.connections ?? undefined,
    routeNow: row.route_spec === null ? undefined : fromRouteRow({ spec: row.route_spec }),
    nodes: (row.nodes ?? []).map(({ node, reported, counts }) => ({ node, reported, counts: sumOf(counts) })),
  };
}

function sumOf(all: NodeColumns["counts"]): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const counts of all)
    for (const [endpoint, count] of Object.entries(counts)) sums.set(endpoint, (sums.get(endpoint) ?? 0) + count);
  return sums;
}
