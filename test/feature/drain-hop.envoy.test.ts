// What closes HTTP at a drain's deadline, on a real Envoy: streaming responses, WebSockets and gRPC streams of an endpoint end within
// `closesWithinMs` of its phase `closing` and not before, and nobody else's are touched. Phases are put behind the API.
// Mutants caught: no metadata in the inner cluster; endpoints that leave it at once.
import { beforeAll, describe, expect, test } from "vitest";
import type { Endpoint } from "../../src/model/endpoint.js";
import { acked, type Json } from "../support/api-client.js";
import { putBehind } from "../support/behind-the-api.js";
import { clusterBody, listenerBody, quickCheck, routeBody } from "../support/bodies.js";
import { openEndless, type StreamProtocol, startEndlessBackend } from "../support/endless-streams.js";
import { startEnvoy } from "../support/envoy.js";
import { startHttpBackend } from "../support/http-backend.js";
import { sendMany, startLoad } from "../support/load.js";
import { openWebSockets } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { send } from "../support/requests.js";
import { staysTrue, waitFor } from "../support/wait.js";
import { ackedBy, setUp, startWorld, type World } from "../support/world.js";

let world: World;
let web = 0;

beforeAll(async () => {
  // Short, so that a test sees endpoints leave the inner cluster.
  world = await startWorld({ env: { CHANCERY_REMOVAL_GRACE_MS: "1500" } });
  web = await freePort();
  await setUp(world.api, [["listener", listenerBody("web", web)]]);
});

type Phase = "draining" | "closing" | undefined;
interface Addressed {
  readonly port: number;
}

/** Writes the endpoint as a drain would, and waits until the Envoy has it. */
async function phase(cluster: string, { port }: Addressed, phase: Phase): Promise<void> {
  const place = { address: "127.0.0.1", port, weight: 1, region: "", zone: "", priority: 0, enabled: true };
  const endpoint: Endpoint = { cluster, ...place, ...(phase ? { drain: { id: "drain-1", phase } } : {}) };
  await ackedBy(world.api, "edge-1", await putBehind(world.databaseUrl, [["endpoint", endpoint]]));
}

/** A cluster that closes, with a route to it. */
async function closing(name: string, backends: readonly Addressed[], more: Json = {}, route: Json = {}): Promise<string> {
  const settings = { drain: { atDeadline: "close" }, healthChecks: [quickCheck("tcp")], ...more };
  await setUp(world.api, [
    ["cluster", clusterBody(name, backends, settings)],
    ["route", routeBody(name, "web", name, { match: { path: { prefix: `/${name}` } }, ...route })],
  ]);
  const healthy = async () => ((await world.envoy.clusters()).get(name) ?? []).filter((host) => host.healthy).length;
  await waitFor(`${name} is whole`, async () => (await healthy()) === backends.length);
  return `/${name}`;
}

interface Guarantee {
  readonly kind: string;
  readonly closesWithinMs?: number;
}

async function guaranteeOf(cluster: string): Promise<Guarantee> {
  const status = await world.api.get<{ drain: { guarantee: Guarantee } }>(`/v1/clusters/${cluster}/status`);
  return status.drain.guarantee;
}

interface Held {
  readonly backend: string;
  readonly ended: boolean;
}

/** What is held on the drained endpoint lives through `draining` and ends by `closing`; the rest lives on. */
async function drainAndClose(cluster: string, drained: Addressed & { readonly name: string }, held: () => readonly Held[]) {
  const living = (ofIt: boolean): number => held().filter((one) => !one.ended && (one.backend === drained.name) === ofIt).length;
  const [its, others] = [living(true), living(false)];
  expect(Math.min(its, others)).toBeGreaterThan(0);
  const { kind, closesWithinMs = 0 } = await guaranteeOf(cluster);
  expect(kind).toBe("hop");
  await phase(cluster, drained, "draining");
  await staysTrue("draining closes nothing", () => living(true) === its, 2_500);
  await phase(cluster, drained, "closing");
  const since = performance.now();
  await waitFor("what it held is closed", () => living(true) === 0, { timeoutMs: closesWithinMs + 5_000 });
  expect(performance.now() - since).toBeLessThan(closesWithinMs);
  await staysTrue("the other one's live on", () => living(false) === others, 500);
}

