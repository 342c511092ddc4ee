// The status tables: leases on the database's clock, the newest stream wins, and only live replicas are believed.
import { beforeAll, beforeEach, expect, test } from "vitest";
import type { GatewaySync } from "../../src/model/node.js";
import type { NodeRow, Store } from "../../src/store/store.js";
import { freshDatabase, sql } from "../support/postgres.js";
import { openStore } from "./samples.js";

const leaseMs = 60_000;
let url: string;
let store: Store;
beforeAll(async () => {
  ({ url } = await freshDatabase());
  store = await openStore(url);
});
beforeEach(() => sql(url, "truncate replicas, nodes, revision_sync"));

const beat = (id: string, revision = 1): Promise<unknown> =>
  store.status.heartbeat({ id, startedAt: new Date().toISOString(), revision, leaseMs });
const endLease = (id: string): Promise<unknown> =>
  sql(url, "update replicas set lease_until = clock_timestamp() - interval '1 second' where id = $1", [id]);
const ago = (ms: number): string => new Date(Date.now() - ms).toISOString();

function node(id: string, replica: string, more: Partial<NodeRow> = {}): NodeRow {
  return {
    id,
    gateway: "edge",
    replica,
    connected: true,
    since: ago(10_000),
    streams: ["ads-delta"],
    envoyVersion: "1.40.0",
    acked: { cluster: 1, endpoint: 1, listener: 1, route: 1 },
    exceptions: [],
    ...more,
  };
}

const sync: GatewaySync = { total: 1, acked: 1, refused: [], lagging: [], gone: [] };

test("a replica lives as long as its lease, by the database's clock", async () => {
  await beat("r1", 3);
  await beat("r2", 4);
  await beat("r1", 5);
  expect(await store.status.liveReplicas()).toEqual([
    { id: "r1", revision: 5 },
    { id: "r2", revision: 4 },
  ]);
  await endLease("r2");
  expect(await store.status.liveReplicas()).toEqual([{ id: "r1", revision: 5 }]);
  await store.status.removeReplica("r1");
  expect(await store.status.liveReplicas()).toEqual([]);
});

test("a replica that is long dead is forgotten, with all it wrote", async () => {
  await beat("dead");
  await store.status.saveNodes("dead", [node("edge-1", "dead")], []);
  await store.status.saveSync("dead", [{ replica: "dead", gateway: "edge", revision: 1, sync }]);
  await sql(url, "update replicas set lease_until = clock_timestamp() - interval '2 hours'");
  await beat("r1");
  expect(await sql(url, "select id from replicas union select id from nodes union select replica from revision_sync")).toEqual([
    { id: "r1" },
  ]);
});

test("a node comes back as it was saved", async () => {
  await beat("r1");
  const saved = node("edge-1", "r1", {
    exceptions: [
      { type: "cluster", name: "bad", parts: undefined, kind: "refused", revision: 7, detail: "in Envoy's words", at: 5 },
      { type: "route", name: "web", parts: ["checkout"], kind: "held", revision: 7, detail: "", at: 6 },
    ],
  });
  await store.status.saveNodes("r1", [saved], []);
  expect(await store.status.nodes({ id: "edge-1" })).toStrictEqual([saved]);
});

test("nodes are listed by gateway, in pages, by id", async () => {
  await beat("r1");
  await store.status.saveNodes("r1", [node("c", "r1"), node("a", "r1"), node("b", "r1", { gateway: "core" })], []);
  const ids = async (...filter: Parameters<Store["status"]["nodes"]>): Promise<string[]> =>
    (await store.status.nodes(...filter)).map(({ id }) => id);
  expect(await ids()).toEqual(["a", "b", "c"]);
  expect(await ids({ gateway: "edge" })).toEqual(["a", "c"]);
  expect(await ids({ after: "a", limit: 1 })).toEqual(["b"]);
  await store.status.saveNodes("r1", [], ["a", "b"]);
  expect(await ids()).toEqual(["c"]);
});

test("where two replicas claim a node, the newer stream wins, in whatever order they write", async () => {
  await beat("old");
  await beat("new");
  const owner = async (): Promise<unknown> =>
    (await store.status.nodes()).map(({ replica, connected }) => ({ replica, connected }));
  await store.status.saveNodes("old", [node("edge-1", "old", { since: ago(60_000) })], []);
  await store.status.saveNodes("new", [node("edge-1", "new", { since: ago(5_000) })], []);
  expect(await owner()).toEqual([{ replica: "new", connected: true }]);
  await store.status.saveNodes("old", [node("edge-1", "old", { since: ago(60_000), connected: false })], []);
  expect(await owner()).toEqual([{ replica: "new", connected: true }]);
  await store.status.saveNodes("old", [], ["edge-1"]); // It forgets what is no longer its own.
  expect(await owner()).toEqual([{ replica: "new", connected: true }]);
  await store.status.saveNodes("new", [node("edge-1", "new", { connected: false })], []);
  expect(await owner()).toEqual([{ replica: "new", connected: false }]);
});

test("a node of a replica that is gone is not connected, and any other replica may take it", async () => {
  await beat("gone");
  await beat("r1");
  await store.status.saveNodes("gone", [node("edge-1", "gone", { since: ago(1_000) })], []);
  await endLease("gone");
  expect(await store.status.nodes()).toMatchObject([{ replica: "gone", connected: false }]);
  await store.status.saveNodes("r1", [node("edge-1", "r1", { since: ago(60_000) })], []);
  expect(await store.status.nodes()).toMatchObject([{ replica: "r1", connected: true }]);
});

test("sync is overwritten, read per revision, and believed of live replicas only", async () => {
  await beat("r1");
  await beat("r2");
  const row = (
    replica: string,
    gateway: string,
    revision: number,
    acked: number,
  ): { replica: string; gateway: string; revision: number; sync: GatewaySync } => ({
    replica,
    gateway,
    revision,
    sync: { ...sync, total: 2, acked },
  });
  await store.status.saveSync("r1", [row("r1", "edge", 7, 0), row("r1", "core", 7, 0), row("r1", "edge", 8, 0)]);
  await store.status.saveSync("r1", [row("r1", "edge", 7, 2)]);
  await store.status.saveSync("r2", [row("r2", "edge", 7, 1)]);
  expect(await store.status.readSync(7)).toEqual([row("r1", "core", 7, 0), row("r1", "edge", 7, 2), row("r2", "edge", 7, 1)]);
  await endLease("r1");
  expect(await store.status.readSync(7)).toEqual([row("r2", "edge", 7, 1)]);
  await store.status.saveSync("r2", []);
});

test("sync of old revisions does not pile up", async () => {
  await beat("r1");
  for (const revision of [1, 200, 300, 600])
    await store.status.saveSync("r1", [{ replica: "r1", gateway: "edge", revision, sync }]);
  expect(await sql(url, "select revision::int from revision_sync order by revision")).toEqual([{ revision: 600 }]);
});
