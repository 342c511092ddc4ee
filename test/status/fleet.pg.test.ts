// Promises of the fleet over several replicas, on a real Postgres: two Fleets share its status tables, with and without hints.
// Streams are scripted: what Envoys do is for the tests with Envoy. Leases are on the database's clock and really run out here.
import { afterEach, describe, expect, test } from "vitest";
import { Fleet } from "../../src/status/fleet.js";
import { createStore, type Store } from "../../src/store/store.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { createMetrics } from "../../src/telemetry/metrics.js";
import { freshDatabase } from "../support/postgres.js";
import { waitFor } from "../support/wait.js";
import { ScriptedFeed, ScriptedStream, type StreamOptions } from "../unit/status/scripted.js";

interface Replica {
  readonly fleet: Fleet;
  readonly store: Store;
  /** Rows written so far, by table. */
  rowsWritten(table: "nodes" | "sync"): Promise<number>;
  /** As kill -9 leaves it: nothing is signed off. */
  die(): Promise<void>;
}

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function startReplica(
  id: string,
  databaseUrl: string,
  feed: ScriptedFeed,
  notify: boolean,
  leaseMs = 10_000,
): Promise<Replica> {
  const log = createLogger("silent");
  const metrics = createMetrics();
  const store = await createStore({
    databaseUrl,
    notify,
    apiPoolSize: 2,
    feedPoolSize: 3,
    connectTimeoutMs: 3_000,
    queryTimeoutMs: 5_000,
    connectionAgeMs: 60_000,
    log,
    metrics,
  });
  let dead = false;
  // Once dead, it can write nothing any more; that it tries is this process's doing.
  const status = {
    ...store.status,
    removeReplica: async (replica: string) => (dead ? undefined : store.status.removeReplica(replica)),
  };
  const fleet = new Fleet({
    replica: id,
    store: status,
    changedBy: feed.changedBy,
    gatewayKnown: () => true,
    authorOf: (revision) => store.read.revision(revision),
    onSyncHint: store.onSyncHint,
    log,
    metrics,
    leaseMs,
    beatMs: Math.min(1_000, leaseMs / 3),
  });
  fleet.published(10);
  const end = async (): Promise<void> => {
    await fleet.close();
    await store.close();
  };
  ends.push(() => (dead ? Promise.resolve() : end()));
  const die = async (): Promise<void> => {
    dead = true;
    await end();
  };
  await waitFor(`${id} is registered`, async () =>
    (await store.status.liveReplicas()).some((live) => live.id === id && live.revision === 10),
  );
  const rowsWritten = async (table: string): Promise<number> =>
    Number(new RegExp(`chancery_status_rows_written_total\\{table="${table}"\\} (\\d+)`).exec(await metrics.text())?.[1] ?? 0);
  return { fleet, store, rowsWritten, die };
}

function connect(fleet: Fleet, id: string, options: StreamOptions = {}): ScriptedStream {
  const stream = new ScriptedStream(fleet, id, { openedAt: Date.now(), ...options });
  fleet.opened(stream);
  stream.ack(10);
  return stream;
}

describe.each([
  { name: "with hints", notify: true },
  { name: "by polling alone", notify: false },
])("two replicas on one Postgres, $name", ({ notify }) => {
  test("a wait on one sees the Envoys of the other, acked, lagging and refused", async () => {
    const { url } = await freshDatabase();
    const feed = new ScriptedFeed();
    const [a, b] = [await startReplica("a", url, feed, notify), await startReplica("b", url, feed, notify)];
    const [near, far] = [connect(a.fleet, "e1"), connect(b.fleet, "e2")];
    feed.revision(11, ["cluster/a"]);
    for (const { fleet } of [a, b]) fleet.published(11);
    near.ack(11);
    expect(await a.fleet.waitSync(11, 400)).toMatchObject({
      state: "pending",
      gateways: { edge: { total: 2, acked: 1, lagging: ["e2"] } },
    });
    const wait = a.fleet.waitSync(11, 10_000);
    const acked = performance.now();
    far.ack(11);
    expect(await wait).toMatchObject({ state: "acked", gateways: { edge: { total: 2, acked: 2, lagging: [] } } });
    expect(performance.now() - acked).toBeLessThan(3_000);

    feed.revision(12, ["cluster/b"]);
    for (const { fleet } of [a, b]) fleet.published(12);
    far.lacks(12, "cluster", "b", { detail: "no such thing" });
    expect(await a.fleet.waitSync(12, 10_000)).toMatchObject({
      state: "refused",
      gateways: { edge: { refused: [{ node: "e2", resource: "b", detail: "no such thing" }] } },
    });
  });

  test("a replica that died holds a wait until its lease is over, and no longer", async () => {
    const { url } = await freshDatabase();
    const feed = new ScriptedFeed();
    const leaseMs = 1_500;
    const [a, b] = [await startReplica("a", url, feed, notify, leaseMs), await startReplica("b", url, feed, notify, leaseMs)];
    connect(b.fleet, "e2");
    await waitFor("e2 is known", async () => (await a.fleet.node("e2")) !== undefined);
    await b.die();
    feed.revision(11, ["cluster/a"]);
    a.fleet.published(11);
    expect(await a.fleet.waitSync(11, 100)).toMatchObject({ state: "pending", replicasBehind: ["b"] });
    expect(await a.fleet.waitSync(11, 10_000)).toMatchObject({ state: "acked", gateways: {} });
    expect(await a.fleet.node("e2")).toMatchObject({ connected: false, replica: "b" });
  });
});

test("3,000 Envoys that ack one change cost the database a handful of rows", async () => {
  const { url } = await freshDatabase();
  const feed = new ScriptedFeed();
  const { fleet, rowsWritten } = await startReplica("a", url, feed, true);
  const streams = Array.from({ length: 3_000 }, (_, index) => connect(fleet, `e${index}`));
  await waitFor("all nodes are written", async () => (await rowsWritten("nodes")) >= 3_000);
  const [nodes, syncs] = [await rowsWritten("nodes"), await rowsWritten("sync")];
  feed.revision(11, ["cluster/a"]);
  const started = performance.now();
  fleet.published(11);
  const wait = fleet.waitSync(11, 10_000);
  for (const stream of streams) stream.ack(11);
  expect(await wait).toMatchObject({ state: "acked", gateways: { edge: { total: 3_000, acked: 3_000 } } });
  expect(performance.now() - started).toBeLessThan(5_000);
  // One row per flush while somebody waits; of the Envoys themselves only the beat's bounded round (200 rows).
  expect((await rowsWritten("sync")) - syncs).toBeLessThan(50);
  expect((await rowsWritten("nodes")) - nodes).toBeLessThanOrEqual(400);
});

test("an Envoy that moves is listed once, where its newest stream is", async () => {
  const { url } = await freshDatabase();
  const feed = new ScriptedFeed();
  const [a, b] = [await startReplica("a", url, feed, true), await startReplica("b", url, feed, true)];
  connect(a.fleet, "e1");
  await waitFor("a has written it", async () => (await a.store.status.nodes({ id: "e1" }))[0]?.replica === "a");
  connect(b.fleet, "e1"); // Half open on a, which does not know yet.
  await waitFor("b has taken it over", async () => (await a.store.status.nodes({ id: "e1" }))[0]?.replica === "b");
  for (const { fleet } of [a, b])
    expect((await fleet.nodes()).items).toMatchObject([{ id: "e1", replica: "b", connected: true, ackedRevision: 10 }]);
});
