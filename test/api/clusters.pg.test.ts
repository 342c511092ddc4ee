// Calls on clusters: good and bad, with everything that is wrong told at once, and nothing changed by a refusal.
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ApiUnderTest, faults, startApi } from "./api-under-test.js";

let it: ApiUnderTest;
beforeAll(async () => {
  it = await startApi();
});
afterAll(() => it.close());
const call = (method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
  it.api.call(method, path, body, headers);

test("a cluster is created with its defaults and its endpoints, and shown without them", async () => {
  const created = await call("POST", "/v1/clusters", {
    name: "shop",
    endpoints: [
      { address: "10.0.0.1", port: 80 },
      { address: "FD00:0::7", port: 80, enabled: false },
    ],
  });
  expect(created.status).toBe(201);
  const shown = {
    name: "shop",
    protocol: "http",
    connectTimeoutMs: 5000,
    loadBalancing: { policy: "least-request", choiceCount: 2 },
    healthChecks: [],
    circuitBreakers: { maxConnections: 1024, maxPendingRequests: 1024, maxRequests: 1024, maxRetries: 64 },
    drain: { atDeadline: "leave", timeoutMs: 30_000, sticky: "leave-at-once" },
    slowStartMs: 0,
  };
  expect(created.body).toMatchObject({
    changed: true,
    object: shown,
    lint: [{ code: "no_health_check" }, { code: "one_endpoint" }],
  });
  const { revision } = created.body as { revision: number };
  expect(created.headers.get("etag")).toBe(`"${revision}"`);

  const read = await call("GET", "/v1/clusters/shop");
  expect([read.status, read.headers.get("etag"), read.body]).toEqual([200, `"${revision}"`, shown]);
  const endpoints = await it.api.get<{ endpoints: { address: string }[] }>("/v1/clusters/shop/endpoints");
  expect(endpoints.endpoints.map(({ address }) => address)).toEqual(["10.0.0.1", "fd00::7"]);
});

test("what GET shows, PUT takes, and changes nothing", async () => {
  const full = {
    name: "full",
    protocol: "grpc",
    connectTimeoutMs: 250,
    loadBalancing: { policy: "maglev", tableSize: 65_537 },
    healthChecks: [
      { kind: "tcp", send: "ping", receive: ["pong"], port: 81, unhealthyIntervalMs: 100 },
      {
        kind: "http",
        path: "/health?deep=1",
        host: "h:80",
        headers: [{ name: "X-A", value: "b" }],
        expectedStatuses: [{ from: 204, to: 204 }],
        bodyContains: "ok",
      },
      { kind: "grpc", service: "shop.v1" },
    ],
    outlierDetection: { consecutiveGatewayFailures: 3 },
  };
  const created = await it.api.post("/v1/clusters", full);
  const shown = await it.api.get<Record<string, unknown>>("/v1/clusters/full");
  const again = await call("PUT", "/v1/clusters/full", shown);
  expect(again.status).toBe(200);
  expect(again.body).toMatchObject({ changed: false, revision: created.revision, object: shown });
  expect(again.headers.get("etag")).toBe(`"${created.revision}"`);
  expect((await it.store.head()).revision).toBe(created.revision);
});

test("PUT creates with 201, replaces with 200, and its name may be left to the path", async () => {
  expect((await call("PUT", "/v1/clusters/put", {})).status).toBe(201);
  const replaced = await call("PUT", "/v1/clusters/put", { name: "put", connectTimeoutMs: 7 });
  expect([replaced.status, replaced.body]).toMatchObject([200, { changed: true, object: { connectTimeoutMs: 7 } }]);
  const differs = await call("PUT", "/v1/clusters/put", { name: "other" });
  expect([differs.status, faults(differs.body)]).toEqual([422, ["name_differs /name"]]);
  expect(faults((await call("PUT", "/v1/clusters/PUT", {})).body)).toEqual(["wrong_format /name"]);
});

test("everything that is wrong is told at once, in the branch that was chosen only", async () => {
  const refused = await call("POST", "/v1/clusters", {
    name: "Shop",
    protocol: "htp",
    timeoutMs: 5,
    connectTimeoutMs: "5000",
    loadBalancing: { policy: "maglev", tableSize: 1, choiceCount: 2 },
    healthChecks: [{ kind: "http", intervalMs: 0, expectedStatuses: [{ from: 99 }] }, { kind: "icmp" }, { intervalMs: 1 }],
    endpoints: [
      { address: "backend.internal", port: 0 },
      { address: "0.0.0.0", port: 1, weight: 1.5 },
    ],
  });
  expect(refused.status).toBe(422);
  expect(refused.headers.get("content-type")).toBe("application/problem+json; charset=utf-8");
  expect(refused.body).toMatchObject({ code: "invalid_body", status: 422 });
  expect(faults(refused.body)).toEqual([
    "missing_field /healthChecks/0/expectedStatuses/0/to",
    "missing_field /healthChecks/0/path",
    "missing_field /healthChecks/2/kind",
    "not_one_of /healthChecks/1/kind",
    "not_one_of /protocol",
    "out_of_range /endpoints/0/port",
    "out_of_range /healthChecks/0/expectedStatuses/0/from",
    "out_of_range /healthChecks/0/intervalMs",
    "out_of_range /loadBalancing/tableSize",
    "unknown_field /loadBalancing/choiceCount",
    "unknown_field /timeoutMs",
    "wrong_format /endpoints/0/address",
    "wrong_format /endpoints/1/address",
    "wrong_format /name",
    "wrong_type /connectTimeoutMs",
    "wrong_type /endpoints/1/weight",
  ]);
  expect(refused.text).toContain("did you mean http?");
  expect(refused.text).toContain("host names are not resolved");
});

test("rules beyond the shape are told at once too", async () => {
  const refused = await call("POST", "/v1/clusters", {
    name: "rules",
    loadBalancing: { policy: "maglev", tableSize: 100 },
    healthChecks: [{ kind: "grpc" }],
    endpoints: [
      { address: "fd00::1", port: 1 },
      { address: "FD00:0::1", port: 1 },
    ],
  });
  expect([refused.status, faults(refused.body)]).toEqual([
    422,
    ["contradiction /healthChecks/0/kind", "duplicate /endpoints/1", "out_of_range /loadBalancing/tableSize"],
  ]);
  expect((await call("GET", "/v1/clusters/rules")).status).toBe(404);
});

test("a name that is taken is 409, and the one who has it stays", async () => {
  await it.api.post("/v1/clusters", { name: "taken", connectTimeoutMs: 1 });
  const refused = await call("POST", "/v1/clusters", { name: "taken", connectTimeoutMs: 2 });
  expect([refused.status, refused.body]).toMatchObject([409, { code: "already_exists", kind: "cluster", name: "taken" }]);
  expect(await it.api.get("/v1/clusters/taken")).toMatchObject({ connectTimeoutMs: 1 });
});

test("inline endpoints are for creation", async () => {
  await it.api.put("/v1/clusters/inline", { endpoints: [{ address: "10.0.0.1", port: 80 }] });
  const refused = await call("PUT", "/v1/clusters/inline", { endpoints: [] });
  expect([refused.status, faults(refused.body)]).toEqual([422, ["contradiction /endpoints"]]);
  expect((await it.api.put("/v1/clusters/inline", { connectTimeoutMs: 1 })).changed).toBe(true);
  expect((await it.api.get<{ endpoints: unknown[] }>("/v1/clusters/inline/endpoints")).endpoints).toHaveLength(1);
});

test("If-Match and If-None-Match decide whether a write goes on", async () => {
  const { revision } = await it.api.put("/v1/clusters/tagged", {});
  const put = (headers: Record<string, string>, connectTimeoutMs: number) =>
    call("PUT", "/v1/clusters/tagged", { connectTimeoutMs }, headers);
  const stale = await put({ "if-match": `"${revision - 1}"` }, 1);
  expect([stale.status, stale.body]).toMatchObject([412, { code: "precondition_failed", current: `"${revision}"` }]);
  expect((await put({ "if-match": '"99999999999999999999"' }, 1)).status).toBe(412);
  expect((await put({ "if-match": "99999999999999999999" }, 1)).status).toBe(400);
  expect((await put({ "if-none-match": "*" }, 1)).status).toBe(412);
  const fresh = await put({ "if-match": `"${revision}"` }, 1);
  expect(fresh.status).toBe(200);
  expect((await put({ "if-match": `"${revision}"` }, 2)).status).toBe(412);
  expect((await call("PUT", "/v1/clusters/not-there", {}, { "if-match": "*" })).status).toBe(412);
  expect((await call("DELETE", "/v1/clusters/tagged", undefined, { "if-match": `"${revision}"` })).status).toBe(412);
  expect((await call("DELETE", "/v1/clusters/tagged", undefined, { "if-match": fresh.headers.get("etag") ?? "" })).status).toBe(
    200,
  );
});

test("a deleted cluster is shown once more, and gone with its endpoints", async () => {
  await it.api.post("/v1/clusters", { name: "gone", endpoints: [{ address: "10.0.0.1", port: 80 }] });
  const deleted = await call("DELETE", "/v1/clusters/gone", undefined, { "content-type": "application/json" });
  expect([deleted.status, deleted.headers.get("etag"), deleted.body]).toMatchObject([
    200,
    null,
    { changed: true, object: { name: "gone" } },
  ]);
  for (const path of ["/v1/clusters/gone", "/v1/clusters/gone/endpoints", "/v1/clusters/gone/endpoints/10.0.0.1:80"])
    expect((await call("GET", path)).status).toBe(404);
  expect((await call("DELETE", "/v1/clusters/gone")).status).toBe(404);
});

test("lists go by name, page by page", async () => {
  const names = ["p-1", "p-2", "p-3"];
  for (const name of names) await it.api.put(`/v1/clusters/${name}`, {});
  const first = await it.api.get<{ items: { name: string }[]; next?: string }>("/v1/clusters?after=p-&limit=2");
  expect([first.items.map(({ name }) => name), first.next]).toEqual([["p-1", "p-2"], "p-2"]);
  const second = await it.api.get<{ items: { name: string }[] }>("/v1/clusters?after=p-2&limit=1");
  expect(second.items.map(({ name }) => name)).toEqual(["p-3"]);
  for (const query of ["limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "lmit=1", "limit=1e3"]) {
    const refused = await call("GET", `/v1/clusters?${query}`);
    expect([query, refused.status, (refused.body as { code: string }).code]).toEqual([query, 400, "invalid_query"]);
  }
});

test("author, reason and request id are kept with the revision", async () => {
  const headers = { "x-chancery-author": "deploy-bot", "x-chancery-reason": "weekly", "x-request-id": "job-17" };
  const answer = await call("PUT", "/v1/clusters/authored", {}, headers);
  expect(answer.headers.get("x-request-id")).toBe("job-17");
  const { revision } = answer.body as { revision: number };
  expect(await it.store.read.revision(revision)).toMatchObject({ author: "deploy-bot", reason: "weekly", requestId: "job-17" });
  expect((await call("PUT", "/v1/clusters/authored", {}, { "x-chancery-author": "x".repeat(129) })).status).toBe(400);
});

test("a tcp cluster that closes at the deadline has checks that connect anew, by default, and says how fast it closes", async () => {
  const body = { name: "mq", protocol: "tcp", drain: { atDeadline: "close", timeoutMs: 0 }, healthChecks: [{ kind: "tcp" }] };
  const created = await call("POST", "/v1/clusters", body);
  expect([created.status, (created.body as { lint: unknown[] }).lint]).toMatchObject([201, [{ code: "no_endpoint" }]]);
  const shown = await it.api.get<object>("/v1/clusters/mq");
  expect(shown).toMatchObject({
    healthChecks: [{ reuseConnection: false }],
    drain: { atDeadline: "close", timeoutMs: 0, sticky: "leave-at-once" },
  });
  expect((await call("PUT", "/v1/clusters/mq", shown)).body).toMatchObject({ changed: false });
  expect(await it.api.get("/v1/clusters/mq/status")).toMatchObject({
    drain: { guarantee: { kind: "kill-switch", closesWithinMs: 1_000 + 2 * 6_000 } },
  });

  const keeping = { ...body, healthChecks: [{ kind: "tcp", reuseConnection: true }] };
  expect(faults((await call("PUT", "/v1/clusters/mq", keeping)).body)).toEqual(["contradiction /healthChecks/0/reuseConnection"]);
  expect(faults((await call("PUT", "/v1/clusters/mq", { ...body, healthChecks: [] })).body)).toEqual([
    "contradiction /healthChecks",
  ]);
  const left = await call("PUT", "/v1/clusters/mq", { protocol: "tcp", healthChecks: [{ kind: "tcp" }] });
  expect(left.body).toMatchObject({ lint: [{ code: "left_open_at_deadline", pointer: "/drain" }] });
  const status = await it.api.get<{ drain: { guarantee: object } }>("/v1/clusters/mq/status");
  expect(status.drain.guarantee).toMatchObject({ kind: "left-open" });
  expect(status.drain.guarantee).not.toHaveProperty("closesWithinMs");
});
