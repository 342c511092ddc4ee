// A database whose clients are counted: how many statements, how often Postgres had to plan, what was asked. In: a database's URL. Out: a
// URL through the counter of bench/, which reads the wire protocol as it passes. Closed when the test file ends.
import { type PostgresCounter, startPostgresCounter } from "../../bench/postgres-wire.mjs";
import { onCleanup } from "./cleanup.js";

export interface CountedDatabase extends Omit<PostgresCounter, "close" | "port"> {
  readonly url: string;
  /** How often a text that holds this was sent. */
  asked(text: string): number;
}

/** `asPooler`: it looks like one. */
export async function countedDatabase(databaseUrl: string, asPooler = false): Promise<CountedDatabase> {
  const url = new URL(databaseUrl);
  const counter = await startPostgresCounter({ host: url.hostname, port: Number(url.port), asPooler });
  onCleanup("counter of statements", () => counter.close());
  url.port = String(counter.port);
  const asked = (text: string): number =>
    [...counter.counts().texts].reduce((sum, [sent, count]) => sum + (sent.includes(text) ? count : 0), 0);
  return { url: url.href, counts: counter.counts, reset: counter.reset, asked };
}
