// The story that started this: a backend that accepts TCP and answers 500 to everything. A TCP check is content with it; an HTTP
// check takes it out in time, not too early, and brings it back; a body check catches a 200 that says the wrong thing.
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { clusterBody, listenerBody, quickCheck, routeBody, streamRouteBody } from "../support/bodies.js";
import { sayOverGrpc, startGrpcBackend } from "../support/grpc-backend.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { type Load, sendMany, startLoad } from "../support/load.js";
import { freePorts } from "../support/ports.js";
import { countTcp } from "../support/short-connections.js";
import { startTcpBackend } from "../support/stream-backends.js";
import { staysTrue, waitFor } from "../support/wait.js";
import { setUp, startWorld, type World } from "../support/world.js";

// quickCheck: interval 300 ms, threshold 3, timeout 200 ms.
const intervalMs = 300;
const threshold = 3;
/** DESIGN §6 promises interval × threshold + timeout; the rest is what a busy machine needs to run a timer. */
const outWithinMs = intervalMs * threshold + 200;
const slackMs = 400;

let world: World;
let web = 0;
let good: HttpBackend;
let bad: HttpBackend;

const checks = {
  "tcp-checked": [quickCheck("tcp")],
  "http-checked": [quickCheck("http", { path: "/healthz/status" })],
  "body-checked": [quickCheck("http", { path: "/healthz/body", bodyContains: "status: ok" })],
} as const;

beforeAll(async () => {
  world = await startWorld();
  [web = 0] = await freePorts(1);
  good = await startHttpBackend("good");
  bad = await startHttpBackend("bad");
  good.body = "status: ok";
  bad.body = "status: ok";
  const names = Object.entries(checks);
  await setUp(world.api, [
    ["listener", listenerBody("web", web)],
    ...names.map(([name, healthChecks]) => ["cluster", clusterBody(name, [good, bad], { healthChecks })] as const),
    ...names.map(([name]) => ["route", routeBody(name, "web", name, { match: { path: { prefix: `/${name}` } } })] as const),
  ]);
});

beforeEach(async () => {
  bad.status = 200;
  bad.body = "status: ok";
  for (const name of Object.keys(checks)) await healthyHosts(name, 2);
});

async function healthyHosts(cluster: string, count: number): Promise<void> {
  await waitFor(`${cluster} has ${count} healthy endpoints`, async () => {
    const hosts = (await world.envoy.clusters()).get(cluster) ?? [];
    return hosts.filter((host) => host.healthy).length === count;
  });
}

/** Load on one cluster that does not mind which status comes. */
const loadOn = (cluster: string): Load =>
  startLoad({
    next: () => ({ port: web, path: `/${cluster}` }),
    requestsPerSecond: 200,
    accepts: (response) => response.backend !== undefined,
  });

describe("a backend that answers 500 to everything", () => {
  test("keeps its traffic with a TCP check", async () => {
    bad.status = 500;
    await healthyHosts("http-checked", 1);
    await staysTrue("the TCP check is content", async () => (await healthyCount("tcp-checked")) === 2, 2 * outWithinMs);
    const counts = await sendMany(200, { port: web, path: "/tcp-checked" });
    expect(counts.byStatus.get(500) ?? 0).toBeGreaterThan(50);
  });

  test("loses its traffic with an HTTP check after `threshold` failed checks, within interval × threshold + timeout", async () => {
    const load = loadOn("http-checked");
    await waitFor("traffic on both", () => (load.counts().byBackend.get("bad") ?? 0) > 10);
    const since = performance.now();
    bad.status = 500;
    await healthyHosts("http-checked", 1);
    const outAt = Math.max(performance.now(), since + outWithinMs + slackMs);
    await staysTrue("no request reaches it any more", () => bad.lastRequestAt < outAt, 1_000);
    expect(bad.lastRequestAt - since).toBeLessThan(outWithinMs + slackMs);
    const failedChecks = (bad.checkTimes.get("/healthz/status") ?? []).filter((at) => at > since && at < bad.lastRequestAt);
    expect(failedChecks.length).toBeGreaterThanOrEqual(threshold - 1);
    expect(failedChecks.length).toBeLessThanOrEqual(threshold);
    const { failed } = await load.stop();
    expect(failed).toBe(0);
  });

  test("is out for good while it fails, and gets its traffic back when it recovers", async () => {
    bad.status = 500;
    await healthyHosts("http-checked", 1);
    const out = await sendMany(200, { port: web, path: "/http-checked" });
    expect(out.byBackend).toEqual(new Map([["good", 200]]));
    bad.status = 200;
    await healthyHosts("http-checked", 2);
    const back = await sendMany(200, { port: web, path: "/http-checked" });
    expect(back.byBackend.get("bad") ?? 0).toBeGreaterThan(50);
    expect(back.failed).toBe(0);
  });
});

