// The feed and the full load: nothing is missed, another history is noticed, a partial read is never taken for the truth.
// All of it works by polling alone; notices are tried on their own.

import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { kinds } from "../../src/model/revision.js";
import { StateMismatch, type Store } from "../../src/store/store.js";
import { isPortable } from "../support/database-mode.js";
import { databaseProxy, freshDatabase, sql } from "../support/postgres.js";
import { waitFor } from "../support/wait.js";
import { author, cluster, endpoint, listener, openStore, route } from "./samples.js";

const start = { revision: 0, id: "" };

async function withRevisions(count: number, more: Parameters<typeof openStore>[1] = {}): Promise<{ url: string; store: Store }> {
  const { url } = await freshDatabase();
  const store = await openStore(url, more);
  for (let n = 1; n <= count; n++) await store.write(author, (tx) => tx.put("cluster", cluster("api", { connectTimeoutMs: n })));
  return { url, store };
}

test("an empty database is at revision 0, and the feed says so", async () => {
  const { store } = await withRevisions(0);
  expect(await store.head()).toEqual(start);
  expect(await store.readAfter(start, 10)).toEqual({ kind: "next", revisions: [], head: 0 });
  const none = { nodeDrains: [], overlays: [], clusters: [], endpoints: [], listeners: [], routes: [], pastRoutes: [] };
  expect(await store.loadState()).toEqual({ ...start, ...none });
});

test("a replica that is far behind catches up in whole revisions, in order", async () => {
  const { store } = await withRevisions(7);
  await store.write(author, async (tx) => {
    await tx.putAll("endpoint", [endpoint("api", 1), endpoint("api", 2), endpoint("api", 3)]);
    await tx.put("listener", listener("web", 80));
    await tx.put("route", route("checkout", ["web"], [{ cluster: "api", weight: 1 }]));
  });
  const sizes: number[] = [];
  let at = start;
  for (;;) {
    const answer = await store.readAfter(at, 3);
    if (answer.kind !== "next" || answer.revisions.length === 0) break;
    expect(answer.head).toBe(8);
    expect(answer.revisions.map(({ revision }) => revision)).toEqual(answer.revisions.map((_, n) => at.revision + 1 + n));
    sizes.push(answer.revisions.length);
    at = answer.revisions.at(-1) ?? at;
    if (at.revision === 8)
      expect(answer.revisions.at(-1)?.changes.map(({ kind }) => kind)).toEqual([
        "endpoint",
        "endpoint",
        "endpoint",
        "listener",
        "route",
      ]);
  }
  expect(sizes).toEqual([3, 3, 2]);
  expect(at).toMatchObject(await store.head());
});

test("a change carries the object before and after, as the model has it", async () => {
  const { store } = await withRevisions(2);
  const answer = await store.readAfter(start, 10);
  expect(answer.kind === "next" && answer.revisions[1]?.changes).toStrictEqual([
    {
      kind: "cluster",
      name: "api",
      before: cluster("api", { connectTimeoutMs: 1 }),
      after: cluster("api", { connectTimeoutMs: 2 }),
    },
  ]);
});

test("another history is noticed: our revision with another id, missing, above the head, or with a gap after it", async () => {
  const { url, store } = await withRevisions(3);
  const known = await store.head();
  expect((await store.readAfter(known, 10)).kind).toBe("next");
  expect((await store.readAfter({ ...known, id: randomUUID() }, 10)).kind).toBe("other-history");
  expect((await store.readAfter({ revision: 2, id: known.id }, 10)).kind).toBe("other-history");
  expect((await store.readAfter({ revision: 9, id: known.id }, 10)).kind).toBe("other-history");

  // A failover to a standby that lagged by one revision, where another write then took the same number.
  await sql(
    url,
    "delete from changes where revision = 3; delete from revisions where revision = 3; update revision_counter set n = 2",
  );
  expect((await store.readAfter(known, 10)).kind).toBe("other-history");
  await store.write(author, (tx) => tx.put("cluster", cluster("other")));
  expect((await store.head()).revision).toBe(known.revision);
  expect((await store.readAfter(known, 10)).kind).toBe("other-history");

  await sql(url, "delete from changes where revision = 2; delete from revisions where revision = 2");
  const [first] = await sql<{ id: string }>(url, "select id from revisions where revision = 1");
  expect((await store.readAfter({ revision: 1, id: first?.id ?? "" }, 10)).kind).toBe("other-history");
});

test("a kind that this binary does not know is left out, and the revision still counts", async () => {
  const { url, store } = await withRevisions(1);
  const secret = JSON.stringify([{ kind: "secret", name: "s", before: {} }]);
  await sql(url, "select commit_revision($1, 'newer', 'r', null, $2, false)", [randomUUID(), secret]);
  const answer = await store.readAfter(start, 10);
  expect(answer).toMatchObject({ kind: "next", head: 2, revisions: [{ revision: 1 }, { revision: 2, changes: [] }] });
});

