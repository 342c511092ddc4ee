// Never older than the database: an Envoy that comes to a replica which has not heard of the newest revision is answered with that
// revision all the same, at once, and not a poll later. A mutant that was tried, and is caught: a stream that does not wait.
import { beforeAll, expect, test } from "vitest";
import type { Store } from "../../src/store/store.js";
import { author, cluster, endpoint, listener, openStore, route } from "../store/samples.js";
import { type Replica, startReplica } from "../support/replica.js";
import { startDatabase } from "../support/world.js";
import { openXdsStream } from "../support/xds-client.js";

let replica: Replica;
let store: Store;
beforeAll(async () => {
  const databaseUrl = await startDatabase();
  store = await openStore(databaseUrl);
  await store.write(author, async (tx) => {
    await tx.put("cluster", cluster("c0"));
    await tx.put("listener", listener("web", 80));
    await tx.put("route", route("r", ["web"], [{ cluster: "c0", weight: 1 }]));
  });
  // It hears of nothing: no hints, and a poll that is far away.
  replica = await startReplica({ databaseUrl, env: { CHANCERY_POLL_MS: "10000", CHANCERY_NOTIFY: "off" } });
});

test.each(["delta", "sotw"] as const)(
  "a new stream, %s, is answered with what was committed before it opened",
  async (protocol) => {
    for (let round = 1; round <= 5; round++) {
      const name = `${protocol}-${round}`;
      // Written past this replica, by another one.
      const { committed } = await store.write(author, async (tx) => {
        await tx.put("cluster", cluster(name));
        await tx.put("endpoint", endpoint(name, 1_000 + round));
        await tx.put("route", route("r", ["web"], [{ cluster: name, weight: 1 }]));
      });
      const startedAt = performance.now();
      const stream = openXdsStream({ port: replica.xdsPort, node: `node-${name}`, gateway: "edge", protocol });
      stream.request("cluster");
      const first = await stream.next("cluster");
      expect(first.resources.map((one) => one.name)).toContain(name);
      expect(performance.now() - startedAt).toBeLessThan(4_000);
      expect(await replica.api.get("/readyz")).toMatchObject({ revision: committed?.revision });
      stream.close();
    }
  },
);
