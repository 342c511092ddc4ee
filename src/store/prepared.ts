// Statements that are asked so often that Postgres had better plan them once per connection: planning was more than half of what they cost
// (statements of the feed's pool 0.9 ms of Postgres each, 0.4 ms when they are planned). A plan belongs to a session, so behind a pooler in transaction mode there is none to keep:
// a connection that ends at a pooler is recognised, and from then on nothing is prepared. In: pools. Out: whether they may.
// Called by pool.ts and transaction.ts.
import type pg from "pg";

/** To be made once for each text. The plan must be good for all values: no `$1 is null or …`. */
export class Prepared {
  constructor(
    readonly name: string,
    readonly text: string,
  ) {}
}

/** pool → true: its connections end at Postgres itself. Left out: nothing is known yet. */
const isDirect = new WeakMap<pg.Pool, boolean>();

/**
 * To be told of each new connection, with the process id of the server behind it. The key by which a session is cancelled holds the process id
 * of who answers at the other end; a pooler has to make up its own, since it gives each transaction another server.
 */
export function recognisePooler(pool: pg.Pool, client: pg.ClientBase, serverPid: number | undefined): void {
  if (isDirect.get(pool) === false) return;
  isDirect.set(pool, serverPid === Reflect.get(client, "processID"));
}

/** What `query` of a client or pool takes for it. */
export function toQuery(
  pool: pg.Pool,
  statement: string | Prepared,
  values: readonly unknown[] | undefined,
): pg.QueryConfig<unknown[]> {
  const rest = values === undefined ? {} : { values: [...values] };
  if (typeof statement === "string") return { text: statement, ...rest };
  const { name, text } = statement;
  return isDirect.get(pool) === true ? { name, text, ...rest } : { text, ...rest };
}