describe("at the deadline what is open on the endpoint is closed, and nothing else", () => {
  test.each<StreamProtocol>(["http", "grpc"])("endless responses over %s", async (protocol) => {
    const name = `endless-${protocol}`;
    const [one, two] = await Promise.all([
      startEndlessBackend(`${name}-1`, protocol),
      startEndlessBackend(`${name}-2`, protocol),
    ]);
    const path = await closing(name, [one, two], { protocol }, { timeoutMs: 0 });
    const streams = await openEndless(web, 12, protocol, path);
    await drainAndClose(name, one, () => streams);
  });

  test("WebSockets; and clusters and listeners of the Envoy stay as they were", async () => {
    const [one, two] = await Promise.all([startHttpBackend("sockets-1"), startHttpBackend("sockets-2")]);
    const path = await closing("sockets", [one, two], {}, { upgrades: ["websocket"] });
    const held = await openWebSockets(web, 12, path);
    const updates = (): Promise<ReadonlyMap<string, number>> =>
      world.envoy.stats("(cluster|listener)_manager[.](cluster|listener)_(added|modified|removed|in_place_updated)");
    const before = await updates();
    await drainAndClose("sockets", one, () => held.all.map(({ backend, ended }) => ({ backend, ended: ended !== undefined })));
    expect(await updates()).toEqual(before);
    await held.answer();
    held.close();

    // And it may come back.
    await phase("sockets", one, undefined);
    await waitFor("it serves again", async () => (await sendMany(20, { port: web, path })).byBackend.has(one.name));
  });
});

test("a drain counts what is open through the hop, closes it at its deadline, and then it is safe to stop", async () => {
  // Reports name hop endpoints by `endpoint_id`; the inner cluster has the same work once more. Mutant: reports that don't know hops.
  const [one, two] = await Promise.all([startHttpBackend("whole-1"), startHttpBackend("whole-2")]);
  const path = await closing("whole", [one, two], {}, { upgrades: ["websocket"] });
  const held = await openWebSockets(web, 12, path);
  const of = (backend: Addressed & { readonly name: string }) => held.all.filter((each) => each.backend === backend.name);
  const count = of(one).length;
  const body = { cluster: "whole", endpoints: [one.address], timeoutMs: 8_000 };
  interface Drain {
    readonly id: string;
    readonly inFlight: number;
    readonly endpoints: readonly { readonly guarantee: Guarantee }[];
  }
  const drain = (await world.api.post("/v1/drains", body)).object as unknown as Drain;
  expect(drain.endpoints[0]?.guarantee.kind).toBe("hop");
  const at = `/v1/drains/${drain.id}`;
  await waitFor("it is counted", async () => (await world.api.get<Drain>(at)).inFlight === count, { timeoutMs: 7_000 });
  const end = await world.api.get<object>(`${at}?wait=safe&timeoutMs=60000`);
  expect(end).toMatchObject({ state: "removed", safeToStop: true, leftOpen: 0 });
  expect(of(one).every(({ ended }) => ended !== undefined)).toBe(true);
  expect(of(two).every(({ ended }) => ended === undefined)).toBe(true);
  held.close();
});

test("sessions by cookie hold through the hop, and leave at the deadline", async () => {
  const [one, two] = await Promise.all([startHttpBackend("stay-1"), startHttpBackend("stay-2")]);
  const sticky = { kind: "session-cookie", cookie: "at", ttlMs: 60_000 };
  const path = await closing("stay", [one, two], { drain: { atDeadline: "close", sticky: "until-drained" } }, { sticky });
  const first = await send({ port: web, path });
  const cookie = first.headers["set-cookie"]?.[0]?.split(";")[0] ?? "";
  const [held, other] = first.backend === one.name ? [one, two] : [two, one];
  const holder = async () => (await sendMany(30, { port: web, path, headers: { cookie } })).byBackend;
  await phase("stay", held, "draining");
  expect(await holder()).toEqual(new Map([[held.name, 30]]));
  await phase("stay", held, "closing");
  expect(await holder()).toEqual(new Map([[other.name, 30]]));
});

