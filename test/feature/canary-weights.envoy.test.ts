// A canary by `PUT …/weights?wait=acked` under load: no request fails at any shift, the split is what the weights say, and
// WebSockets live through all of it. Sticky canaries keep each user on one side while the canary grows.
import { beforeAll, describe, expect, test } from "vitest";
import { acked, type Mutation } from "../support/api-client.js";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { startHttpBackend } from "../support/http-backend.js";
import { type Load, sendMany, startLoad } from "../support/load.js";
import { type LongConnections, openWebSockets } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { send } from "../support/requests.js";
import { expectShares } from "../support/shares.js";
import { setUp, startWorld, type World } from "../support/world.js";

let world: World;
let web = 0;

beforeAll(async () => {
  world = await startWorld({ nodes: ["edge-1"] });
  web = await freePort();
  const [stable, canary] = await Promise.all([startHttpBackend("stable"), startHttpBackend("canary")]);
  await setUp(world.api, [
    ["listener", listenerBody("web", web)],
    ["cluster", clusterBody("stable", [stable])],
    ["cluster", clusterBody("canary", [canary])],
    ["route", routeBody("checkout", "web", { stable: 100, canary: 0 }, { match: { path: { prefix: "/checkout" } } })],
    [
      "route",
      routeBody("chat", "web", { stable: 1, canary: 0 }, { match: { path: { prefix: "/chat" } }, upgrades: ["websocket"] }),
    ],
  ]);
});

const shift = (route: string, weights: Readonly<Record<string, number>>): Promise<Mutation> =>
  world.api.put(`/v1/routes/${route}/weights${acked}`, { weights });

describe("a canary grows from nothing to everything under load", () => {
  let load: Load;
  let sockets: LongConnections;

  test("100/0: everything goes to the stable side", async () => {
    sockets = await openWebSockets(web, 5, "/chat");
    load = startLoad({ next: () => ({ port: web, path: "/checkout" }), keepAlive: 4, newConnections: 2, requestsPerSecond: 300 });
    const { byBackend, failed } = await sendMany(2_000, { port: web, path: "/checkout" });
    expectShares(byBackend, { stable: 100, canary: 0 });
    expect(failed).toBe(0);
  });

  test.each([
    [95, 5, 10_000],
    [50, 50, 10_000],
    [0, 100, 2_000],
  ])("%i/%i: from the answer on, the split of %i requests is what the weights say", async (stable, canary, requests) => {
    const mutation = await shift("checkout", { stable, canary });
    await shift("chat", { stable, canary });
    expect(mutation).toMatchObject({
      changed: true,
      sync: { state: "acked", gateways: { edge: { total: 1, acked: 1, refused: [] } } },
    });
    const { byBackend, failed } = await sendMany(requests, { port: web, path: "/checkout" });
    expectShares(byBackend, { stable, canary });
    expect(failed).toBe(0);
  });

  test("no request of the load failed at any shift, and every WebSocket lived through them", async () => {
    const { failures, total } = await load.stop();
    expect(failures).toEqual([]);
    expect(total).toBeGreaterThan(1_000);
    await sockets.answer();
    expect([sockets.alive(), sockets.deaths()]).toEqual([5, []]);
    sockets.close();
  });
});

test("a write that changes no weight makes no revision, and the backends keep their order", async () => {
  await shift("checkout", { canary: 70, stable: 30 });
  const before = await world.api.call("GET", "/v1/routes/checkout");
  expect(await shift("checkout", { stable: 30, canary: 70 })).toMatchObject({ changed: false });
  const after = await world.api.call("GET", "/v1/routes/checkout");
  expect(after.headers.get("etag")).toBe(before.headers.get("etag"));
  expect(after.body).toMatchObject({
    backends: [
      { cluster: "stable", weight: 30 },
      { cluster: "canary", weight: 70 },
    ],
  });
});

test("weights must name every backend exactly once: anything else is a 422 and nothing changes", async () => {
  const before = (await world.api.get<{ backends: unknown }>("/v1/routes/checkout")).backends;
  for (const weights of [
    { stable: 1 },
    { stable: 1, canary: 1, strange: 1 },
    {},
    { stable: -1, canary: 1 },
    { stable: 1.5, canary: 1 },
  ]) {
    const problem = await world.api.refused(422, "PUT", "/v1/routes/checkout/weights", { weights });
    expect(problem.errors?.length, JSON.stringify(weights)).toBeGreaterThan(0);
  }
  expect((await world.api.get<{ backends: unknown }>("/v1/routes/checkout")).backends).toEqual(before);
});

describe("a sticky canary", () => {
  const users = Array.from({ length: 300 }, (_, index) => `user-${index}`);

  /** user → the side that answers, asked twice: a user who moves between two requests is an error. */
  async function sides(path: string, headersOf: (user: string) => Record<string, string>): Promise<ReadonlyMap<string, string>> {
    const found = new Map<string, string>();
    for (const user of users) {
      const answers = [
        await send({ port: web, path, headers: headersOf(user) }),
        await send({ port: web, path, headers: headersOf(user) }),
      ];
      expect(new Set(answers.map((answer) => answer.backend)).size, user).toBe(1);
      found.set(user, answers[0]?.backend ?? "");
    }
    return found;
  }
  const onCanary = (found: ReadonlyMap<string, string>): string[] => users.filter((user) => found.get(user) === "canary");

  test.each([
    ["canary-header", { kind: "canary-header", header: "x-user" }, (user: string) => ({ "x-user": user })],
    ["canary-cookie", { kind: "canary-cookie", cookie: "user" }, (user: string) => ({ cookie: `user=${user}` })],
  ])("%s: nobody leaves the canary while it grows", async (name, sticky, headersOf) => {
    const match = { path: { prefix: `/${name}` } };
    await world.api.post(`/v1/routes${acked}`, routeBody(name, "web", { stable: 90, canary: 10 }, { match, sticky }));
    const few = onCanary(await sides(`/${name}`, headersOf));
    await shift(name, { stable: 60, canary: 40 });
    const more = onCanary(await sides(`/${name}`, headersOf));
    expect(few.length).toBeGreaterThan(5);
    expect(more.length).toBeGreaterThan(few.length);
    expect(more).toEqual(expect.arrayContaining(few));
    await shift(name, { stable: 0, canary: 100 });
    expect(onCanary(await sides(`/${name}`, headersOf))).toHaveLength(users.length);
  });
});

test("an override by header goes to the canary whatever the split says", async () => {
  const match = { path: { prefix: "/checkout" }, headers: [{ name: "x-canary", exact: "true" }] };
  await world.api.post(`/v1/routes${acked}`, routeBody("checkout-override", "web", "canary", { match }));
  await shift("checkout", { stable: 100, canary: 0 });
  const overridden = await sendMany(100, { port: web, path: "/checkout", headers: { "x-canary": "true" } });
  const ordinary = await sendMany(100, { port: web, path: "/checkout" });
  expect(overridden.byBackend).toEqual(new Map([["canary", 100]]));
  expect(ordinary.byBackend).toEqual(new Map([["stable", 100]]));
});
