// `Idempotency-Key` on every mutating call: done once, answered as the first time; and the commands, which survive a lost answer.
import { createServer, request as send } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { callOnce } from "../../src/cli/api-client.js";
import { freePort } from "../support/ports.js";
import { type ApiUnderTest, startApi, synced } from "./api-under-test.js";

let it: ApiUnderTest;
beforeAll(async () => {
  it = await startApi();
});
afterAll(() => it.close());

const call = (method: string, path: string, key: string, body?: unknown) =>
  it.api.call(method, path, body, { "idempotency-key": key });

test("every mutating call answers a repeat as the first time, and makes no second revision", async () => {
  const calls: readonly (readonly [string, string, unknown?])[] = [
    ["POST", "/v1/clusters", { name: "all", endpoints: [{ address: "10.0.0.1", port: 80 }] }],
    ["PUT", "/v1/clusters/all", { connectTimeoutMs: 7 }],
    ["PUT", "/v1/clusters/all/endpoints/10.0.0.2:80", {}],
    ["PUT", "/v1/clusters/all/endpoints?override=emptied", { endpoints: [] }],
    ["PATCH", "/v1/clusters/all/endpoints", { upsert: [{ address: "10.0.0.1", port: 80 }] }],
    ["DELETE", "/v1/clusters/all/endpoints/10.0.0.1:80"],
    ["POST", "/v1/listeners", { name: "all", port: 1, protocol: "http", gateways: ["edge"] }],
    ["PUT", "/v1/listeners/all", { port: 2, protocol: "http", gateways: ["edge"] }],
    ["POST", "/v1/routes", { name: "all", protocol: "http", listeners: ["all"], backends: [{ cluster: "all" }] }],
    ["PUT", "/v1/routes/all", { protocol: "http", priority: 1, listeners: ["all"], backends: [{ cluster: "all" }] }],
    ["PUT", "/v1/routes/all/weights", { weights: { all: 7 } }],
    ["POST", "/v1/changes", { changes: [{ op: "weights", route: "all", weights: { all: 8 } }] }],
    ["DELETE", "/v1/routes/all"],
    ["DELETE", "/v1/listeners/all"],
    ["DELETE", "/v1/clusters/all"],
  ];
  for (const [at, [method, path, body]] of calls.entries()) {
    const first = await call(method, path, `key-${at}`, body);
    const head = await it.store.head();
    const again = await call(method, path, `key-${at}`, body);
    expect([path, again.status, again.body]).toEqual([path, first.status, first.body]);
    expect([path, again.headers.get("etag")]).toEqual([path, first.headers.get("etag")]);
    expect([first.headers.get("idempotent-replayed"), again.headers.get("idempotent-replayed")]).toEqual([null, "true"]);
    expect([path, await it.store.head()]).toEqual([path, head]);
  }
});

test("the key says nothing of how long a caller waits, and a repeat waits for the first revision", async () => {
  const waited: number[] = [];
  it.fleet.waitSync = async (revision) => {
    waited.push(revision);
    return synced(revision, "acked");
  };
  const first = await call("PUT", "/v1/clusters/waits", "waits", {});
  const { revision } = first.body as { revision: number };
  await it.api.put("/v1/clusters/other", {});
  const again = await call("PUT", "/v1/clusters/waits?wait=acked&timeoutMs=5", "waits", {});
  expect([again.status, again.body, waited]).toMatchObject([200, { revision, sync: { state: "acked" } }, [revision]]);
});

test("another body, path, method or precondition under the key is refused", async () => {
  await call("PUT", "/v1/clusters/one", "used", {});
  const others = [
    call("PUT", "/v1/clusters/one", "used", { connectTimeoutMs: 1 }),
    call("PUT", "/v1/clusters/two", "used", {}),
    call("DELETE", "/v1/clusters/one", "used"),
    it.api.call("PUT", "/v1/clusters/one", {}, { "idempotency-key": "used", "if-match": "*" }),
  ];
  for (const answer of await Promise.all(others))
    expect(answer).toMatchObject({ status: 409, body: { code: "idempotency_key_reused" } });
});

test("a refused write leaves its key free, and a key that is none is refused", async () => {
  expect((await call("DELETE", "/v1/clusters/absent", "free")).status).toBe(404);
  await it.api.put("/v1/clusters/absent", {});
  expect((await call("DELETE", "/v1/clusters/absent", "free")).status).toBe(200);
  for (const key of ["with space", "é", "x".repeat(129)]) {
    const answer = await it.api.call("PUT", "/v1/clusters/x", {}, { "idempotency-key": key });
    expect([key, answer.status, answer.body]).toMatchObject([key, 400, { code: "invalid_header", header: "Idempotency-Key" }]);
  }
});

test("a command whose answer is lost on the way finds it, and does nothing twice", async () => {
  const port = await freePort();
  const target = new URL(it.api.url);
  let lost = 0;
  const proxy = createServer((incoming, outgoing) => {
    const { method, url: path, headers } = incoming;
    const onward = send({ host: target.hostname, port: target.port, method, path, headers }, (answer) => {
      if (lost++ < 2) return void incoming.socket.destroy(); // Done, and nobody hears of it.
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(outgoing);
    });
    incoming.pipe(onward);
  });
  await new Promise<void>((done) => proxy.listen(port, "127.0.0.1", done));
  const { revision } = await it.store.head();
  const access = { url: `http://127.0.0.1:${port}`, author: "test" };
  const { body } = await callOnce(access, { method: "PUT", path: "/v1/clusters/lost", body: {} });
  expect([lost, body]).toMatchObject([3, { revision: revision + 1, changed: true, object: { name: "lost" } }]);
  expect((await it.store.head()).revision).toBe(revision + 1);
  await new Promise((done) => proxy.close(done));
});
