// A control plane prunes its history by itself, as it is configured: old revisions go, the newest stay, and what is left is whole. Mutant that was tried, and is caught: the setting reaches nobody.
import { expect, test } from "vitest";
import { age } from "../support/aged-history.js";
import { injectNothing } from "../support/database-mode.js";
import { sql } from "../support/postgres.js";
import { startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { startDatabase } from "../support/world.js";

/** 400 revisions, of which 350 were written 91 days ago. */
async function agedDatabase(): Promise<string> {
  const url = await startDatabase();
  await sql(url, injectNothing); // Its history is made here, in one statement that nobody tries again.
  await sql(url, `select commit_revision(gen_random_uuid(), 'old', 'r', null, '[]'::jsonb, false) from generate_series(1, 400)`);
  await age(url, 350, 91);
  return url;
}
const kept = async (url: string) => {
  const [row] = await sql<{ first: string; last: string }>(
    url,
    "select min(revision) as first, max(revision) as last from revisions",
  );
  return [Number(row?.first), Number(row?.last)];
};

test("old revisions go within moments, the newest 300 stay, and the audit says from where on it holds", async () => {
  const databaseUrl = await agedDatabase();
  const { api, log } = await startReplica({ databaseUrl, env: { CHANCERY_HISTORY_LEAST_REVISIONS: "300" } });
  await waitFor("they are gone", async () => (await kept(databaseUrl))[0] === 101);
  expect(await kept(databaseUrl)).toEqual([101, 400]);
  expect(await api.get("/v1/audit")).toMatchObject({ verified: 300, cut: { revision: 100, days: 90, least: 300 } });
  expect(await api.refused(410, "GET", "/v1/revisions/100")).toMatchObject({ code: "beyond_history", keptFrom: 101 });
  await waitFor("it says so", async () => {
    const { text } = await api.call("GET", "/metrics");
    return text.includes("chancery_history_pruned_total 100\n") && text.includes("chancery_history_cut_revision 100\n");
  });
  expect((await api.put("/v1/clusters/a", {})).revision).toBe(401);
  await waitFor("the log tells", () => log().includes("the history was pruned"));
  expect(log()).not.toContain("another history");
});