test("rows that disagree with what their revision recorded are refused, whichever kind and way", async () => {
  const faults = [
    "delete from endpoints",
    "delete from routes where name = 'checkout'",
    "delete from listeners where name = 'spare'",
    "insert into clusters (name, spec, revision) values ('extra', '{\"name\": \"extra\"}', 1)",
    "delete from revisions where revision = (select n from revision_counter) ",
    "delete from revision_counter",
  ];
  for (const fault of faults) {
    const { url, store } = await withRevisions(1);
    await store.write(author, async (tx) => {
      await tx.put("endpoint", endpoint("api", 1));
      await tx.putAll("listener", [listener("web", 80), listener("spare", 81)]);
      await tx.put("route", route("checkout", ["web"], [{ cluster: "api", weight: 1 }]));
    });
    const { revision, ...rows } = await store.loadState();
    expect([revision, rows.clusters.length, rows.endpoints.length, rows.listeners.length, rows.routes.length]).toEqual([
      2, 1, 1, 2, 1,
    ]);
    await sql(url, `set session_replication_role = replica; ${fault}`); // Without foreign keys, as damage comes.
    await expect(store.loadState(), fault).rejects.toBeInstanceOf(StateMismatch);
  }
});

test("counts are kept per kind over creations and deletions", async () => {
  const { store } = await withRevisions(1);
  await store.write(author, async (tx) => {
    await tx.putAll("endpoint", [endpoint("api", 1), endpoint("api", 2)]);
    await tx.put("listener", listener("web", 80));
    await tx.put("route", route("a", ["web"], []));
  });
  const { committed } = await store.write(author, async (tx) => {
    await tx.delete("endpoint", "api/10.0.0.7:1");
    await tx.put("endpoint", endpoint("api", 2, { weight: 7 }));
    await tx.delete("route", "a");
    await tx.put("route", route("b", ["web"], []));
    await tx.put("route", route("c", ["web"], []));
  });
  const counts = (await store.read.revision(committed?.revision ?? 0))?.counts;
  expect(kinds.map((kind) => counts?.[kind])).toEqual([1, 1, 1, 2]);
  await store.loadState();
});

test.skipIf(isPortable)(
  "with notices on, a commit is hinted at once, also after the connection for notices was lost",
  async () => {
    const { url } = await freshDatabase();
    const proxy = await databaseProxy(url);
    const listening = await openStore(proxy.url, { notify: true });
    const writing = await openStore(url, { notify: true });
    const hints = { revision: 0, sync: 0 };
    const stop = listening.onRevisionHint(() => void (hints.revision += 1));
    listening.onSyncHint(() => void (hints.sync += 1));
    await waitFor("the hint that comes with the connection", () => hints.revision > 0 && hints.sync > 0);

    const before = hints.revision;
    await writing.write(author, (tx) => tx.put("cluster", cluster("api")));
    await waitFor("the hint of the commit", () => hints.revision > before, { timeoutMs: 2_000, everyMs: 2 });
    await writing.status.saveSync("r1", [
      { replica: "r1", gateway: "edge", revision: 1, sync: { total: 0, acked: 0, refused: [], lagging: [], gone: [] } },
    ]);
    await waitFor("the hint of the sync", () => hints.sync > 1, { timeoutMs: 2_000, everyMs: 2 });

    const atLoss = hints.revision;
    proxy.become("closed");
    proxy.become("pass");
    await waitFor("the hint after the reconnect", () => hints.revision > atLoss);
    stop();
  },
);

test.skipIf(isPortable)("with notices off nothing is sent, even where NOTIFY is forbidden", async () => {
  const { url, store } = await withRevisions(0);
  await sql(
    url,
    `create schema shadow; create function shadow.pg_notify(text, text) returns void language plpgsql as $$ begin raise exception 'no NOTIFY here'; end $$;
     alter database ${new URL(url).pathname.slice(1)} set search_path = shadow, pg_catalog, public`,
  );
  const portable = await openStore(url);
  await portable.write(author, (tx) => tx.put("cluster", cluster("api")));
  await portable.status.saveSync("r1", [
    { replica: "r1", gateway: "edge", revision: 1, sync: { total: 0, acked: 0, refused: [], lagging: [], gone: [] } },
  ]);
  expect(await store.readAfter(start, 10)).toMatchObject({ kind: "next", head: 1 });
  const noticing = await openStore(url, { notify: true });
  await expect(noticing.write(author, (tx) => tx.put("cluster", cluster("b")))).rejects.toThrow(); // The shadow is in the way: the test can fail.
});
