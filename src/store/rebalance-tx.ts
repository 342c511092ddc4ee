// Rebalances within a write: begun, held, claimed, moved on and ended, in the transaction that also marks the endpoint whose connections
// are closed. In: a transaction. Out: rows of `rebalances`. Called through WriteTx.rebalances.
import type { ClosedEndpoint, LosingBackend, RebalanceState } from "../model/rebalance.js";
import type { Author } from "../model/revision.js";
import { endedRowsGone } from "./drain-tx.js";
import { space } from "./objects.js";
import { fromRebalanceColumns, type RebalanceColumns, type RebalanceRecord, rebalanceQuery } from "./rebalance-row.js";
import type { Transaction } from "./transaction.js";

/** A rebalance that begins. */
export interface NewRebalance {
  readonly id: string;
  readonly by: Author;
  readonly route: string;
  /** cluster → weight. */
  readonly weights: Readonly<Record<string, number>>;
  readonly losing: readonly LosingBackend[];
  readonly afterMs: number;
  readonly ratePerSecond: number;
}

/** How a rebalance ended. */
export interface RebalanceEnd {
  readonly state: Exclude<RebalanceState, "open">;
  /** cluster → connections then; undefined: not known. */
  readonly connections: Readonly<Record<string, number>> | undefined;
  /** For people. */
  readonly outcome: string;
}

/** What a write may do with rebalances. Their rows are locked before those of drains, clusters and endpoints. */
export interface RebalanceTx {
  countOpen(): Promise<number>;
  start(rebalance: NewRebalance): Promise<void>;
  read(id: string): Promise<RebalanceRecord | undefined>;
  /** Locked; waits for whoever has it. */
  hold(id: string): Promise<RebalanceRecord | undefined>;
  /** The open one of a route, locked. */
  holdOf(route: string): Promise<RebalanceRecord | undefined>;
  /** Locked; undefined when it has ended, or another transaction has it. */
  claim(id: string): Promise<RebalanceRecord | undefined>;
  /** `step.drain` has begun; the step after it comes `pauseMs` after that drain's end, at the earliest. */
  step(id: string, step: ClosedEndpoint, pauseMs: number): Promise<void>;
  /** From open to an end. */
  end(id: string, end: RebalanceEnd): Promise<void>;
}

/** Rows, and what a transaction does with them. */
export function createRebalanceTx(transaction: Transaction): RebalanceTx {
  const one = async (condition: string, values: readonly unknown[]): Promise<RebalanceRecord | undefined> => {
    const [row] = await transaction.query<RebalanceColumns>(rebalanceQuery(condition), values);
    return row && fromRebalanceColumns(row);
  };
  const locked = async (condition: string, value: string, lock: string): Promise<RebalanceRecord | undefined> => {
    const [row] = await transaction.query<{ id: string }>(`select id from rebalances where ${condition} ${lock}`, [value]);
    return row && one("rebalances.id = $1", [row.id]);
  };
  return {
    async countOpen() {
      const [row] = await transaction.query<{ n: number }>("select count(*)::int as n from rebalances where ended_at is null");
      return row?.n ?? 0;
    },
    start: (rebalance) => start(transaction, rebalance),
    read: (id) => one("rebalances.id = $1", [id]),
    hold: (id) => locked("id = $1", id, "for update"),
    holdOf: (route) => locked("route = $1 and ended_at is null", route, "for update"),
    claim: (id) => locked("id = $1 and ended_at is null", id, "for update skip locked"),
    async step(id, step, pauseMs) {
      await transaction.query(
        `update rebalances set drain = $2, pause_ms = $3::int, steps = steps || $4::jsonb where id = $1 and ended_at is null`,
        [id, step.drain, Math.ceil(pauseMs), JSON.stringify([step])],
      );
    },
    async end(id, { state, connections, outcome }) {
      await transaction.query(
        `update rebalances set state = $2, ended_at = clock_timestamp(), connections = $3, outcome = $4 where id = $1 and ended_at is null`,
        [id, state, connections === undefined ? null : JSON.stringify(connections), outcome],
      );
      await transaction.query("delete from rebalance_loads where rebalance = $1", [id]);
      await transaction.query(endedRowsGone("rebalances"));
    },
  };
}

async function start(transaction: Transaction, rebalance: NewRebalance): Promise<void> {
  const { id, by, route, weights, losing, afterMs, ratePerSecond } = rebalance;
  await transaction.query(
    `insert into rebalances (id, author, request_id, reason, route, weights, losing, after_ms, rate_per_second, next_at, gateways)
     select $1, $2, $3, $4, $5, $6, $7, $8::int, $9::int, clock_timestamp() + $8::int * interval '1 millisecond',
            coalesce((select jsonb_agg(distinct gateway)
                        from route_listeners
                             join listeners on listeners.space = route_listeners.space and listeners.name = route_listeners.listener,
                             jsonb_array_elements_text(listeners.spec->'gateways') as gateway
                       where route_listeners.space = $10 and route_listeners.route = $5), '[]'::jsonb)`,
    [
      id,
      by.author,
      by.requestId,
      by.reason,
      route,
      JSON.stringify(weights),
      JSON.stringify(losing),
      afterMs,
      ratePerSecond,
      space,
    ],
  );
}
