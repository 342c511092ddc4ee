// What the database holds when the faults are over, read past the product; and what the product itself says of its history and state.
// In: the database's URL and the replicas. Out: the checker's half of a RunHistory. Called by chaos.pg.test.ts.

import { sql } from "../support/postgres.js";
import type { Replica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import type { RecordedChange, RunHistory } from "./history.js";

/** Every replica must serve the newest revision within this, after the last fault. */
const convergeWithinMs = 5_000;

interface ChangeRow {
  readonly revision: string;
  readonly name: string;
  readonly before: string | null;
  readonly after: string | null;
}

/** What there is before the writers begin. */
export async function readInitial(databaseUrl: string): Promise<NonNullable<RunHistory["initial"]>> {
  return { revision: await readCounter(databaseUrl), objects: await readObjects(databaseUrl) };
}

/** To be called when nobody writes any more; of what came after `initial`. */
export async function readEvidence(
  databaseUrl: string,
  replicas: readonly Replica[],
  initial: NonNullable<RunHistory["initial"]> = { revision: 0, objects: {} },
): Promise<Omit<RunHistory, "attempts">> {
  const counter = await readCounter(databaseUrl);
  const changes = await readChanges(databaseUrl);
  const rows = await sql<{ revision: string; token: string | null; hash: string; previous_hash: string }>(
    databaseUrl,
    `select revision::text, reason as token, encode(hash, 'hex') as hash, encode(previous_hash, 'hex') as previous_hash
       from revisions where revisions.revision > $1 order by revisions.revision`,
    [initial.revision],
  );
  return {
    initial,
    counter,
    revisions: rows.map((row) => ({
      revision: Number(row.revision),
      token: row.token ?? "",
      hash: row.hash,
      previousHash: row.previous_hash,
      changes: changes.get(Number(row.revision)) ?? [],
    })),
    objects: await readObjects(databaseUrl),
    auditBreak: await audit(replicas[0]),
    served: Object.fromEntries(await Promise.all(replicas.map(async (replica) => [replica.id, await serves(replica, counter)]))),
  };
}

async function readCounter(databaseUrl: string): Promise<number> {
  const [{ n } = { n: "0" }] = await sql<{ n: string }>(databaseUrl, "select n::text from revision_counter");
  return Number(n);
}

/** name → number, as writers name them. */
export async function readObjects(databaseUrl: string): Promise<Readonly<Record<string, number>>> {
  const rows = await sql<{ name: string; value: string }>(
    databaseUrl,
    `select name, spec #>> '{circuitBreakers,maxConnections}' as value from clusters
     union all select 'route ' || name, spec #>> '{action,timeoutMs}' from routes`,
  );
  return Object.fromEntries(rows.map(({ name, value }) => [name, Number(value)]));
}

/** revision → what it changed. A kind that no writer writes shows by its name. */
export async function readChanges(databaseUrl: string): Promise<ReadonlyMap<number, RecordedChange[]>> {
  const rows = await sql<ChangeRow>(
    databaseUrl,
    `select revision::text, case kind when 'cluster' then name else kind || ' ' || name end as name,
            ${number("before")} as before, ${number("after")} as after
       from changes order by changes.revision, ordinal`,
  );
  const byRevision = new Map<number, RecordedChange[]>();
  const read = (text: string | null): number | undefined => (text === null ? undefined : Number(text));
  for (const { revision, name, before, after } of rows) {
    const change = { name, before: read(before), after: read(after) };
    const same = byRevision.get(Number(revision));
    if (same) same.push(change);
    else byRevision.set(Number(revision), [change]);
  }
  return byRevision;
}

/** The number that an object holds, in SQL. */
const number = (column: "before" | "after"): string =>
  `coalesce(${column} #>> '{circuitBreakers,maxConnections}', ${column} #>> '{action,timeoutMs}')`;

/** All pages of GET /v1/audit. */
async function audit(replica: Replica | undefined): Promise<string | undefined> {
  if (!replica) return undefined;
  interface Page {
    readonly break?: { readonly revision: number; readonly kind: string; readonly detail: string };
    readonly next?: { readonly revision: number; readonly hash: string };
  }
  let next: Page["next"];
  do {
    const from = next ? `&after=${next.revision}&hash=${next.hash}` : "";
    const page: Page = await replica.api.get<Page>(`/v1/audit?limit=1000${from}`);
    if (page.break) return `revision ${page.break.revision} is ${page.break.kind}: ${page.break.detail}`;
    next = page.next;
  } while (next);
  return undefined;
}

/** The revision that it serves: the wanted one, or where it stands when the time is over. */
async function serves(replica: Replica, wanted: number): Promise<number> {
  let revision = -1;
  const look = async (): Promise<boolean> => {
    revision = (await replica.api.get<{ revision: number }>("/readyz")).revision;
    return revision === wanted;
  };
  await waitFor(`${replica.id} serves ${wanted}`, look, { timeoutMs: convergeWithinMs }).catch(() => undefined);
  return revision;
}
