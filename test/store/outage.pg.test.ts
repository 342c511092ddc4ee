// A database that is away, silent, or lost in the middle of a commit: every call ends in bounded time, and says what is known.
import { expect, test } from "vitest";
import { injectNothing } from "../support/database-mode.js";
import { databaseProxy, freshDatabase, sql } from "../support/postgres.js";
import { waitFor } from "../support/wait.js";
import { author, cluster, openStore } from "./samples.js";

const limits = { connectTimeoutMs: 500, queryTimeoutMs: 800 };

async function timed(call: Promise<unknown>): Promise<{ error: unknown; ms: number }> {
  const startedAt = performance.now();
  const error = await call.then(
    () => undefined,
    (failure: unknown) => failure,
  );
  return { error, ms: performance.now() - startedAt };
}

test("a database that refuses connections is database_unavailable at once, for every kind of call", async () => {
  const { url } = await freshDatabase();
  const proxy = await databaseProxy(url);
  proxy.become("closed");
  const store = await openStore(proxy.url, { ...limits, notify: true });
  const calls = [
    store.head(),
    store.loadState(),
    store.readAfter({ revision: 0, id: "" }, 10),
    store.read.get("cluster", "api"),
    store.write(author, (tx) => tx.put("cluster", cluster("api"))),
    store.status.liveReplicas(),
  ];
  for (const { error, ms } of await Promise.all(calls.map(timed))) {
    expect(error).toMatchObject({ code: "database_unavailable", facts: {} });
    expect(ms).toBeLessThan(1_000);
  }
  proxy.become("pass");
  await store.write(author, (tx) => tx.put("cluster", cluster("api")));
});

test("a database that does not answer is given up after the limits, and works again when it does", async () => {
  const { url } = await freshDatabase();
  const proxy = await databaseProxy(url);
  const store = await openStore(proxy.url, { ...limits, apiPoolSize: 2 });
  await store.write(author, (tx) => tx.put("cluster", cluster("api")));
  proxy.become("silent");
  const onOpenConnections = await Promise.all([timed(store.read.get("cluster", "api")), timed(store.head())]);
  const onNewOnes = await Promise.all([
    timed(store.read.get("cluster", "api")),
    timed(store.write(author, (tx) => tx.put("cluster", cluster("b")))),
  ]);
  for (const { error, ms } of [...onOpenConnections, ...onNewOnes]) {
    expect(error).toMatchObject({ code: "database_unavailable" });
    expect(ms).toBeLessThan(limits.connectTimeoutMs + limits.queryTimeoutMs + 500);
  }
  proxy.become("pass");
  expect((await store.read.get("cluster", "api"))?.object.name).toBe("api");
});

test("with every connection busy, a call waits no longer than the limit", async () => {
  const { url } = await freshDatabase();
  await sql(url, injectNothing);
  const store = await openStore(url, { ...limits, apiPoolSize: 1, queryTimeoutMs: 5_000 });
  let free = (): void => {};
  const busy = store.write(author, async (tx) => {
    await tx.put("cluster", cluster("busy"));
    await new Promise<void>((done) => (free = done));
  });
  const { error, ms } = await timed(store.read.get("cluster", "busy"));
  expect(error).toMatchObject({ code: "database_unavailable" });
  expect(ms).toBeLessThan(1_000);
  expect((await store.head()).revision).toBe(0); // The feed has connections of its own.
  free();
  expect((await busy).committed?.revision).toBe(1);
});

test("a connection lost before the commit changes nothing, and the error does not say that it might have", async () => {
  const { url } = await freshDatabase();
  await sql(url, injectNothing);
  const proxy = await databaseProxy(url);
  const store = await openStore(proxy.url, limits);
  proxy.whenSent("insert into clusters", () => proxy.become("closed"));
  const { error } = await timed(store.write(author, (tx) => tx.put("cluster", cluster("api"))));
  expect(error).toMatchObject({ code: "database_unavailable", facts: {} });
  expect(await sql(url, "select * from clusters")).toEqual([]);
});

test("a commit whose answer is lost is looked up, and told as committed", async () => {
  const { url } = await freshDatabase();
  await sql(url, injectNothing);
  const proxy = await databaseProxy(url);
  const store = await openStore(proxy.url, limits);
  proxy.whenSent("commit_revision", () => {
    proxy.become("silent");
    void waitFor("the commit", async () => (await sql(url, "select from revisions")).length > 0).then(() => {
      proxy.become("closed");
      proxy.become("pass");
    });
  });
  const { committed } = await store.write(author, (tx) => tx.put("cluster", cluster("api")));
  expect(committed).toEqual(await store.head());
  expect(committed?.revision).toBe(1);
});

test("a commit that nobody can ask about says that its outcome is unknown", async () => {
  const { url } = await freshDatabase();
  await sql(url, injectNothing);
  const proxy = await databaseProxy(url);
  const store = await openStore(proxy.url, limits);
  proxy.whenSent("commit_revision", () => proxy.become("closed"));
  const { error, ms } = await timed(store.write(author, (tx) => tx.put("cluster", cluster("api"))));
  expect(error).toMatchObject({ code: "database_unavailable", facts: { outcome: "unknown" } });
  expect(ms).toBeLessThan(2_000);
});

test("an empty database says that it needs its migrations", async () => {
  const { url } = await freshDatabase();
  await sql(url, "drop table revision_counter");
  const store = await openStore(url, limits);
  await expect(store.head()).rejects.toMatchObject({
    code: "database_unavailable",
    facts: { detail: expect.stringContaining("chancery migrate") },
  });
});

test("connections that the server ends while idle are replaced without a failed call", async () => {
  const { url } = await freshDatabase();
  const store = await openStore(url);
  await Promise.all(Array.from({ length: 4 }, () => store.read.get("cluster", "api")));
  await sql(
    url,
    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
  );
  await waitFor("the pool to notice", async () => store.head());
  await store.write(author, (tx) => tx.put("cluster", cluster("api")));
});
