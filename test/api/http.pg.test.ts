// The server around the calls: wrong paths, methods and media types, limits, slow clients, and what it says of itself.
import { connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ApiUnderTest, startApi } from "./api-under-test.js";

let it: ApiUnderTest;
beforeAll(async () => {
  it = await startApi({ limits: { requestTimeoutMs: 1_000, headersTimeoutMs: 500, maxBodyBytes: 10_000 } });
});
afterAll(() => it.close());
const send = async (method: string, path: string, body?: string | Buffer, headers: Record<string, string> = {}) => {
  const response = await fetch(`${it.api.url}${path}`, { method, headers, ...(body === undefined ? {} : { body }) });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json().catch(() => undefined)) as Record<string, unknown> | undefined,
  };
};
const json = { "content-type": "application/json" };

test.each([
  ["GET", "/", 404, "not_found"],
  ["GET", "/v1/cluster", 404, "not_found"],
  ["POST", "/v1/routes/x/weight", 404, "not_found"],
  ["GET", `/v1/clusters/${"x".repeat(300)}`, 404, "not_found"],
  ["GET", "/v1/clusters/%zz", 400, "invalid_path"],
  ["PATCH", "/v1/clusters", 405, "method_not_allowed"],
  ["OPTIONS", "/v1/clusters", 405, "method_not_allowed"],
])("%s %s is %i %s", async (method, path, status, code) => {
  const answer = await send(method, path);
  expect([answer.status, answer.headers.get("content-type"), answer.body]).toMatchObject([
    status,
    "application/problem+json; charset=utf-8",
    { status, code, instance: path },
  ]);
  expect(answer.headers.get("x-request-id")).toBe(answer.body?.["requestId"]);
});

test("405 lists what the path takes", async () => {
  expect((await send("DELETE", "/v1/clusters?x=1")).headers.get("allow")).toBe("GET, HEAD, POST");
  expect((await send("POST", "/v1/clusters/a/endpoints/10.0.0.1:80", "{}", json)).headers.get("allow")).toBe(
    "DELETE, GET, HEAD, PATCH, PUT",
  );
});

test("only JSON is taken, and bodies of a bounded size", async () => {
  const answers = [
    await send("POST", "/v1/clusters", "name=a", { "content-type": "application/x-www-form-urlencoded" }),
    await send("POST", "/v1/clusters", "{}", { "content-type": "text/plain" }),
    await send("POST", "/v1/clusters", Buffer.from("{}")),
    await send("POST", "/v1/clusters", `{"name":"${"x".repeat(5_000_000)}"}`, json),
    await send("POST", "/v1/routes", `{"name":"${"x".repeat(10_000)}"}`, json),
    await send("POST", "/v1/clusters", undefined, json),
    await send("POST", "/v1/clusters"),
    await send("POST", "/v1/clusters", "{", json),
    await send("POST", "/v1/clusters", '{"name":"a","name":"b"}', json),
    await send("POST", "/v1/clusters", '{"name":"a","__proto__":{}}', json),
    await send("POST", "/v1/clusters", '"a"', json),
  ];
  expect(answers.map(({ status, body }) => [status, body?.["code"]])).toEqual([
    [415, "unsupported_media_type"],
    [415, "unsupported_media_type"],
    [415, "unsupported_media_type"],
    [413, "too_large"],
    [413, "too_large"],
    [400, "malformed_body"],
    [400, "malformed_body"],
    [400, "malformed_body"],
    [400, "malformed_body"],
    [400, "malformed_body"],
    [422, "invalid_body"],
  ]);
  expect(
    (await send("POST", "/v1/clusters", '{"name":"charset"}', { "content-type": "application/json; charset=utf-8" })).status,
  ).toBe(201);
});

test("a request id is taken when it is sane, and made when it is not", async () => {
  expect((await send("GET", "/healthz", undefined, { "x-request-id": "job-17" })).headers.get("x-request-id")).toBe("job-17");
  expect((await send("GET", "/healthz", undefined, { "x-request-id": "a b" })).headers.get("x-request-id")).toMatch(
    /^[0-9a-f-]{36}$/,
  );
});

