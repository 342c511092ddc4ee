// Calls on routes and their weights: three protocols, what they refer to, and everything that is wrong at once.
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ApiUnderTest, faults, startApi } from "./api-under-test.js";

let it: ApiUnderTest;
beforeAll(async () => {
  it = await startApi();
  for (const protocol of ["http", "grpc", "tcp", "udp"]) {
    for (const name of [protocol, `${protocol}-2`]) await it.api.post("/v1/clusters", { name, protocol });
  }
  for (const [at, protocol] of ["http", "tcp", "tls", "udp"].entries())
    await it.api.post("/v1/listeners", { name: `in-${protocol}`, protocol, port: 100 + at, gateways: ["edge"] });
});
afterAll(() => it.close());
const call = (method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
  it.api.call(method, path, body, headers);
const http = (name: string, more: object = {}) => ({
  name,
  protocol: "http",
  listeners: ["in-http"],
  backends: [{ cluster: "http" }],
  ...more,
});
const refusal = async (body: object): Promise<readonly unknown[]> => {
  const answer = await call("POST", "/v1/routes", body);
  return [answer.status, ...faults(answer.body)];
};

test("an HTTP route is created with its defaults, and what GET shows PUT takes", async () => {
  const created = await it.api.post("/v1/routes", http("plain"));
  const shown = await it.api.get("/v1/routes/plain");
  expect(shown).toEqual({
    name: "plain",
    protocol: "http",
    priority: 0,
    listeners: ["in-http"],
    hosts: [],
    match: { path: { prefix: "/" }, methods: [], headers: [], query: [], cookies: [] },
    backends: [{ cluster: "http", weight: 1 }],
    timeoutMs: 15_000,
    upgrades: [],
    hashOn: [],
  });
  expect(created.object).toEqual(shown);
  expect(await it.api.put("/v1/routes/plain", shown)).toMatchObject({ changed: false, revision: created.revision });
});

test("everything that a route can say comes back as it was said", async () => {
  const full = http("full", {
    priority: 5,
    hosts: ["shop.example.com", "*.example.com"],
    match: {
      path: { regex: "/api/v[0-9]+/.*" },
      methods: ["GET", "POST"],
      headers: [
        { name: "x-canary", exact: "true", not: true },
        { name: "x-any", present: true, not: false },
      ],
      query: [{ name: "debug", prefix: "1" }],
      cookies: [{ name: "beta", suffix: "z", not: false }],
    },
    backends: [
      { cluster: "http", weight: 95 },
      { cluster: "http-2", weight: 5 },
    ],
    timeoutMs: 0,
    retry: { on: ["5xx", "reset"], attempts: 2, perTryTimeoutMs: 100 },
    rewrite: { host: "inner.example.com" },
    upgrades: ["websocket"],
    sticky: { kind: "session-cookie", cookie: "lb", ttlMs: 0, path: "/" },
    hashOn: [{ kind: "header", name: "x-user" }, { kind: "source-ip" }],
  });
  const created = await it.api.post("/v1/routes", full);
  expect(created.object).toEqual(full);
  expect(created.lint?.map(({ code }) => code)).toEqual(["left_open_at_deadline", "sticky_session", "hash_unused"]);
  expect(await it.api.put("/v1/routes/full", await it.api.get("/v1/routes/full"))).toMatchObject({ changed: false });
  const redirect = {
    name: "moved",
    protocol: "http",
    priority: 0,
    listeners: ["in-http"],
    hosts: [],
    match: { path: { prefix: "/old" }, methods: [], headers: [], query: [], cookies: [] },
    redirect: { scheme: "https", prefix: "/new", status: 308 },
  };
  expect((await it.api.post("/v1/routes", redirect)).object).toEqual(redirect);
});

test("the timeout's default knows the backends' protocol", async () => {
  expect(
    (await it.api.post("/v1/routes", http("stream", { backends: [{ cluster: "http" }, { cluster: "grpc" }] }))).object,
  ).toMatchObject({ timeoutMs: 0 });
  expect((await it.api.post("/v1/routes", http("socket", { upgrades: ["websocket"] }))).object).toMatchObject({ timeoutMs: 0 });
});

test("TCP and UDP routes have shapes of their own", async () => {
  const tcp = { name: "tcp", protocol: "tcp", listener: "in-tcp", backends: [{ cluster: "tcp" }] };
  expect((await it.api.post("/v1/routes", tcp)).object).toEqual({
    ...tcp,
    sni: [],
    backends: [{ cluster: "tcp", weight: 1 }],
    hashOnSourceIp: false,
    idleTimeoutMs: 3_600_000,
    split: "endpoints",
  });
  const udp = { name: "udp", protocol: "udp", listener: "in-udp", backends: [{ cluster: "udp" }] };
  expect((await it.api.post("/v1/routes", udp)).object).toEqual({
    ...udp,
    backends: [{ cluster: "udp", weight: 1 }],
    hashOnSourceIp: false,
    idleTimeoutMs: 60_000,
  });
  expect((await it.api.put("/v1/routes/tcp", { ...tcp, name: undefined })).changed).toBe(false);
  expect(await refusal({ ...tcp, name: "tcp-2" })).toEqual([409, "listener_taken /listener"]);
  expect(await refusal({ ...udp, name: "udp-2" })).toEqual([409, "listener_taken /listener"]);
});

test("server names share a tls listener, each taken once", async () => {
  const tls = (name: string, sni: readonly string[]) => ({
    name,
    protocol: "tcp",
    listener: "in-tls",
    sni,
    backends: [{ cluster: "tcp" }],
  });
  expect((await it.api.post("/v1/routes", tls("tls-a", ["A.example.com", "*.b.example.com"]))).object).toMatchObject({
    sni: ["a.example.com", "*.b.example.com"],
  });
  expect((await it.api.post("/v1/routes", tls("tls-rest", []))).changed).toBe(true);
  expect(await refusal(tls("tls-c", ["c.example.com", "a.example.com"]))).toEqual([409, "sni_taken /sni/1"]);
  expect(await refusal(tls("tls-d", []))).toEqual([409, "sni_taken /sni"]);
  expect(await refusal({ ...tls("tls-e", ["x", "X"]) })).toEqual([422, "duplicate /sni/1"]);
});

test("problems of the shape are told at once, in the branch that was chosen only", async () => {
  expect(
    await refusal(
      http("Bad", {
        hots: ["x"],
        hosts: ["*", "shop.example.com:80"],
        match: {
          path: { prefix: "/a", exact: "/b" },
          headers: [{ name: "x" }, { name: ":path", exact: "a" }],
          query: [{ name: "q", exact: "a", not: true }],
          methods: ["get"],
        },
        backends: [],
        timeoutMs: -1,
        retry: { on: ["5xxx"] },
        rewrite: {},
        sticky: { kind: "canary-header", cookie: "x" },
        hashOn: [{ kind: "ip" }],
      }),
    ),
  ).toEqual([
    422,
    "exactly_one /match/headers/0",
    "exactly_one /match/path",
    "missing_field /sticky/header",
    "not_one_of /hashOn/0/kind",
    "not_one_of /retry/on/0",
    "out_of_range /timeoutMs",
    "unknown_field /hots",
    "unknown_field /match/query/0/not",
    "unknown_field /sticky/cookie",
    "wrong_count /backends",
    "wrong_count /rewrite",
    "wrong_format /hosts/0",
    "wrong_format /hosts/1",
    "wrong_format /match/headers/1/name",
    "wrong_format /match/methods/0",
    "wrong_format /name",
  ]);
  expect(
    await refusal({
      name: "x",
      protocol: "tcp",
      listener: "in-tcp",
      listeners: ["in-http"],
      backends: [{ cluster: "tcp" }],
      hosts: [],
    }),
  ).toEqual([422, "unknown_field /hosts", "unknown_field /listeners"]);
  expect(await refusal({ name: "x", protocol: "sctp" })).toEqual([422, "not_one_of /protocol"]);
  expect(await refusal({ name: "x" })).toEqual([422, "missing_field /protocol"]);
});

test("own rules and references are told together, and the worse kind decides the status", async () => {
  expect(
    await refusal(
      http("x", {
        listeners: ["in-http", "none", "in-tcp"],
        backends: [{ cluster: "none" }, { cluster: "tcp" }, { cluster: "http" }, { cluster: "http" }],
        match: { path: { regex: "(" } },
        rewrite: { prefix: "/x" },
      }),
    ),
  ).toEqual([
    422,
    "contradiction /rewrite/prefix",
    "duplicate /backends/3/cluster",
    "invalid_regex /match/path/regex",
    "protocol_mismatch /backends/1/cluster",
    "protocol_mismatch /listeners/2",
    "unknown_cluster /backends/0/cluster",
    "unknown_listener /listeners/1",
  ]);
  expect(await refusal({ name: "x", protocol: "http", listeners: ["in-http"] })).toEqual([422, "missing_field /backends"]);
  expect(await refusal(http("x", { redirect: { scheme: "https" }, timeoutMs: 5 }))).toEqual([
    422,
    "contradiction /backends",
    "contradiction /timeoutMs",
  ]);
  expect(await refusal({ name: "x", protocol: "http", listeners: ["in-http"], redirect: { status: 302 } })).toEqual([
    422,
    "missing_field /redirect",
  ]);
  expect((await call("GET", "/v1/routes/x")).status).toBe(404);
});

test("backends that a TCP route mixes must be alike and share no address", async () => {
  await it.api.post("/v1/listeners", { name: "mix", protocol: "tcp", port: 200, gateways: ["edge"] });
  const endpoints = [{ address: "10.0.0.1", port: 80 }];
  await it.api.post("/v1/clusters", { name: "mix-a", protocol: "tcp", endpoints });
  await it.api.post("/v1/clusters", { name: "mix-b", protocol: "tcp", healthChecks: [{ kind: "tcp" }], endpoints });
  const route = { name: "mix", protocol: "tcp", listener: "mix", backends: [{ cluster: "mix-a" }, { cluster: "mix-b" }] };
  expect(await refusal(route)).toEqual([422, "backends_differ /backends/1/cluster", "shared_address /backends/1/cluster"]);
  expect((await it.api.post("/v1/routes", { ...route, split: "listener" })).lint?.map(({ code }) => code)).toEqual([
    "listener_split",
  ]);

  // The same rule when a cluster of a route changes.
  await it.api.post("/v1/clusters", { name: "mix-c", protocol: "tcp" });
  await it.api.put("/v1/routes/mix", { ...route, backends: [{ cluster: "mix-a" }, { cluster: "mix-c" }] });
  const broken = await call("PUT", "/v1/clusters/mix-a", { protocol: "tcp", healthChecks: [{ kind: "tcp" }] });
  expect([broken.status, faults(broken.body)]).toEqual([409, ["breaks_route /healthChecks"]]);
  expect(faults((await call("PUT", "/v1/clusters/mix-a", { protocol: "udp" })).body)).toEqual(["breaks_route /protocol"]);
  expect((await it.api.put("/v1/clusters/mix-a", { protocol: "tcp", connectTimeoutMs: 7 })).changed).toBe(true);
});

test("weights shift alone: every backend once, in the order stored", async () => {
  await it.api.post(
    "/v1/routes",
    http("shift", {
      backends: [
        { cluster: "http", weight: 100 },
        { cluster: "http-2", weight: 0 },
      ],
      priority: 3,
    }),
  );
  const put = (body: unknown, headers?: Record<string, string>) => call("PUT", "/v1/routes/shift/weights", body, headers);
  const shifted = await put({ weights: { "http-2": 5, http: 95 } });
  expect([shifted.status, shifted.body]).toMatchObject([
    200,
    {
      changed: true,
      lint: [],
      object: {
        priority: 3,
        backends: [
          { cluster: "http", weight: 95 },
          { cluster: "http-2", weight: 5 },
        ],
      },
    },
  ]);
  expect((await put({ weights: { "http-2": 5, http: 95 } })).body).toMatchObject({
    changed: false,
    revision: (shifted.body as { revision: number }).revision,
  });
  expect(
    (await put({ weights: { http: 0, "http-2": 0 } }, { "if-match": shifted.headers.get("etag") ?? "" })).body,
  ).toMatchObject({ lint: [{ code: "all_weights_zero" }] });
  expect((await put({ weights: { http: 1, "http-2": 1 } }, { "if-match": shifted.headers.get("etag") ?? "" })).status).toBe(412);
  const refused = await put({ weights: { http: 1, tcp: 1, "a/b": 2 } });
  expect([refused.status, faults(refused.body)]).toEqual([
    422,
    ["missing_backend /weights", "unknown_backend /weights/a~1b", "unknown_backend /weights/tcp"],
  ]);
  expect(faults((await put({ weights: { http: -1, "http-2": "5" }, x: 1 })).body)).toEqual([
    "out_of_range /weights/http",
    "unknown_field /x",
    "wrong_type /weights/http-2",
  ]);
  expect(faults((await put({ weights: {} })).body)).toEqual(["wrong_count /weights"]);
  expect((await call("PUT", "/v1/routes/none/weights", { weights: { a: 1 } })).status).toBe(404);
  expect(faults((await call("PUT", "/v1/routes/moved/weights", { weights: { a: 1 } })).body)).toEqual(["contradiction /weights"]);
});

test("routes are listed by what they name, deleted by name, and then their clusters can go", async () => {
  await it.api.post("/v1/clusters", { name: "lone" });
  await it.api.post("/v1/routes", http("lone", { backends: [{ cluster: "lone" }] }));
  const names = async (query: string) =>
    (await it.api.get<{ items: { name: string }[] }>(`/v1/routes?${query}`)).items.map(({ name }) => name);
  expect(await names("cluster=lone")).toEqual(["lone"]);
  expect(await names("listener=in-udp")).toEqual(["udp"]);
  const inUse = await call("DELETE", "/v1/clusters/lone");
  expect([inUse.status, inUse.body]).toMatchObject([
    409,
    { code: "in_use", routes: ["lone"], detail: "cluster lone is named by route lone" },
  ]);
  expect((await it.api.delete("/v1/routes/lone")).object).toMatchObject({ name: "lone" });
  expect((await it.api.delete("/v1/clusters/lone")).changed).toBe(true);
  expect((await call("DELETE", "/v1/routes/lone")).status).toBe(404);
});
