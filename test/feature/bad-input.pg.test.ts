// Bad input is a clear 4xx and nothing changes; a database that is away is a 503 that says when to come back. The control plane runs as
// in production; no Envoy is needed.
import { beforeAll, describe, expect, test } from "vitest";
import type { Api, ProblemBody } from "../support/api-client.js";
import { clusterBody, listenerBody, routeBody, streamRouteBody } from "../support/bodies.js";
import { databaseProxy, sql } from "../support/postgres.js";
import { type Replica, startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { startDatabase } from "../support/world.js";

let databaseUrl: string;
let replica: Replica;
let api: Api;
let proxy: Awaited<ReturnType<typeof databaseProxy>>;

beforeAll(async () => {
  databaseUrl = await startDatabase();
  proxy = await databaseProxy(databaseUrl);
  replica = await startReplica({ databaseUrl: proxy.url });
  ({ api } = replica);
  await api.post("/v1/clusters", clusterBody("app", [{ port: 8080 }]));
  await api.post("/v1/clusters", clusterBody("raw", [{ port: 8081 }], { protocol: "tcp" }));
  await api.post("/v1/listeners", listenerBody("web", 80));
  await api.post("/v1/listeners", listenerBody("mq", 81, { protocol: "tcp" }));
  await api.post("/v1/routes", routeBody("shop", "web", "app"));
  await api.post("/v1/routes", streamRouteBody("tcp", "mq", "mq", "raw"));
});

const revision = async (): Promise<number> =>
  Number((await sql<{ n: string }>(databaseUrl, "select n from revision_counter"))[0]?.n);

/** Everything of one kind that a caller may get wrong → status, and the pointer of the first problem. */
const wrong: readonly (readonly [what: string, status: number, method: string, path: string, body: unknown, pointer: string])[] =
  [
    ["no JSON", 400, "POST", "/v1/clusters", "{", ""],
    ["an unknown field", 422, "POST", "/v1/clusters", { name: "x", speling: 1 }, "/speling"],
    [
      "a nested unknown field",
      422,
      "POST",
      "/v1/clusters",
      { name: "x", circuitBreakers: { maxConections: 1 } },
      "/circuitBreakers/maxConections",
    ],
    ["a bad name", 422, "POST", "/v1/clusters", { name: "Not OK" }, "/name"],
    ["a name with a slash", 422, "POST", "/v1/clusters", { name: "tcp/x" }, "/name"],
    ["no name", 422, "POST", "/v1/clusters", {}, "/name"],
    ["a number out of bounds", 422, "POST", "/v1/clusters", { name: "x", connectTimeoutMs: 0 }, "/connectTimeoutMs"],
    ["text for a number", 422, "POST", "/v1/clusters", { name: "x", connectTimeoutMs: "5000" }, "/connectTimeoutMs"],
    [
      "a host name as endpoint",
      422,
      "PUT",
      "/v1/clusters/app/endpoints",
      { endpoints: [{ address: "example.com", port: 80 }] },
      "/endpoints/0/address",
    ],
    [
      "weight 0 of an endpoint",
      422,
      "PUT",
      "/v1/clusters/app/endpoints",
      { endpoints: [{ address: "10.0.0.1", port: 80, weight: 0 }] },
      "/endpoints/0/weight",
    ],
    [
      "an endpoint twice",
      422,
      "PUT",
      "/v1/clusters/app/endpoints",
      {
        endpoints: [
          { address: "10.0.0.1", port: 80 },
          { address: "10.0.0.1", port: 80 },
        ],
      },
      "/endpoints/1",
    ],
    ["a cluster that is not there", 422, "PUT", "/v1/routes/shop", routeBody("shop", "web", "nobody"), "/backends/0/cluster"],
    ["a listener that is not there", 422, "PUT", "/v1/routes/shop", routeBody("shop", "nowhere", "app"), "/listeners/0"],
    ["an HTTP route on a TCP listener", 422, "PUT", "/v1/routes/shop", routeBody("shop", "mq", "app"), "/listeners/0"],
    ["an HTTP route to a TCP cluster", 422, "PUT", "/v1/routes/shop", routeBody("shop", "web", "raw"), "/backends/0/cluster"],
    [
      "a regex that is none",
      422,
      "PUT",
      "/v1/routes/shop",
      routeBody("shop", "web", "app", { match: { path: { regex: "/(" } } }),
      "/match/path/regex",
    ],
    [
      "a regex too big for Envoy",
      422,
      "PUT",
      "/v1/routes/shop",
      routeBody("shop", "web", "app", { match: { path: { regex: "/[a-z0-9-]{1,63}" } } }),
      "/match/path/regex",
    ],
    [
      "two kinds of path match",
      422,
      "PUT",
      "/v1/routes/shop",
      routeBody("shop", "web", "app", { match: { path: { prefix: "/", exact: "/" } } }),
      "/match/path",
    ],
    [
      "a redirect with backends",
      422,
      "PUT",
      "/v1/routes/shop",
      routeBody("shop", "web", "app", { redirect: { host: "x.test" } }),
      "/backends",
    ],
    ["a taken address", 409, "POST", "/v1/listeners", listenerBody("again", 80), "/port"],
    ["a taken name", 409, "POST", "/v1/clusters", clusterBody("app", []), ""],
    ["an object that is not there", 404, "GET", "/v1/clusters/nobody", undefined, ""],
    ["a route on a path that is not there", 404, "GET", "/v1/nothing", undefined, ""],
    ["a cluster in use", 409, "DELETE", "/v1/clusters/app", undefined, ""],
    ["a listener in use", 409, "DELETE", "/v1/listeners/web", undefined, ""],
    ["a query parameter that is none", 400, "GET", "/v1/clusters?limt=3", undefined, ""],
    ["a limit out of bounds", 400, "GET", "/v1/clusters?limit=0", undefined, ""],
  ];

describe("bad input", () => {
  test.each(wrong)("%s is a clear %i, and nothing changes", async (_what, status, method, path, body, pointer) => {
    const before = await revision();
    const answer = await api.call(method, path, body, { "content-type": "application/json" });
    expect({ status: answer.status, text: answer.text }).toMatchObject({ status });
    expect(answer.headers.get("content-type")).toContain("application/problem+json");
    const problem = answer.body as ProblemBody;
    expect(problem).toMatchObject({
      status,
      code: expect.stringMatching(/^[a-z_]+$/),
      title: expect.any(String),
      requestId: expect.any(String),
    });
    if (pointer !== "") expect(problem.errors?.map((one) => one.pointer).join()).toContain(pointer);
    expect(await revision()).toBe(before);
  });

  test("all problems are told at once", async () => {
    const body = { name: "Not OK", connectTimeoutMs: -1, protocol: "smtp", speling: true };
    const { errors } = await api.refused(422, "POST", "/v1/clusters", body);
    expect(errors?.map((one) => one.pointer).sort()).toEqual(["/connectTimeoutMs", "/name", "/protocol", "/speling"]);
  });

  test("a body that is too large is 413, and another type of content 415", async () => {
    expect(
      (await api.call("POST", "/v1/routes", `{"name":"${"x".repeat(2_000_000)}"}`, { "content-type": "application/json" }))
        .status,
    ).toBe(413);
    expect((await api.call("POST", "/v1/clusters", "name: x", { "content-type": "text/yaml" })).status).toBe(415);
  });

  test("If-Match that names an older version is 412, and nothing changes", async () => {
    const { headers } = await api.call("GET", "/v1/clusters/app");
    await api.put("/v1/clusters/app", { name: "app", connectTimeoutMs: 2_000 });
    const late = await api.call(
      "PUT",
      "/v1/clusters/app",
      { name: "app", connectTimeoutMs: 3_000 },
      { "if-match": headers.get("etag") ?? "" },
    );
    expect([late.status, (late.body as ProblemBody).code]).toEqual([412, "precondition_failed"]);
    expect(await api.get("/v1/clusters/app")).toMatchObject({ connectTimeoutMs: 2_000 });
  });

  test("what GET shows is what PUT takes: putting it back changes nothing", async () => {
    for (const path of [
      "/v1/clusters/app",
      "/v1/listeners/web",
      "/v1/routes/shop",
      "/v1/routes/mq",
      "/v1/clusters/app/endpoints/127.0.0.1:8080",
    ]) {
      expect(await api.put(path, await api.get(path)), path).toMatchObject({ changed: false });
    }
  });
});

test("a cluster that a route uses can't go, whoever comes first: 30 rounds of a delete against a new route", async () => {
  for (let round = 0; round < 30; round++) {
    const name = `contested-${round}`;
    await api.post("/v1/clusters", clusterBody(name, []));
    const [removed, routed] = await Promise.all([
      api.call("DELETE", `/v1/clusters/${name}`),
      api.call("POST", "/v1/routes", routeBody(name, "web", name, { match: { path: { prefix: `/${name}` } } })),
    ]);
    expect([removed.status === 200, routed.status === 201].filter(Boolean), `${removed.text} ${routed.text}`).toHaveLength(1);
    expect((await api.call("GET", `/v1/routes/${name}`)).status).toBe(routed.status === 201 ? 200 : 404);
    expect((await api.call("GET", `/v1/clusters/${name}`)).status).toBe(removed.status === 200 ? 404 : 200);
  }
});

describe("a database that is away", () => {
  test.each(["closed", "silent"] as const)(
    "%s: 503 with Retry-After on reads and writes, healthy all the same, and back by itself",
    async (state) => {
      proxy.become(state);
      const before = performance.now();
      const read = await api.call("GET", "/v1/clusters/app");
      const write = await api.call("PUT", "/v1/clusters/app", { name: "app", connectTimeoutMs: 4_000 });
      for (const answer of [read, write]) {
        expect([answer.status, (answer.body as ProblemBody).code]).toEqual([503, "database_unavailable"]);
        expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
      }
      expect(performance.now() - before).toBeLessThan(30_000);
      expect((await api.call("GET", "/healthz")).status).toBe(200);
      proxy.become("closed");
      proxy.become("pass");
      await waitFor("it answers again", async () => (await api.call("GET", "/v1/clusters/app")).status === 200);
      await waitFor(
        "it writes again",
        async () => (await api.call("PUT", "/v1/clusters/app", { name: "app", connectTimeoutMs: 4_000 })).status === 200,
      );
    },
  );
});
