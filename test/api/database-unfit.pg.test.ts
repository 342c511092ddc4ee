// A database that answers and takes nothing: read-only, as a standby or after its disk was nearly full, or out of connections. Writes get
// 503 with Retry-After in time, and all works again without a hand.
import { randomUUID } from "node:crypto";
import { expect, inject, test } from "vitest";
import { onCleanup } from "../support/cleanup.js";
import { isPooled } from "../support/database-mode.js";
import { freshDatabase, sql } from "../support/postgres.js";
import { startApi } from "./api-under-test.js";

const administer = (statement: string) => sql(inject("postgresUrl"), statement);
const cut = (name: string) => administer(`select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`);

test("read-only: reads go on, writes are 503 with Retry-After, and go on when it is not any more", async () => {
  const { url } = await freshDatabase();
  const name = new URL(url).pathname.slice(1);
  const it = await startApi({ databaseUrl: url, connectTimeoutMs: 500, queryTimeoutMs: 1_000 });
  await it.api.post("/v1/clusters", { name: "a" });
  await administer(`alter database ${name} set default_transaction_read_only = on`);
  await cut(name);
  const startedAt = performance.now();
  const refused = await it.api.call("PUT", "/v1/clusters/a", { connectTimeoutMs: 7 });
  expect([refused.status, refused.headers.get("retry-after"), refused.body]).toMatchObject([
    503,
    "1",
    { code: "database_unavailable" },
  ]);
  expect(performance.now() - startedAt).toBeLessThan(8_000);
  expect((await it.api.call("GET", "/v1/clusters/a")).status).toBe(200);
  await administer(`alter database ${name} reset default_transaction_read_only`);
  await cut(name);
  await expect
    .poll(async () => (await it.api.call("PUT", "/v1/clusters/a", { connectTimeoutMs: 7 })).status, { timeout: 10_000 })
    .toBe(200);
  await it.close();
});

// A pooler is what has the connections, so their number is its matter.
test.skipIf(isPooled)("out of connections: 503 with Retry-After in time, and it goes on when there are some", async () => {
  const { url } = await freshDatabase();
  const name = new URL(url).pathname.slice(1);
  const role = `role_${randomUUID().replaceAll("-", "")}`; // A superuser gets in beyond every limit.
  await sql(url, `create role ${role} login password 'limited'; grant all on all tables in schema public to ${role}`);
  onCleanup("role", () => sql(url, `drop owned by ${role}; drop role ${role}`).then(() => {}));
  const limited = new URL(url);
  limited.username = role;
  limited.password = "limited";
  const it = await startApi({ databaseUrl: limited.href, connectTimeoutMs: 500, queryTimeoutMs: 1_000 });
  await it.api.post("/v1/clusters", { name: "a" });
  await administer(`alter role ${role} connection limit 0`);
  await cut(name);
  for (const [method, body] of [["GET"], ["PUT", { connectTimeoutMs: 7 }]] as const) {
    const startedAt = performance.now();
    const refused = await it.api.call(method, "/v1/clusters/a", body);
    expect([method, refused.status, refused.headers.get("retry-after")]).toEqual([method, 503, "1"]);
    expect(performance.now() - startedAt).toBeLessThan(8_000);
  }
  await administer(`alter role ${role} connection limit -1`);
  await expect
    .poll(async () => (await it.api.call("PUT", "/v1/clusters/a", { connectTimeoutMs: 7 })).status, { timeout: 10_000 })
    .toBe(200);
  await it.close();
});
