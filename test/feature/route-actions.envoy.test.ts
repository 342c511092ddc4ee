// What a route does with a request that it matches: rewrite, redirect, timeout, retry, WebSocket, HTTP/2 and gRPC upstreams, sticky
// sessions, hashing. One listener; each promise has its own path.
import { beforeAll, describe, expect, test } from "vitest";
import { acked, type Json } from "../support/api-client.js";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { sayOverGrpc, startGrpcBackend } from "../support/grpc-backend.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { sendMany } from "../support/load.js";
import { openWebSockets } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { type Response, send } from "../support/requests.js";
import { setUp, startWorld, type World } from "../support/world.js";

let world: World;
let web = 0;
let one: HttpBackend;
let two: HttpBackend;

beforeAll(async () => {
  world = await startWorld();
  web = await freePort();
  [one, two] = await Promise.all([startHttpBackend("one"), startHttpBackend("two")]);
  await setUp(world.api, [
    ["listener", listenerBody("web", web)],
    ["cluster", clusterBody("one", [one])],
    ["cluster", clusterBody("two", [two])],
    ["cluster", clusterBody("both", [one, two])],
    ["cluster", clusterBody("ring", [one, two], { loadBalancing: { policy: "ring-hash" } })],
    ["cluster", clusterBody("maglev", [one, two], { loadBalancing: { policy: "maglev" } })],
  ]);
});

/** Makes the route `/<name>` to a cluster, and waits until Envoy has it. */
async function route(name: string, cluster: string, more: Json = {}): Promise<void> {
  const { match = {}, ...rest } = more as { match?: Json };
  const body = routeBody(name, "web", cluster, { match: { path: { prefix: `/${name}` }, ...match }, ...rest });
  const { sync } = await world.api.post(`/v1/routes${acked}`, body);
  expect(sync?.state).toBe("acked");
}
const get = (path: string, headers: Readonly<Record<string, string>> = {}): Promise<Response> =>
  send({ port: web, path, headers });

describe("rewrite and redirect", () => {
  test("a prefix is replaced, its query kept, and the host rewritten", async () => {
    await route("old", "one", { rewrite: { prefix: "/new", host: "internal.test" } });
    expect((await get("/old/path?q=1")).headers).toMatchObject({
      "x-seen-path": "/new/path?q=1",
      "x-seen-host": "internal.test",
    });
    expect((await get("/old")).headers["x-seen-path"]).toBe("/new");
  });

  test("a prefix rewritten to the root leaves no double slash", async () => {
    await route("strip", "one", { rewrite: { prefix: "/" } });
    expect((await get("/strip/a")).headers["x-seen-path"]).toBe("/a");
    expect((await get("/strip")).headers["x-seen-path"]).toBe("/");
  });

  test("a redirect answers by itself, with the place and status asked for", async () => {
    const { backends: _, ...body } = routeBody("moved", "web", "one", { match: { path: { prefix: "/moved" } } }) as {
      backends?: unknown;
    };
    await world.api.post(`/v1/routes${acked}`, {
      ...body,
      redirect: { scheme: "https", host: "new.test", prefix: "/there", status: 308 },
    });
    const response = await get("/moved/a?b=c");
    expect([response.status, response.headers.location]).toEqual([308, "https://new.test/there/a?b=c"]);
  });
});

describe("timeouts and retries", () => {
  test("a backend slower than timeoutMs is cut off with 504 in time", async () => {
    await route("slow", "two", { timeoutMs: 300 });
    two.delayMs = 2_000;
    const started = performance.now();
    const response = await get("/slow");
    two.delayMs = 0;
    expect([response.status, response.backend]).toEqual([504, undefined]);
    expect(performance.now() - started).toBeLessThan(1_500);
  });

  test("a retry goes to another endpoint: with one of two failing, no request fails", async () => {
    // At most 3 retries at once is Envoy's default: 8 clients at once would meet it.
    await world.api.put("/v1/clusters/both", { name: "both", circuitBreakers: { maxRetries: 100 } });
    await route("retried", "both", { retry: { on: ["5xx"], attempts: 3 } });
    two.status = 503;
    const { failed, byStatus } = await sendMany(2_000, { port: web, path: "/retried" });
    two.status = 200;
    expect([failed, byStatus.get(200)]).toEqual([0, 2_000]);
  });
});