/** Sends `bytes`, then `drip` every 100 ms; what came back when the server closed, and after how long. */
async function drip(bytes: string, more: string): Promise<{ text: string; ms: number }> {
  const startedAt = performance.now();
  const { port, hostname } = new URL(it.api.url);
  const socket = connect(Number(port), hostname);
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk.toString();
  });
  socket.on("error", () => {});
  socket.write(bytes);
  const timer = setInterval(() => socket.write(more), 100);
  await new Promise((closed) => socket.once("close", closed));
  clearInterval(timer);
  return { text, ms: performance.now() - startedAt };
}

test("clients that drip their headers or their body are cut off", async () => {
  const head = "POST /v1/clusters HTTP/1.1\r\nHost: a\r\n";
  const [headers, body] = await Promise.all([
    drip(head, "x-a: b\r\n"),
    drip(`${head}Content-Type: application/json\r\nContent-Length: 9000\r\n\r\n`, " "),
  ]);
  for (const cut of [headers, body]) {
    expect(cut.ms).toBeLessThan(5_000);
    expect(cut.text).toContain("408");
  }
});

test("bytes that are no HTTP are answered and cut off", async () => {
  const cut = await drip("\x16\x03\x01\x02\x00\r\n\r\n", "");
  expect(cut.text).toContain("HTTP/1.1 400 Bad Request");
  expect(cut.text).toContain("application/problem+json");
});

test("liveness, readiness and metrics are told apart", async () => {
  expect(await send("GET", "/healthz")).toMatchObject({ status: 200, body: { status: "ok" } });
  expect(await send("GET", "/readyz")).toMatchObject({ status: 200, body: { ready: true } });
  Object.assign(it.readiness, { ready: false, waitingFor: ["the first load"] });
  const answer = await send("GET", "/readyz");
  expect([answer.status, answer.headers.get("retry-after"), answer.body]).toMatchObject([
    503,
    "1",
    { code: "starting", waitingFor: ["the first load"] },
  ]);
  Object.assign(it.readiness, { ready: true, waitingFor: [] });
  const metrics = await (await fetch(`${it.api.url}/metrics`)).text();
  expect(metrics).toMatch(/chancery_api_request_seconds_count\{method="POST",route="\/v1\/clusters",status="415"\} 3/);
  expect(metrics).toMatch(/chancery_api_requests_in_flight 1/);
});

test("the fleet is shown as status/ knows it", async () => {
  const node = (id: string, gateway: string) => ({
    id,
    gateway,
    gatewayKnown: true,
    connected: true,
    draining: false,
    replica: "replica-a",
    since: "2026-01-01T00:00:00.000Z",
    streams: ["ads-delta" as const],
    envoyVersion: "1.40.0",
    ackedRevision: 7,
    acked: { cluster: 7, endpoint: 7, listener: 7, route: 7 },
    refused: [],
    held: [],
  });
  it.fleet.nodes = [node("edge-1", "edge"), node("edge-2", "edge"), node("inner-1", "inner")];
  const ids = async (query: string) => {
    const { items, next } = await it.api.get<{ items: { id: string }[]; next?: string }>(`/v1/nodes?${query}`);
    return [items.map(({ id }) => id), next];
  };
  expect(await ids("")).toEqual([["edge-1", "edge-2", "inner-1"], undefined]);
  expect(await ids("gateway=edge&limit=1")).toEqual([["edge-1"], "edge-1"]);
  expect(await ids("gateway=edge&limit=1&after=edge-1")).toEqual([["edge-2"], undefined]);
  expect(await it.api.get("/v1/nodes/inner-1")).toEqual(node("inner-1", "inner"));
  expect((await send("GET", "/v1/nodes/nobody")).status).toBe(404);
});

