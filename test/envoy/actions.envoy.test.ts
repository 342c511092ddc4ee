// What an action means to the real Envoy: rewrites, redirects, sticky sessions, upgrades, and the bounds of a stream.
import { request as httpRequest } from "node:http";
import { beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { type RunningEnvoy, runState } from "../golden/running-envoy.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { freePort } from "../support/ports.js";
import { type RequestOptions, send } from "../support/requests.js";
import { staysTrue } from "../support/wait.js";

let port = 0;
let envoy: RunningEnvoy;
let slow: HttpBackend;

const state = (port: number, one: number, two: number, slow: number) => `
clusters:
  - { name: two, endpoints: [{ address: 127.0.0.1, port: ${one} }, { address: 127.0.0.1, port: ${two} }] }
  - { name: slow, outlierDetection: { consecutive5xx: 2, maxEjectionPercent: 100 }, endpoints: [{ address: 127.0.0.1, port: ${slow} }] }
  - { name: slow-upload, endpoints: [{ address: 127.0.0.1, port: ${slow} }] }
listeners: [{ name: web, protocol: http, port: ${port} }]
routes:
  - { name: a, match: { path: { prefix: /a } }, rewrite: { prefix: /v2 }, backends: [{ cluster: two }] }
  - { name: b, match: { path: { prefix: /b/ } }, rewrite: { prefix: /v2/ }, backends: [{ cluster: two }] }
  - { name: c, match: { path: { prefix: /c } }, rewrite: { prefix: / }, backends: [{ cluster: two }] }
  - { name: d, match: { path: { prefix: / } }, rewrite: { prefix: /v2 }, backends: [{ cluster: two }] }
  - { name: e, match: { path: { exact: /e } }, rewrite: { prefix: /v2/e }, backends: [{ cluster: two }] }
  - { name: f, match: { path: { regex: "/f/.*" } }, rewrite: { prefix: /v2/f }, backends: [{ cluster: two }] }
  - { name: g, match: { path: { prefix: /${"g".repeat(200)} } }, rewrite: { prefix: /, host: other.example.com }, backends: [{ cluster: two }] }
  - { name: h, match: { path: { prefix: /h } }, redirect: { prefix: /, status: 308 } }
  - { name: i, match: { path: { prefix: /i } }, redirect: { scheme: https, host: s.example.com, port: 8443, prefix: /new/, status: 307 } }
  - { name: sticky, match: { path: { prefix: /sticky } }, sticky: { kind: session-cookie, cookie: sid, ttlMs: 60000 }, backends: [{ cluster: two }] }
  - { name: none, match: { path: { prefix: /none } }, backends: [{ cluster: two, weight: 0 }] }
  - { name: slow, match: { path: { prefix: /slow } }, timeoutMs: 200, backends: [{ cluster: slow }] }
  - { name: upload, match: { path: { prefix: /upload } }, timeoutMs: 200, backends: [{ cluster: slow-upload }] }
  - { name: chat, match: { path: { prefix: /chat } }, timeoutMs: 200, upgrades: [websocket], backends: [{ cluster: two }] }
`;

beforeAll(async () => {
  port = await freePort();
  const [one, two] = [await startHttpBackend("one"), await startHttpBackend("two")];
  slow = await startHttpBackend("slow");
  slow.delayMs = 1_000;
  envoy = await runState(state(port, one.port, two.port, slow.port));
});

const get = (request: Omit<RequestOptions, "port">) => send({ port, ...request });

describe("a rewritten prefix is joined to the rest by one slash", () => {
  test.each([
    ["/a", "/v2"],
    ["/a/x?y=1", "/v2/x?y=1"],
    ["/b", "/v2"],
    ["/b/x", "/v2/x"],
    ["/c", "/"],
    ["/c?y=1", "/?y=1"],
    ["/c/", "/"],
    ["/c/x/y", "/x/y"],
    ["/cx", "/v2/cx"],
    ["/", "/v2/"],
    ["/x", "/v2/x"],
    ["/e?y=1", "/v2/e?y=1"],
    ["/f/x/y?z", "/v2/f?z"],
    [`/${"g".repeat(200)}/x`, "/x"],
  ])("%s reaches the backend as %s", async (path, seen) => {
    expect((await get({ path })).headers["x-seen-path"]).toBe(seen);
  });

  test("the host is rewritten beside the path", async () => {
    expect((await get({ path: `/${"g".repeat(200)}` })).headers["x-seen-host"]).toBe("other.example.com");
  });

  test.each([
    ["/h", 308, "http://web.example.com/"],
    ["/h/x?y=1", 308, "http://web.example.com/x?y=1"],
    ["/i/x", 307, "https://s.example.com:8443/new/x"],
  ])("%s is redirected, %i, to %s", async (path, status, location) => {
    const answer = await get({ path, host: "web.example.com" });
    expect([answer.status, answer.headers.location]).toEqual([status, location]);
  });
});

test("a session cookie, switched on by the route alone, keeps a session on its endpoint", async () => {
  const first = await get({ path: "/sticky" });
  const cookie = first.headers["set-cookie"]?.[0]?.split(";")[0] ?? "";
  expect(cookie).toMatch(/^sid=/);
  for (let i = 0; i < 20; i++) expect((await get({ path: "/sticky", headers: { cookie } })).backend).toBe(first.backend);
  expect((await get({ path: "/a" })).headers["set-cookie"]).toBeUndefined();
});

test("a route whose weights are all 0 answers 503", async () => {
  expect((await get({ path: "/none" })).status).toBe(503);
});

test("a late answer is a 504, at the route's timeout, that counts against its endpoint", async () => {
  const started = performance.now();
  for (let i = 0; i < 2; i++) expect((await get({ path: "/slow" })).status).toBe(504);
  expect(performance.now() - started).toBeLessThan(900); // Twice 200; twice 700 if the stream's bound had ended them.
  const clusters = (await envoy.admin("/clusters")).split("\n");
  expect(clusters).toContain(`slow::127.0.0.1:${slow.port}::health_flags::/failed_outlier_check`);
});

test("a slow upload ends soon after the route's timeout", async () => {
  const started = performance.now();
  const status = await new Promise<number>((resolve, reject) => {
    const upload = httpRequest({ port, path: "/upload", method: "POST", headers: { "content-length": "1000" } }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    upload.on("error", reject);
    upload.write("a");
  });
  expect(status).toBe(408);
  expect(performance.now() - started).toBeLessThan(5_000);
});

test("a WebSocket lives on behind a route that allows it, whatever its timeout, and is refused by another", async () => {
  const open = (path: string) =>
    new Promise<WebSocket | string>((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`);
      socket.once("open", () => resolve(socket));
      socket.once("error", (error) => resolve(error.message));
    });
  const socket = await open("/chat");
  if (typeof socket === "string") throw new Error(socket);
  expect(await open("/a")).toContain("403");
  await staysTrue("the WebSocket is open for five times the route's timeout", () => socket.readyState === WebSocket.OPEN, 1_000);
  const echo = new Promise((resolve) => socket.once("message", (message) => resolve(String(message))));
  socket.send("still there");
  expect(await echo).toContain("still there");
  socket.close();
});