describe("upgrades and HTTP/2", () => {
  test("a WebSocket is carried where the route says so, and refused where it does not", async () => {
    await route("chat", "one", { upgrades: ["websocket"] });
    const sockets = await openWebSockets(web, 3, "/chat");
    await sockets.answer();
    expect(sockets.alive()).toBe(3);
    sockets.close();
    await route("plain", "one");
    const upgrade = {
      connection: "upgrade",
      upgrade: "websocket",
      "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
      "sec-websocket-version": "13",
    };
    expect((await get("/plain", upgrade)).status).toBe(403);
  });

  test("gRPC is carried to an HTTP/2 upstream, status and trailers included", async () => {
    const backend = await startGrpcBackend("grpc");
    await world.api.post("/v1/clusters", clusterBody("grpc", [backend], { protocol: "grpc" }));
    await world.api.post(
      `/v1/routes${acked}`,
      routeBody("grpc", "web", "grpc", { match: { path: { prefix: "/chancery.test.Echo" } } }),
    );
    expect(await sayOverGrpc(web, "hello")).toBe("grpc hello");
  });

  test("a gRPC route has no timeout unless told, an HTTP route 15 s", async () => {
    expect(await world.api.get("/v1/routes/grpc")).toMatchObject({ timeoutMs: 0 });
    expect(await world.api.get("/v1/routes/plain")).toMatchObject({ timeoutMs: 15_000 });
    expect(await world.api.get("/v1/routes/chat")).toMatchObject({ timeoutMs: 0 });
  });
});

describe("stickiness and hashing", () => {
  test("a session cookie keeps a client on its endpoint, and a disabled endpoint loses its sessions", async () => {
    await route("session", "both", { sticky: { kind: "session-cookie", cookie: "lb", ttlMs: 60_000 } });
    const first = await get("/session");
    const cookie = first.headers["set-cookie"]?.[0]?.split(";")[0] ?? "";
    expect(cookie).toMatch(/^lb=/);
    const held = first.backend === "one" ? one : two;
    const other = held === one ? "two" : "one";
    expect((await sendMany(50, { port: web, path: "/session", headers: { cookie } })).byBackend).toEqual(
      new Map([[held.name, 50]]),
    );

    const path = `/v1/clusters/both/endpoints/${held.address}`;
    const endpoint = await world.api.get<Json>(path);
    await world.api.put(`${path}${acked}`, { ...endpoint, enabled: false });
    expect((await sendMany(50, { port: web, path: "/session", headers: { cookie } })).byBackend).toEqual(new Map([[other, 50]]));
    await world.api.put(`${path}${acked}`, { ...endpoint, enabled: true });
  });

  test.each(["ring", "maglev"])("%s: the same header value goes to the same endpoint, and both are used", async (cluster) => {
    await route(`hash-${cluster}`, cluster, { hashOn: [{ kind: "header", name: "x-user" }] });
    const seen = new Map<string, string>();
    for (let user = 0; user < 60; user++) {
      const answers = [
        await get(`/hash-${cluster}`, { "x-user": `u${user}` }),
        await get(`/hash-${cluster}`, { "x-user": `u${user}` }),
      ];
      expect(answers[0]?.backend).toBe(answers[1]?.backend);
      seen.set(`u${user}`, answers[0]?.backend ?? "");
    }
    expect(new Set(seen.values())).toEqual(new Set(["one", "two"]));
  });
});

describe("what a route's answer warns of", () => {
  test("sticky sessions are flagged with their cost, without blocking the write", async () => {
    const body = routeBody("flagged", "web", "both", {
      match: { path: { prefix: "/flagged" } },
      sticky: { kind: "session-cookie", cookie: "lb" },
    });
    const { lint } = await world.api.post("/v1/routes", body);
    expect(lint?.map((one) => one.pointer)).toContain("/sticky");
  });
});