const everyCall = [
  "DELETE /v1/clusters/{name}",
  "DELETE /v1/clusters/{name}/endpoints/{endpoint}",
  "DELETE /v1/drains/{id}",
  "DELETE /v1/gateways/{gateway}/rollout-policy",
  "DELETE /v1/listeners/{name}",
  "DELETE /v1/node-drains/{node}",
  "DELETE /v1/rebalances/{id}",
  "DELETE /v1/rollouts/{rollout}",
  "DELETE /v1/routes/{name}",
  "GET /healthz",
  "GET /metrics",
  "GET /openapi.json",
  "GET /readyz",
  "GET /v1/audit",
  "GET /v1/clusters",
  "GET /v1/clusters/{name}",
  "GET /v1/clusters/{name}/endpoints",
  "GET /v1/clusters/{name}/endpoints/{endpoint}",
  "GET /v1/clusters/{name}/endpoints/{endpoint}/status",
  "GET /v1/clusters/{name}/status",
  "GET /v1/drains",
  "GET /v1/drains/{id}",
  "GET /v1/gateways/{gateway}/rollout-policy",
  "GET /v1/listeners",
  "GET /v1/listeners/{name}",
  "GET /v1/listeners/{name}/status",
  "GET /v1/node-drains",
  "GET /v1/node-drains/{node}",
  "GET /v1/nodes",
  "GET /v1/nodes/{id}",
  "GET /v1/rebalances",
  "GET /v1/rebalances/{id}",
  "GET /v1/revisions",
  "GET /v1/revisions/{revision}",
  "GET /v1/revisions/{revision}/diff",
  "GET /v1/revisions/{revision}/sync",
  "GET /v1/rollouts",
  "GET /v1/rollouts/{rollout}",
  "GET /v1/routes",
  "GET /v1/routes/{name}",
  "GET /v1/routes/{name}/status",
  "PATCH /v1/clusters/{name}/endpoints",
  "PATCH /v1/clusters/{name}/endpoints/{endpoint}",
  "POST /v1/changes",
  "POST /v1/clusters",
  "POST /v1/clusters/{name}/endpoints/{endpoint}/renew",
  "POST /v1/drains",
  "POST /v1/listeners",
  "POST /v1/node-drains",
  "POST /v1/revisions/{revision}/rollback",
  "POST /v1/routes",
  "PUT /v1/clusters/{name}",
  "PUT /v1/clusters/{name}/endpoints",
  "PUT /v1/clusters/{name}/endpoints/{endpoint}",
  "PUT /v1/gateways/{gateway}/rollout-policy",
  "PUT /v1/listeners/{name}",
  "PUT /v1/routes/{name}",
  "PUT /v1/routes/{name}/weights",
];

test("OpenAPI 3.1 describes every call, with bounds on every key of every body", async () => {
  const openapi = await it.api.get<{
    openapi: string;
    paths: Record<
      string,
      Record<string, { summary?: string; requestBody?: { content: { "application/json": { schema: unknown } } } }>
    >;
  }>("/openapi.json");
  expect(openapi.openapi).toBe("3.1.0");
  const calls = Object.entries(openapi.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, call]) => ({ name: `${method.toUpperCase()} ${path}`, call })),
  );
  expect(calls.map(({ name }) => name).sort()).toEqual(everyCall);
  for (const { name, call } of calls) expect([name, typeof call.summary]).toEqual([name, "string"]);
  const unbounded = calls.flatMap(({ name, call }) =>
    call.requestBody ? unboundedIn(call.requestBody.content["application/json"].schema, name) : [],
  );
  expect(unbounded).toEqual([]);
});

test("OpenAPI tells the headers of every call that writes, and preconditions where they are read", async () => {
  interface Call {
    readonly parameters?: readonly {
      readonly in: string;
      readonly name: string;
      readonly schema: object;
      readonly description?: string;
    }[];
  }
  const { paths } = await it.api.get<{ paths: Record<string, Record<string, Call>> }>("/openapi.json");
  const calls = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { parameters = [] }]) => ({
      name: `${method.toUpperCase()} ${path}`,
      headers: parameters.filter((one) => one.in === "header"),
    })),
  );
  const having = (header: string, of = calls) => of.filter(({ headers }) => headers.some(({ name }) => name === header));
  const writes = calls.filter(({ name }) => !name.startsWith("GET "));
  expect(writes.length).toBeGreaterThan(14);
  for (const header of ["Idempotency-Key", "X-Chancery-Author", "X-Chancery-Reason"])
    expect(having(header).map(({ name }) => name)).toEqual(writes.map(({ name }) => name));
  // What a call says that it reads, it refuses when it is wrong; what it does not say, it refuses when it is there, or has none to read.
  for (const { name } of writes) {
    const [method = "", path = ""] = name.split(" ");
    const url = path
      .replace("{name}", "h")
      .replace("{endpoint}", "10.0.0.1:1")
      .replace("{revision}", "1")
      .replace("{gateway}", "edge");
    const body = method === "DELETE" ? undefined : bodyFor(method, path);
    const answer = await it.api.call(method, url, body, { "if-match": "no tag" });
    expect([name, answer.status, (answer.body as { header?: string }).header]).toEqual([name, 400, "If-Match"]);
    const withTag = await it.api.call(method, url, body, { "if-match": '"1"' });
    const isRead = having("If-Match").some((one) => one.name === name);
    expect([name, (withTag.body as { code: string }).code === "invalid_header"]).toEqual([name, !isRead]);
  }
  const everything = calls.flatMap(({ headers }) => headers);
  for (const { schema, description } of everything)
    expect([schema, description]).toEqual([expect.objectContaining({ type: "string" }), expect.any(String)]);
});

