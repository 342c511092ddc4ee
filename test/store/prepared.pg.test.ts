// Statements are planned once per connection where that can work, and never behind a pooler, which gives each transaction another server.
import { expect, test } from "vitest";
import { countedDatabase } from "../support/counted-database.js";
import { isPortable } from "../support/database-mode.js";
import { freshDatabase } from "../support/postgres.js";
import { author, cluster, openStore } from "./samples.js";

const start = { revision: 0, id: "" };
const polls = 10;

/** Texts that Postgres had to plan for so many polls of the feed and writes, the connections being there. */
async function parsesOf(asPooler: boolean, notify: boolean): Promise<number> {
  const database = await countedDatabase((await freshDatabase()).url, asPooler);
  const store = await openStore(database.url, { notify });
  const once = async (n: number): Promise<void> => {
    await store.readAfter(start, 10);
    await store.write(author, (tx) => tx.put("cluster", cluster("api", { connectTimeoutMs: n })));
  };
  await once(1);
  database.reset();
  for (let n = 2; n < 2 + polls; n++) await once(n);
  expect(database.asked("select counter.n as head")).toBe(polls);
  return database.counts().parses;
}

test.skipIf(isPortable)("on a connection of its own, a hot statement is planned once", async () => {
  // Mutant: pools that do not prepare.
  // BEGIN, the look for drained endpoints, the row of the cluster that goes before it, and the commit are sent as texts.
  expect(await parsesOf(false, true)).toBeLessThanOrEqual(4 * polls + 2); // The connection for notices may come late.
});

test("behind a pooler, and where the operator says that there is one, nothing is prepared", async () => {
  // Mutants: the key of the session is not looked at; a pooler is looked for although notices are off.
  expect(await parsesOf(true, true)).toBeGreaterThanOrEqual(6 * polls);
  expect(await parsesOf(false, false)).toBeGreaterThanOrEqual(6 * polls);
});
