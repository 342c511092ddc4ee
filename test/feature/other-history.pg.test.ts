// The database goes back to an older state, and another write takes the number that was lost: what an Envoy has follows the database, on
// the stream that is open, and the control plane says so loudly. Mutant that was tried, and is caught: everything is not read again.
import { beforeAll, expect, test } from "vitest";
import type { Store } from "../../src/store/store.js";
import { author, cluster, endpoint, listener, openStore, route } from "../store/samples.js";
import { sql } from "../support/postgres.js";
import { type Replica, startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { startDatabase } from "../support/world.js";
import { openXdsStream, type XdsStream } from "../support/xds-client.js";

let databaseUrl = "";
let replica: Replica;
let store: Store;
beforeAll(async () => {
  databaseUrl = await startDatabase();
  store = await openStore(databaseUrl);
  await store.write(author, async (tx) => {
    await tx.put("cluster", cluster("app", { connectTimeoutMs: 1_000 }));
    await tx.put("endpoint", endpoint("app", 8_080));
    await tx.put("listener", listener("web", 80));
    await tx.put("route", route("r", ["web"], [{ cluster: "app", weight: 1 }]));
  });
  replica = await startReplica({ databaseUrl, env: { CHANCERY_POLL_MS: "50", CHANCERY_NOTIFY: "off" } });
});

const write = (connectTimeoutMs: number) => store.write(author, (tx) => tx.put("cluster", cluster("app", { connectTimeoutMs })));
const secondsOf = (stream: XdsStream): unknown => {
  const timeout = stream.state("cluster").get("app")?.message["connect_timeout"];
  return typeof timeout === "object" && timeout !== null && "seconds" in timeout ? Number(timeout.seconds) : undefined;
};

test.each(["delta", "sotw"] as const)("a stream, %s, follows it, and is not ended", async (protocol) => {
  const stream = openXdsStream({ port: replica.xdsPort, node: `node-${protocol}`, gateway: "edge", protocol });
  let isOver = false;
  void stream.ended.then(() => {
    isOver = true;
  });
  stream.ackAll();
  stream.request("cluster");
  await write(1_000);
  await waitFor("the first form", () => secondsOf(stream) === 1);
  const lost = (await write(7_000)).committed;
  await waitFor("what will be lost", () => secondsOf(stream) === 7);
  // As a standby that lagged by one revision has it, in one transaction.
  await sql(
    databaseUrl,
    `delete from changes where revision = ${lost?.revision}; delete from revisions where revision = ${lost?.revision};
     update revision_counter set n = n - 1;
     update clusters set spec = jsonb_set(spec, '{connectTimeoutMs}', '1000'), revision = 1 where name = 'app'`,
  );
  await waitFor("what was there before", () => secondsOf(stream) === 1);
  const other = (await write(3_000)).committed;
  expect(other?.revision).toBe(lost?.revision);
  expect(other?.id).not.toBe(lost?.id);
  await waitFor("what took its number", () => secondsOf(stream) === 3);
  expect(isOver).toBe(false);
  expect(replica.log()).toContain("another history");
  expect((await replica.api.call("GET", "/metrics")).text).toMatch(/chancery_feed_histories_total [1-9]/);
  stream.close();
});
