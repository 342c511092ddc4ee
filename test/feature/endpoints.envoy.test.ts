// Endpoints are the hot path: disabled, weighted, in zones and priorities, one at a time, as a whole set and many at once. A change of
// them reaches Envoy without touching clusters, listeners or connections.
import { beforeAll, describe, expect, test } from "vitest";
import { acked, type Json } from "../support/api-client.js";
import { clusterBody, endpointOf, listenerBody, routeBody } from "../support/bodies.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { sendMany, startLoad } from "../support/load.js";
import { openWebSockets } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { expectShares } from "../support/shares.js";
import { setUp, startWorld, type World } from "../support/world.js";

let world: World;
let web = 0;
let a: HttpBackend;
let b: HttpBackend;
let c: HttpBackend;

beforeAll(async () => {
  world = await startWorld();
  web = await freePort();
  [a, b, c] = await Promise.all([startHttpBackend("a"), startHttpBackend("b"), startHttpBackend("c")]);
  await setUp(world.api, [
    ["listener", listenerBody("web", web)],
    ["cluster", clusterBody("app", [a, b, c], { loadBalancing: { policy: "round-robin" } })],
    ["route", routeBody("app", "web", "app", { upgrades: ["websocket"] })],
  ]);
});

const endpoints = `/v1/clusters/app/endpoints`;
const put = (backend: HttpBackend, more: Json) =>
  world.api.put(`${endpoints}/${backend.address}${acked}`, endpointOf(backend, more));
const replace = (all: readonly Json[]) => world.api.put(`${endpoints}${acked}`, { endpoints: all });
/** Zones are fixed for an endpoint's life: it leaves first, then comes back elsewhere. */
const replaceAnew = async (all: readonly Json[]) => {
  await world.api.put(`/v1/clusters/app/endpoints${acked}&override=emptied`, { endpoints: [] });
  return replace(all);
};
const shares = async (count: number) => (await sendMany(count, { port: web })).byBackend;

describe("enabled: false", () => {
  test("takes no new request from the answer on, no request fails, and a WebSocket on it lives", async () => {
    const sockets = await openWebSockets(web, 6);
    const load = startLoad({ next: () => ({ port: web }), requestsPerSecond: 300, newConnections: 2 });
    expect((await put(b, { enabled: false })).sync).toMatchObject({ state: "acked", gateways: { edge: { total: 1, acked: 1 } } });
    // Of the requests that begin after the answer none goes there; one that was on its way may still arrive.
    expectShares(await shares(300), { a: 1, c: 1 });
    await sockets.answer();
    expect(sockets.all.filter((one) => one.backend === "b").length).toBeGreaterThan(0);
    expect([sockets.alive(), sockets.deaths()]).toEqual([6, []]);
    expect((await load.stop()).failures).toEqual([]);
    sockets.close();
    await put(b, { enabled: true });
    expectShares(await shares(300), { a: 1, b: 1, c: 1 });
  });
});

describe("weights, zones and priorities", () => {
  test("an endpoint's weight is its share within the cluster", async () => {
    await put(a, { weight: 8 });
    expectShares(await shares(2_000), { a: 8, b: 1, c: 1 });
    await put(a, { weight: 1 });
  });

  test("a larger priority gets traffic only when no smaller one is left", async () => {
    await replace([endpointOf(a), endpointOf(b, { priority: 1 })]);
    expect(await shares(100)).toEqual(new Map([["a", 100]]));
    await put(a, { enabled: false });
    expect(await shares(100)).toEqual(new Map([["b", 100]]));
    await put(a, { enabled: true });
  });

  test("zones share by their endpoints", async () => {
    await replaceAnew([
      endpointOf(a, { region: "eu", zone: "eu-1" }),
      endpointOf(b, { region: "eu", zone: "eu-2" }),
      endpointOf(c, { region: "eu", zone: "eu-2" }),
    ]);
    expectShares(await shares(1_500), { a: 1, b: 1, c: 1 });
  });

  test("the zone of an endpoint can't be edited in place: 409, and nothing changes", async () => {
    const problem = await world.api.refused(
      409,
      "PUT",
      `${endpoints}/${a.address}`,
      endpointOf(a, { region: "eu", zone: "eu-9" }),
    );
    expect(problem.code).toBe("endpoint_location_fixed");
    expect(await world.api.get(`${endpoints}/${a.address}`)).toMatchObject({ zone: "eu-1" });
  });
});

describe("many at once", () => {
  test("the whole set is replaced in one revision; an endpoint that left gets nothing more", async () => {
    const { revision } = await replaceAnew([endpointOf(a), endpointOf(c)]);
    expect(revision).toBeGreaterThan(0);
    const seen = b.requests;
    expectShares(await shares(300), { a: 1, c: 1 });
    expect(b.requests).toBe(seen);
  });

  test("an endpoint that failed its check and is removed gets no new traffic: it is gone at once", async () => {
    await replace([endpointOf(a)]);
    expect(await shares(50)).toEqual(new Map([["a", 50]]));
    const hosts = (await world.envoy.clusters()).get("app") ?? [];
    expect(hosts.map((host) => host.address)).toEqual([a.address]);
  });

  test("changes of endpoints touch nothing else in Envoy", async () => {
    const counters = [
      "cluster_manager\\.cluster_modified",
      "listener_manager\\.listener_modified",
      "listener_manager\\.listener_in_place_updated",
    ];
    const before = await world.envoy.statSum(counters.join("|"));
    await put(a, { weight: 5 });
    await put(a, { weight: 6 });
    expect(await world.envoy.statSum(counters.join("|"))).toBe(before);
  });
});