/** A body that the schema of a write takes; whether its object is there does not matter. */
function bodyFor(method: string, path: string): unknown {
  if (path === "/v1/changes") return { changes: [{ op: "delete", kind: "cluster", name: "h" }] };
  if (path.endsWith("/rollback")) return { scope: "revision" };
  if (path.endsWith("/weights")) return { weights: { a: 1 } };
  if (path.endsWith("/endpoints")) return method === "PATCH" ? { remove: ["10.0.0.1:1"] } : { endpoints: [] };
  if (path.startsWith("/v1/listeners")) return { name: "h", protocol: "http", port: 1, gateways: ["edge"] };
  if (path.startsWith("/v1/routes")) return { name: "h", protocol: "http", listeners: ["h"], backends: [{ cluster: "h" }] };
  if (path === "/v1/node-drains") return { node: "h" };
  if (path === "/v1/drains") return { endpoints: ["10.0.0.1:1"] };
  if (path.endsWith("/rollout-policy")) return { stages: [{ nodes: 1 }] };
  return path.endsWith("{endpoint}") ? { weight: 1 } : { name: "h" };
}

const bounds: Readonly<Record<string, readonly string[]>> = {
  integer: ["maximum", "enum"],
  number: ["maximum"],
  string: ["maxLength", "enum", "const", "pattern"],
  array: ["maxItems"],
  object: ["properties", "oneOf", "maxProperties"],
  boolean: ["type"],
};

/** Schemas that bound nothing, or are not described. */
function unboundedIn(schema: unknown, at: string): string[] {
  if (typeof schema !== "object" || schema === null) return [];
  const node = schema as Record<string, unknown>;
  const wanted = bounds[String(node["type"])] ?? ["const"];
  const faults = wanted.some((key) => key in node) ? [] : [at];
  if (node["type"] === "object" && !("oneOf" in node) && node["additionalProperties"] === undefined) faults.push(`${at} is open`);
  const children = [
    ...Object.entries((node["properties"] ?? {}) as object).map(([key, child]) => [`${at}/${key}`, child] as const),
    ...((node["oneOf"] ?? []) as unknown[]).map((child, branch) => [`${at}|${branch}`, child] as const),
    ...(node["items"] ? [[`${at}/items`, node["items"]] as const] : []),
  ];
  return [...faults, ...children.flatMap(([where, child]) => unboundedIn(child, where))];
}

test("the docs are served to people", async () => {
  const page = await fetch(`${it.api.url}/docs/`);
  expect([page.status, page.headers.get("content-type")]).toMatchObject([200, expect.stringContaining("text/html")]);
  const assets = [...(await page.text()).matchAll(/(?:src|href)="(\.\/static\/[^"]+)"/g)].map(([, asset]) => asset);
  expect(assets.length).toBeGreaterThan(2);
  for (const asset of assets) {
    const response = await fetch(`${it.api.url}/docs/${asset}`);
    expect([asset, response.status, (await response.arrayBuffer()).byteLength > 0]).toEqual([asset, 200, true]);
  }
});

test("a client that never reads its answer does not keep the server from closing", async () => {
  const other = await startApi({ databaseUrl: it.databaseUrl, limits: { closeTimeoutMs: 200 } });
  const unread = await fetch(`${other.api.url}/docs/static/swagger-ui-bundle.js`);
  expect(unread.status).toBe(200);
  const startedAt = performance.now();
  await other.close();
  expect(performance.now() - startedAt).toBeLessThan(5_000);
  await unread.body?.cancel().catch(() => {});
});
