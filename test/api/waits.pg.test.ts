// `?wait=acked`: what the Envoys answered, told truthfully, whatever becomes of the wait.
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { AppError } from "../../src/errors.js";
import { type ApiUnderTest, startApi, synced } from "./api-under-test.js";

let it: ApiUnderTest;
const waited: { revision: number; timeoutMs: number }[] = [];
beforeAll(async () => {
  it = await startApi({ limits: { maxWaits: 2 } });
});
afterAll(() => it.close());
beforeEach(() => {
  waited.length = 0;
  it.fleet.waitSync = async (revision, timeoutMs) => {
    waited.push({ revision, timeoutMs });
    return synced(revision, "acked");
  };
});
const put = (query: string, connectTimeoutMs: number) => it.api.call("PUT", `/v1/clusters/waited?${query}`, { connectTimeoutMs });

test("without a wait nothing is waited for", async () => {
  const answer = await put("", 1);
  expect(answer.status).toBe(201);
  expect(answer.body).not.toHaveProperty("sync");
  expect(waited).toEqual([]);
});

test("200 when all have it, with the revision that was made", async () => {
  const answer = await put("wait=acked", 2);
  const { revision } = answer.body as { revision: number };
  expect([answer.status, answer.body]).toMatchObject([200, { changed: true, sync: { revision, state: "acked" } }]);
  expect(waited).toEqual([{ revision, timeoutMs: expect.closeTo(10_000, -3) }]); // What is left of the time, when the write is done.
});

test("a write that changes nothing waits for the revision in which the object last changed", async () => {
  const { revision } = (await put("wait=acked", 3)).body as { revision: number };
  await it.api.put("/v1/clusters/other", {});
  expect((await put("wait=acked&timeoutMs=5", 3)).body).toMatchObject({ changed: false, revision, sync: { revision } });
  expect(waited.at(-1)).toEqual({ revision, timeoutMs: 5 });
});

test("202 when the time is over", async () => {
  const gateways = { edge: { total: 2, acked: 1, refused: [], lagging: ["edge-2"], gone: [] } };
  it.fleet.waitSync = async (revision) => synced(revision, "pending", { gateways });
  expect(await put("wait=acked", 4)).toMatchObject({ status: 202, body: { sync: { state: "pending", gateways } } });
});

test("409 when an Envoy refused, in its own words, and the change is there", async () => {
  const refused = [{ node: "edge-1", type: "cluster" as const, resource: "waited", detail: "ring size: minimum above maximum" }];
  const gateways = { edge: { total: 1, acked: 0, refused, lagging: [], gone: [] } };
  it.fleet.waitSync = async (revision) => synced(revision, "refused", { gateways });
  const answer = await put("wait=acked", 5);
  const { revision } = (await it.store.head()) as { revision: number };
  expect(answer).toMatchObject({
    status: 409,
    body: { code: "refused_by_envoy", revision, changed: true, object: { connectTimeoutMs: 5 }, sync: { gateways }, errors: [] },
  });
  expect((answer.body as { detail: string }).detail).toContain("edge-1 refused cluster waited: ring size: minimum above maximum");
  expect(answer.headers.get("content-type")).toContain("application/problem+json");
  expect(await it.api.get("/v1/clusters/waited")).toMatchObject({ connectTimeoutMs: 5 });
});

test("every mutating call waits", async () => {
  const calls: readonly (readonly [string, string, unknown?])[] = [
    ["POST", "/v1/clusters", { name: "all", endpoints: [{ address: "10.0.0.1", port: 80 }] }],
    ["PUT", "/v1/clusters/all/endpoints/10.0.0.2:80", {}],
    ["PUT", "/v1/clusters/all/endpoints", { endpoints: [] }],
    ["PATCH", "/v1/clusters/all/endpoints", { upsert: [{ address: "10.0.0.1", port: 80 }] }],
    ["DELETE", "/v1/clusters/all/endpoints/10.0.0.1:80"],
    ["POST", "/v1/listeners", { name: "all", port: 1, protocol: "http", gateways: ["edge"] }],
    ["PUT", "/v1/listeners/all", { port: 2, protocol: "http", gateways: ["edge"] }],
    ["POST", "/v1/routes", { name: "all", protocol: "http", listeners: ["all"], backends: [{ cluster: "all" }] }],
    ["PUT", "/v1/routes/all", { protocol: "http", priority: 1, listeners: ["all"], backends: [{ cluster: "all" }] }],
    ["PUT", "/v1/routes/all/weights", { weights: { all: 7 } }],
    ["DELETE", "/v1/routes/all"],
    ["DELETE", "/v1/listeners/all"],
    ["DELETE", "/v1/clusters/all"],
  ];
  for (const [method, path, body] of calls) {
    const answer = await it.api.call(method, `${path}?wait=acked&override=emptied`, body);
    const { revision } = answer.body as { revision: number };
    expect([method, path, answer.status, answer.body]).toMatchObject([
      method,
      path,
      200,
      { changed: true, sync: { state: "acked", revision } },
    ]);
  }
  expect(waited).toHaveLength(calls.length);
});

test("a wait that breaks does not make a failure of a write that is committed", async () => {
  it.fleet.waitSync = async () => {
    throw new AppError("database_unavailable");
  };
  expect(await put("wait=acked", 6)).toMatchObject({ status: 202, body: { changed: true, sync: { state: "pending" } } });
});

test("bad waits are refused before anything is written", async () => {
  const before = (await it.store.head()).revision;
  for (const query of [
    "wait=yes",
    "wait=acked&timeoutMs=-1",
    "wait=acked&timeoutMs=120001",
    "wait=acked&timeoutMs=1.5",
    "wiat=acked",
  ]) {
    expect([query, (await put(query, 77)).status]).toEqual([query, 400]);
  }
  expect((await it.store.head()).revision).toBe(before);
});

test("one caller too many is told so before anything is written, and those who wait end when they hang up", async () => {
  let open = 0;
  it.fleet.waitSync = (revision, _, signal) =>
    new Promise((resolve) => {
      open++;
      signal?.addEventListener("abort", () => {
        open--;
        resolve(synced(revision, "pending"));
      });
    });
  const hangUp = new AbortController();
  const waits = [1, 2].map((at) =>
    fetch(`${it.api.url}/v1/clusters/wait-${at}?wait=acked`, {
      method: "PUT",
      body: "{}",
      headers: { "content-type": "application/json" },
      signal: hangUp.signal,
    }),
  );
  await expect.poll(() => open).toBe(2);
  const refused = await put("wait=acked", 88);
  expect([refused.status, refused.headers.get("retry-after"), refused.body]).toMatchObject([
    429,
    "1",
    { code: "too_many_requests" },
  ]);
  expect(await it.api.get("/v1/clusters/waited")).toMatchObject({ connectTimeoutMs: 6 });
  expect((await put("", 8)).status).toBe(200);
  hangUp.abort();
  await Promise.allSettled(waits);
  await expect.poll(() => open).toBe(0);
});

test("closing the server ends waits with what they have", async () => {
  const other = await startApi({ databaseUrl: it.databaseUrl });
  let waiting = false;
  other.fleet.waitSync = (revision, _, signal) =>
    new Promise((resolve) => {
      waiting = true;
      signal?.addEventListener("abort", () => resolve(synced(revision, "pending")));
    });
  const answer = other.api.call("PUT", "/v1/clusters/closing?wait=acked&timeoutMs=60000", {});
  await expect.poll(() => waiting).toBe(true);
  await other.close();
  expect((await answer).status).toBe(202);
});
