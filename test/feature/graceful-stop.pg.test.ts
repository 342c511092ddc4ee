// An orderly stop of one replica of two, under load: unready first, then its streams go to the other one after the other, calls that wait are
// answered, what it had under way the other ends; asked a second time, it ends at once.
// Mutant that was tried, and is caught: all streams ended in one turn.
import { status } from "@grpc/grpc-js";
import { beforeAll, expect, test } from "vitest";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { crowdSettings, openCrowd } from "../support/crowd.js";
import { type Replica, startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { connected, startDatabase } from "../support/world.js";
import { openXdsConnection, openXdsStream, type XdsStream } from "../support/xds-client.js";

const fleet = 200;
let databaseUrl = "";
let going: Replica;
let staying: Replica;

beforeAll(async () => {
  databaseUrl = await startDatabase();
  const env = { ...crowdSettings, CHANCERY_LOG_LEVEL: "info", CHANCERY_SHUTDOWN_DELAY_MS: "5000" };
  [going, staying] = await Promise.all([
    startReplica({ databaseUrl, id: "going", env }),
    startReplica({ databaseUrl, id: "staying", env }),
  ]);
  await going.api.post("/v1/listeners", listenerBody("web", 80));
  await going.api.post("/v1/clusters", clusterBody("app", [{ port: 1_001 }, { port: 1_002 }]));
  await going.api.post("/v1/routes", routeBody("app", "web", "app"));
});

const isThere = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};
const open = (replica: Replica, node: string): XdsStream =>
  openXdsStream({ port: replica.xdsPort, node, gateway: "edge", protocol: "delta" });

test("unready, then streams end in a spread, waits are answered, and the other replica goes on with all of it", async () => {
  const crowd = [...openCrowd(going, fleet, { clusters: ["app"], routes: ["web"] }).values()];
  const silent = open(going, "silent"); // It never answers, so whoever waits for it waits.
  silent.request("cluster");
  silent.request("endpoint", { names: ["app"] });
  await silent.next("endpoint");
  await connected(going.api, "silent");
  await waitFor("all are served", () => crowd.every((stream) => stream.state("route").has("web")));
  const { object } = await going.api.post("/v1/drains", { cluster: "app", endpoints: ["127.0.0.1:1002"], timeoutMs: 4_000 });
  const waiting = going.api.call("PUT", "/v1/clusters/app/endpoints/127.0.0.1:1001?wait=acked&timeoutMs=60000", { weight: 2 });
  await waitFor("it waits", async () => (await going.api.call("GET", "/metrics")).text.includes("chancery_sync_waits_open 1"));
  const ends: { code: number; at: number }[] = [];
  for (const stream of crowd) void stream.ended.then(({ code }) => ends.push({ code, at: performance.now() }));
  const connection = openXdsConnection(going.xdsPort);
  const kept = openXdsStream({ port: going.xdsPort, node: "kept", gateway: "edge", protocol: "delta", connection });
  kept.request("cluster");
  await kept.next("cluster");

  const pid = going.pid();
  const stoppedAt = performance.now();
  process.kill(pid, "SIGTERM");
  await waitFor("it is unready", async () => (await going.api.call("GET", "/readyz")).status === 503, { everyMs: 5 });
  const late = open(going, "late"); // Whoever a load balancer still sends is served, for the delay.
  late.request("cluster");
  await late.next("cluster");
  expect(ends).toEqual([]);

  await waitFor("the first streams have ended", () => ends.length > 0, { everyMs: 2 });
  const refused = openXdsStream({ port: going.xdsPort, node: "refused", gateway: "edge", protocol: "delta", connection });
  refused.request("cluster");
  expect((await refused.ended).code).toBe(status.UNAVAILABLE);
  expect(refused.responses).toEqual([]);
  const answer = await waiting;
  expect([answer.status, (answer.body as { sync: { state: string } }).sync.state]).toEqual([202, "pending"]);
  await waitFor("all streams have ended", () => ends.length === fleet);
  expect(new Set(ends.map(({ code }) => code))).toEqual(new Set([status.UNAVAILABLE]));
  // 2 ms apart.
  expect((ends.at(-1)?.at ?? 0) - (ends[0]?.at ?? 0)).toBeGreaterThan(fleet * 2 * 0.6);
  for (const stream of [silent, kept, late]) stream.close();
  await waitFor("the process is gone", () => !isThere(pid));
  expect(performance.now() - stoppedAt).toBeLessThan(5_000 + 10_000 + 5_000);
  await going.kill(); // It is; its log is kept now.
  expect(going.log()).not.toContain("could not stop in time");

  const drain = () => staying.api.get<{ state: string; endedAt?: string }>(`/v1/drains/${object?.["id"]}`);
  await waitFor("the drain has ended", async () => (await drain()).endedAt !== undefined);
  const back = openCrowd(staying, fleet, { clusters: ["app"], routes: ["web"] });
  await waitFor("all are in sync", () => [...back.values()].every((stream) => stream.state("endpoint").has("app")));
});

test("asked a second time it ends at once", async () => {
  const replica = await startReplica({ databaseUrl, id: "hasty", env: { CHANCERY_SHUTDOWN_DELAY_MS: "60000" } });
  const pid = replica.pid();
  process.kill(pid, "SIGTERM");
  await waitFor("it is stopping", () => replica.log().includes("stopping"));
  expect(isThere(pid)).toBe(true);
  process.kill(pid, "SIGTERM");
  await waitFor("the process is gone", () => !isThere(pid), { timeoutMs: 5_000 });
  await replica.kill(); // It is; its log is kept now.
  expect(replica.log()).toContain("asked to stop again: ending at once");
});