test("endpoints come and go under load without an error, and leave the inner cluster after a grace", async () => {
  const [one, two] = await Promise.all([startHttpBackend("load-1"), startHttpBackend("load-2")]);
  const path = await closing("load", [one, two], {}, { timeoutMs: 5_000 });
  const load = startLoad({ next: () => ({ port: web, path }), keepAlive: 4, newConnections: 4, requestsPerSecond: 300 });
  const place = `/v1/clusters/load/endpoints/${two.address}${acked}`;
  const inner = async (): Promise<number> => (await world.envoy.clusters()).get("hop/load")?.length ?? 0;
  for (let cycle = 0; cycle < 6; cycle++) {
    await world.api.delete(place);
    expect(await inner()).toBe(2);
    if (cycle === 0) await waitFor("it leaves the inner cluster", async () => (await inner()) === 1);
    const before = two.requests;
    await world.api.put(place, {});
    await waitFor("it serves again", () => two.requests > before);
  }
  const { failures, total } = await load.stop();
  expect(failures).toEqual([]);
  expect(total).toBeGreaterThan(500);
});

test("clusters and routes come and go under load without an error", async () => {
  const [one, two] = await Promise.all([startHttpBackend("route-1"), startHttpBackend("route-2")]);
  await setUp(world.api, [
    ["cluster", clusterBody("steady", [one])],
    ["route", routeBody("moving", "web", "steady", { match: { path: { prefix: "/moving" } } })],
  ]);
  const load = startLoad({
    next: () => ({ port: web, path: "/moving" }),
    keepAlive: 4,
    newConnections: 4,
    requestsPerSecond: 300,
  });
  for (let cycle = 0; cycle < 4; cycle++) {
    const name = `hopping-${cycle}`;
    const route = (to: string): Json => routeBody("moving", "web", to, { match: { path: { prefix: "/moving" } } });
    await world.api.post(
      "/v1/clusters",
      clusterBody(name, [two], { drain: { atDeadline: "close" }, healthChecks: [quickCheck("tcp")] }),
    );
    const before = two.requests;
    await world.api.put(`/v1/routes/moving${acked}`, route(name));
    await waitFor("the cluster with a hop serves", () => two.requests > before);
    await world.api.put(`/v1/routes/moving${acked}`, route("steady"));
    await world.api.delete(`/v1/clusters/${name}${acked}`);
  }
  expect((await load.stop()).failures).toEqual([]);
});

test("the means to close is fixed while a route names the cluster", async () => {
  const one = await startHttpBackend("fixed-1");
  await closing("fixed", [one], {}, { upgrades: ["websocket"] });
  const checked = { protocol: "http", connectTimeoutMs: 1_000, healthChecks: [quickCheck("tcp")] };
  const { code, errors } = await world.api.refused(409, "PUT", "/v1/clusters/fixed", checked);
  expect([code, errors?.[0]?.code, errors?.[0]?.pointer]).toEqual(["conflict", "breaks_route", "/drain/atDeadline"]);
  await world.api.put("/v1/clusters/fixed", { ...checked, connectTimeoutMs: 2_000, drain: { atDeadline: "close" } });
});

test("an Envoy that has no order of types, or no listener for hops, is served directly", async () => {
  const one = await startHttpBackend("plain-1");
  await closing("plain", [one], {}, { upgrades: ["websocket"] });
  const { xdsPort } = world.replica;
  const plain = await startEnvoy({ node: "plain", gateway: "edge", xdsPorts: [xdsPort], mode: "separate-delta" });
  await plain.live();
  await waitFor("it has the cluster", async () => (await plain.clusters()).get("plain")?.[0]?.healthy);
  expect((await plain.clusters()).get("plain")?.[0]?.address).toBe(one.address);
  expect([...(await plain.clusters()).keys()].filter((name) => name.startsWith("hop/"))).toEqual([]);
  expect((await world.envoy.clusters()).get("hop/plain")?.[0]?.address).toBe(one.address);
});
