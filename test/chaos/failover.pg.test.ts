// What a replica does when the address of its database leads to another server: a standby is not believed, a server that is the primary no
// more is left though it still answers, and what a synchronous standby does not have yet is not acknowledged, not even when asked again.
// Mutants that were tried, and are caught: see each test.
import { describe, expect, test } from "vitest";
import { migrate } from "../../src/store/migrate.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { author, cluster, listener, openStore, route } from "../store/samples.js";
import { scrape } from "../support/metrics.js";
import { sql } from "../support/postgres.js";
import { type Replica, startReplica } from "../support/replica.js";
import { startTcpProxy } from "../support/tcp-proxy.js";
import { staysTrue, waitFor } from "../support/wait.js";
import { openXdsStream } from "../support/xds-client.js";
import { startPostgresPair } from "./postgres-pair.js";

const startOn = (databaseUrl: string, env: Readonly<Record<string, string>> = {}): Promise<Replica> =>
  startReplica({ databaseUrl, env: { CHANCERY_POLL_MS: "50", CHANCERY_DB_QUERY_TIMEOUT_MS: "2000", ...env } });

async function migrated(synchronous: boolean) {
  const pair = await startPostgresPair({ synchronous });
  await migrate(pair.url, createLogger("silent"));
  return pair;
}

const feedIs = (replica: Replica, connected: 0 | 1) => async (): Promise<boolean> =>
  (await scrape(replica.api)).get("chancery_feed_connected") === connected;

describe("the address leads to a standby", () => {
  // Mutants: connections to a standby are taken (the feed's look tells all the same); neither looks (it is believed).
  test("which is not believed, not written to, and left when it leads to the primary again", { timeout: 120_000 }, async () => {
    const pair = await migrated(false);
    const store = await openStore(pair.directUrl());
    const write = (ms: number) =>
      store.write(author, async (tx) => {
        await tx.put("cluster", cluster("app", { connectTimeoutMs: ms }));
        await tx.put("listener", listener("web", 80));
        await tx.put("route", route("r", ["web"], [{ cluster: "app", weight: 1 }]));
      });
    await write(1_000);
    const replica = await startOn(pair.url);
    await waitFor("the feed reads", feedIs(replica, 1));
    pair.address.leadTo(Number(new URL(pair.standbyUrl()).port));
    pair.address.cut();
    await waitFor("the standby is noticed", feedIs(replica, 0));
    await staysTrue("and stays noticed", feedIs(replica, 0), 1_500);
    expect(replica.log()).toContain("the server is a standby in recovery");
    expect((await replica.api.call("GET", "/v1/clusters/app")).status).toBe(503);
    expect((await replica.api.call("DELETE", "/v1/routes/r")).status).toBe(503);
    await write(2_000);
    pair.address.leadTo(pair.primary.port);
    pair.address.cut();
    await waitFor("the feed reads again", feedIs(replica, 1));
    expect((await replica.api.call("GET", "/v1/clusters/app")).body).toMatchObject({ connectTimeoutMs: 2_000 });
  });
});

describe("the address leads to another server, and the old one was not fenced off", () => {
  // Mutant: connections of any age are used. Another one: the ids are not compared.
  test("the replica leaves it once its connections are of age, and tells what is lost", { timeout: 120_000 }, async () => {
    const [old, now] = [await migrated(false), await migrated(false)];
    const address = await startTcpProxy("moved address", { host: "127.0.0.1", port: old.primary.port });
    const url = new URL(old.directUrl());
    url.port = String(address.port);
    // The same passwords, so that both let the replica in.
    await sql(now.directUrl(), `alter role postgres password '${url.password}'`);
    const replica = await startOn(url.href, { CHANCERY_DB_CONNECTION_AGE_MS: "1000", CHANCERY_NOTIFY: "on" });
    await replica.api.post("/v1/clusters", { name: "lost" });
    await waitFor("it is served", async () => (await replica.api.get<{ revision: number }>("/readyz")).revision === 1);
    const stream = openXdsStream({ port: replica.xdsPort, node: "n", gateway: "edge", protocol: "delta" });
    stream.ackAll();
    stream.request("cluster");
    address.leadTo(now.primary.port); // No connection is cut: the old primary is alive.
    await waitFor("the other history is told", async () => replica.log().includes("another history"));
    const { otherHistory } = await replica.api.get<{ otherHistory?: object }>("/readyz");
    expect(otherHistory).toMatchObject({ lostRevisions: 1, from: 1, to: 1 });
    expect((await scrape(replica.api)).get("chancery_feed_lost_revisions_total")).toBe(1);
    expect((await replica.api.call("GET", "/v1/clusters/lost")).status).toBe(404);
    stream.close();
  });
});

describe("a synchronous standby that is cut off", () => {
  // Mutant: the first answer under a key is read without a lock, so that its transaction has nothing to wait for.
  test("keeps a write from being acknowledged, also when the primary shows it after a restart and it is sent again", {
    timeout: 120_000,
  }, async () => {
    const pair = await migrated(true);
    const replica = await startOn(pair.url);
    pair.replication.become("stalled");
    const write = () => replica.api.call("POST", "/v1/clusters", { name: "app" }, { "idempotency-key": "once" });
    const first = await write();
    expect([first.status, first.body]).toMatchObject([503, { outcome: "unknown" }]);
    await pair.primary.crash();
    await pair.primary.start();
    const isThere = async () => (await sql(pair.directUrl(), "select 1 from clusters where name = 'app'")).length === 1;
    await waitFor("the primary shows it", isThere);
    expect((await write()).status).toBe(503);
    const left = await pair.failover();
    await left.remove();
    expect(await isThere()).toBe(false); // It was not lost: nobody was told that it is there.
    await expect.poll(async () => (await write()).status, { timeout: 20_000 }).toBe(201);
    await pair.settled();
    expect(await isThere()).toBe(true);
  });
});