async function healthyCount(cluster: string): Promise<number> {
  return ((await world.envoy.clusters()).get(cluster) ?? []).filter((host) => host.healthy).length;
}

test("a body check catches a 200 with the wrong body, and a status check does not", async () => {
  bad.body = "status: degraded";
  await healthyHosts("body-checked", 1);
  expect(await healthyCount("http-checked")).toBe(2);
  expect((await sendMany(100, { port: web, path: "/body-checked" })).byBackend).toEqual(new Map([["good", 100]]));
});

test("when no endpoint is healthy nothing is sent to any: no panic", async () => {
  good.status = 500;
  bad.status = 500;
  try {
    await healthyHosts("http-checked", 0);
    const counts = await sendMany(50, { port: web, path: "/http-checked" });
    expect(counts.byBackend).toEqual(new Map([["", 50]]));
    expect(counts.byStatus).toEqual(new Map([[503, 50]]));
  } finally {
    good.status = 200;
  }
});

test("a TCP check that sends and expects text tells a backend that answers from one that does not", async () => {
  const [port = 0] = await freePorts(1);
  const sound = await startTcpBackend("sound");
  const mute = await startTcpBackend("mute");
  mute.healthy = false;
  await setUp(world.api, [
    ["listener", listenerBody("ping", port, { protocol: "tcp" })],
    [
      "cluster",
      clusterBody("ping", [sound, mute], {
        protocol: "tcp",
        healthChecks: [quickCheck("tcp", { send: "PING\n", receive: ["PONG"] })],
      }),
    ],
    ["route", streamRouteBody("tcp", "ping", "ping", "ping")],
  ]);
  await waitFor("only the sound one is healthy", async () => {
    const hosts = (await world.envoy.clusters()).get("tcp/ping") ?? [];
    return hosts.length === 2 && hosts.every((host) => host.healthy === (host.address === sound.address));
  });
  expect(await countTcp(port, 50)).toEqual(new Map([["sound", 50]]));
});

test("a gRPC check follows the health service", async () => {
  const one = await startGrpcBackend("one");
  const two = await startGrpcBackend("two");
  two.serving = false;
  await setUp(world.api, [
    ["cluster", clusterBody("grpc", [one, two], { protocol: "grpc", healthChecks: [quickCheck("grpc")] })],
    ["route", routeBody("grpc", "web", "grpc", { match: { path: { prefix: "/chancery.test.Echo" } } })],
  ]);
  await healthyHosts("grpc", 1);
  expect(await sayOverGrpc(web, "hello")).toBe("one hello");
  one.serving = false;
  two.serving = true;
  await waitFor("two takes over", async () => {
    const hosts = (await world.envoy.clusters()).get("grpc") ?? [];
    return hosts.every((host) => host.healthy === (host.address === two.address));
  });
  expect(await sayOverGrpc(web, "hello")).toBe("two hello");
});

test("outlier detection takes out an endpoint that passes its check but fails its requests", async () => {
  const healthChecks = [quickCheck("tcp")];
  const outlierDetection = { consecutive5xx: 5, intervalMs: 500, baseEjectionTimeMs: 20_000, maxEjectionPercent: 50 };
  await setUp(world.api, [
    ["cluster", clusterBody("watched", [good, bad], { healthChecks, outlierDetection })],
    ["route", routeBody("watched", "web", "watched", { match: { path: { prefix: "/watched" } } })],
  ]);
  bad.status = 500;
  await sendMany(100, { port: web, path: "/watched" });
  // The next good check must not bring it back: three intervals pass.
  await staysTrue("it stays out", async () => (await healthyCount("watched")) === 1, 3 * intervalMs);
  expect((await sendMany(100, { port: web, path: "/watched" })).byBackend).toEqual(new Map([["good", 100]]));
});
