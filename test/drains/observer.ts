// Drains as the database tells of them, whatever the replicas are at: their states by its clock, and how often each was ended, by the history.
// In: a database. Out: what was seen. Called by faults.envoy.test.ts.
import { setTimeout as pause } from "node:timers/promises";
import pg from "pg";
import { onCleanup } from "../support/cleanup.js";

const everyMs = 50;

/** A drain's row, with the database's time at which it was read. Times in ms since 1970. */
export interface Seen {
  readonly id: string;
  readonly state: string;
  readonly safeToStop: boolean;
  readonly leftOpen: number | null;
  readonly outcome: string | null;
  readonly now: number;
  readonly deadline: number;
  readonly closingUntil: number | null;
  readonly endedAt: number | null;
}

export interface Observer {
  /** The newest row of each drain; told as often as it is read. */
  onSeen(listener: (seen: Seen) => void): void;
  /** endpoint (`cluster/address`) → revisions that removed it; and what drains wrote, by drain. */
  history(): Promise<{ readonly removals: ReadonlyMap<string, number>; readonly steps: ReadonlyMap<string, number> }>;
}

const ms = (column: string): string => `(extract(epoch from ${column}) * 1000)::float8`;
const seenQuery = `
  select id, state, safe_to_stop as "safeToStop", left_open as "leftOpen", outcome, ${ms("clock_timestamp()")} as now,
         ${ms("deadline")} as deadline, ${ms("closing_until")} as "closingUntil", ${ms("ended_at")} as "endedAt"
    from drains order by ordinal`;
const removalsQuery = "select name, count(*)::int as count from changes where kind = 'endpoint' and after is null group by name";
const stepsQuery = "select author as name, count(*)::int as count from revisions where author like 'drain %' group by author";

/** Looks until the test file ends. */
export async function observe(databaseUrl: string): Promise<Observer> {
  const client = new pg.Client({ connectionString: databaseUrl });
  client.on("error", () => {});
  await client.connect();
  const listeners: ((seen: Seen) => void)[] = [];
  let isOver = false;
  const look = async (): Promise<void> => {
    while (!isOver) {
      const { rows } = await client.query<Seen>(seenQuery);
      for (const row of rows) for (const listener of listeners) listener(row);
      await pause(everyMs);
    }
  };
  const looking = look();
  looking.catch(() => {}); // Whoever waits for what was seen finds it missing.
  onCleanup("observer of drains", async () => {
    isOver = true;
    await looking.catch(() => {});
    await client.end();
  });
  const counts = async (query: string): Promise<ReadonlyMap<string, number>> => {
    const { rows } = await client.query<{ name: string; count: number }>(query);
    return new Map(rows.map(({ name, count }) => [name, count]));
  };
  return {
    onSeen: (listener) => void listeners.push(listener),
    history: async () => ({ removals: await counts(removalsQuery), steps: await counts(stepsQuery) }),
  };
}
