// A database that is away: 503 with Retry-After within a bound, the truth about what was changed, and work again when it is back.
import { expect, test } from "vitest";
import { databaseProxy, freshDatabase } from "../support/postgres.js";
import { startApi } from "./api-under-test.js";

async function apiBehindProxy() {
  const database = await freshDatabase();
  const proxy = await databaseProxy(database.url);
  const it = await startApi({ databaseUrl: proxy.url, connectTimeoutMs: 500, queryTimeoutMs: 1_000 });
  await it.api.post("/v1/clusters", { name: "a" });
  return { it, proxy };
}

test.each(["closed", "silent"] as const)(
  "with the database %s every call is 503 in time, and goes on when it is back",
  async (state) => {
    const { it, proxy } = await apiBehindProxy();
    proxy.become(state);
    const calls: readonly (readonly [string, string, unknown?])[] = [
      ["GET", "/v1/clusters"],
      ["GET", "/v1/clusters/a"],
      ["PUT", "/v1/clusters/a", { connectTimeoutMs: 7 }],
      ["PUT", "/v1/clusters/a?wait=acked", { connectTimeoutMs: 7 }],
      ["DELETE", "/v1/clusters/a"],
    ];
    for (const [method, path, body] of calls) {
      const startedAt = performance.now();
      const answer = await it.api.call(method, path, body);
      expect([method, path, answer.status, answer.headers.get("retry-after"), answer.body]).toMatchObject([
        method,
        path,
        503,
        "1",
        { code: "database_unavailable" },
      ]);
      expect(answer.text).not.toContain("ECONN");
      expect(performance.now() - startedAt).toBeLessThan(8_000);
    }
    expect((await it.api.call("GET", "/healthz")).status).toBe(200);
    expect((await it.api.call("POST", "/v1/clusters", {})).status).toBe(422);
    proxy.become("pass");
    await expect.poll(async () => (await it.api.call("GET", "/v1/clusters/a")).status, { timeout: 10_000 }).toBe(200);
    expect(await it.api.get("/v1/clusters/a")).toMatchObject({ connectTimeoutMs: 5000 });
    expect((await it.api.put("/v1/clusters/a", { connectTimeoutMs: 7 })).changed).toBe(true);
    await it.close();
  },
);

test("when the answer to a commit is lost, the outcome is told as it is", async () => {
  const { it, proxy } = await apiBehindProxy();
  // The commit arrives, and its answer does not: the connections end, and nobody can be asked.
  proxy.whenSent("commit_revision", () => proxy.become("silent"));
  const answer = await it.api.call("PUT", "/v1/clusters/a", { connectTimeoutMs: 9 });
  expect([answer.status, answer.body]).toMatchObject([503, { code: "database_unavailable", outcome: "unknown" }]);
  proxy.become("pass");
  await expect
    .poll(async () => (await it.api.call("GET", "/v1/clusters/a")).body, { timeout: 10_000 })
    .toMatchObject({ connectTimeoutMs: 9 });
  await it.close();
});
