// A backup is restored under a running control plane. With nothing committed since the backup, the history is the same and nothing is
// read again; otherwise what was lost is noticed, said, and what Envoys have follows. The backup is a copy made by Postgres itself (a
// database made from another one): a pg_dump of the embedded server's version is not to be had everywhere.
import { randomUUID } from "node:crypto";
import { expect, inject, test } from "vitest";
import { author, cluster, endpoint, listener, openStore, route } from "../store/samples.js";
import { onCleanup } from "../support/cleanup.js";
import { databaseProxy, freshDatabase, sql } from "../support/postgres.js";
import { startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { openXdsStream } from "../support/xds-client.js";

const administer = (statement: string) => sql(inject("postgresUrl"), statement);

async function write(url: string, connectTimeoutMs: number): Promise<void> {
  const store = await openStore(url);
  await store.write(author, async (tx) => {
    await tx.put("cluster", cluster("app", { connectTimeoutMs }));
    await tx.put("endpoint", endpoint("app", 8_080));
    await tx.put("listener", listener("web", 80));
    await tx.put("route", route("r", ["web"], [{ cluster: "app", weight: 1 }]));
  });
}

// Mutant that was tried, and is caught: a feed that does not compare ids.
test.each([
  { lost: false, what: "the same history: nothing is read again" },
  { lost: true, what: "another history: everything is read again, and it is said" },
])("a restored database with $what", { timeout: 60_000 }, async ({ lost }) => {
  const { url } = await freshDatabase();
  const name = new URL(url).pathname.slice(1);
  const backup = `test_${randomUUID().replaceAll("-", "")}`;
  onCleanup("backup", () => administer(`drop database if exists ${backup} with (force)`).then(() => {}));
  await write(url, 1_000);
  await write(url, 2_000);
  await administer(`select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`); // A copy needs it alone.
  await administer(`create database ${backup} template ${name}`);
  if (lost) await write(url, 7_000);
  const proxy = await databaseProxy(url);
  const env = { CHANCERY_POLL_MS: "50", CHANCERY_NOTIFY: "off" };
  const replica = await startReplica({ databaseUrl: proxy.url, env });
  const stream = openXdsStream({ port: replica.xdsPort, node: "node", gateway: "edge", protocol: "delta" });
  stream.ackAll();
  stream.request("cluster");
  const seconds = (): number => {
    const timeout = stream.state("cluster").get("app")?.message["connect_timeout"];
    return typeof timeout === "object" && timeout !== null && "seconds" in timeout ? Number(timeout.seconds) : 0;
  };
  await waitFor("what there is", () => seconds() === (lost ? 7 : 2));

  proxy.become("closed");
  await administer(`drop database ${name} with (force)`);
  await administer(`alter database ${backup} rename to ${name}`);
  await write(url, 4_000); // Another revision takes the number of the one that was lost.
  proxy.become("pass");
  await waitFor("what the restored database has", () => seconds() === 4, { timeoutMs: 20_000 });
  const histories = /^chancery_feed_histories_total (\S+)$/m.exec((await replica.api.call("GET", "/metrics")).text)?.[1] ?? "0";
  expect(Number(histories)).toBe(lost ? 1 : 0);
  expect(replica.log().includes("another history")).toBe(lost);
  expect(replica.log().split("state loaded")).toHaveLength(lost ? 3 : 2);
  stream.close();
});
