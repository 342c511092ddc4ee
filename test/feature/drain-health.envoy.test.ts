// A drain and the health of endpoints, as a real Envoy tells it: the last healthy one is not taken unless that is meant, a sick one goes
// quickly, and where all are drained nothing is sent to any of them.
// Mutants that it caught: health is not looked at; the panic threshold left at Envoy's 50 %.
import { beforeAll, expect, test } from "vitest";
import { clusterBody, listenerBody, quickCheck, routeBody } from "../support/bodies.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { startLoad } from "../support/load.js";
import { openWebSockets } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { send } from "../support/requests.js";
import { waitFor } from "../support/wait.js";
import { setUp, startWorld, type World } from "../support/world.js";

interface Drain {
  readonly id: string;
  readonly createdAt: string;
  readonly endedAt: string;
}

let world: World;

beforeAll(async () => {
  world = await startWorld();
});

async function service(name: string): Promise<{ readonly port: number; readonly backends: readonly HttpBackend[] }> {
  const port = await freePort();
  const backends = await Promise.all([0, 1, 2].map((at) => startHttpBackend(`${name}-${at}`)));
  await setUp(world.api, [
    ["listener", listenerBody(name, port)],
    ["cluster", clusterBody(name, backends, { healthChecks: [quickCheck("http", { path: "/healthz" })] })],
    ["route", routeBody(name, name, name, { upgrades: ["websocket"] })],
  ]);
  return { port, backends };
}

const hosts = async (cluster: string, isLike: (host: { healthy: boolean; edsStatus: string }) => boolean): Promise<number> =>
  ((await world.envoy.clusters()).get(cluster) ?? []).filter(isLike).length;
const drain = (cluster: string, of: readonly (HttpBackend | undefined)[], query = "") =>
  world.api.call("POST", `/v1/drains${query}`, {
    cluster,
    endpoints: of.map((backend) => backend?.address),
    timeoutMs: 60_000,
  });

test("the last healthy endpoint is not drained unless that is overridden; sick ones are, quickly and safely", async () => {
  const { port, backends } = await service("sick");
  const [good, ...bad] = backends;
  await waitFor("all are healthy", async () => (await hosts("sick", ({ healthy }) => healthy)) === 3);
  for (const backend of bad) backend.status = 500;
  await waitFor("two are sick", async () => (await hosts("sick", ({ healthy }) => healthy)) === 1);
  const load = startLoad({ next: () => ({ port }), requestsPerSecond: 50, accepts: () => true });
  // Its metrics come each second.
  const refused = await waitFor("the Envoy has told", async () => {
    const answer = await drain("sick", [good], "?dryRun=true");
    return answer.status === 409 ? answer : undefined;
  });
  expect(refused.body).toMatchObject({
    code: "guard_refused",
    override: ["last-endpoint"],
    guards: [{ guard: "last-endpoint", cluster: "sick", node: "edge-1", before: 1, gone: 1, after: 0 }],
    detail: expect.stringMatching(
      /^Envoy edge-1 told \d\.\d s ago that 1 of 3 endpoints of sick is healthy, and the drain takes 1/,
    ),
  });

  const one = await waitFor(
    "its load reports show which one is healthy",
    async () => {
      const answer = await drain("sick", bad.slice(0, 1));
      return answer.status === 201 ? answer : Promise.reject(new Error(answer.text));
    },
    { timeoutMs: 25_000 }, // They come every 10 s.
  );
  const { id } = (one.body as { object: Drain }).object;
  const safe = await world.api.get<Drain>(`/v1/drains/${id}?wait=safe&timeoutMs=60000`);
  expect(safe).toMatchObject({ state: "removed", safeToStop: true, leftOpen: 0, outcome: "nothing is in flight" });
  expect(Date.parse(safe.endedAt) - Date.parse(safe.createdAt)).toBeLessThan(15_000);

  expect((await drain("sick", [good])).status).toBe(409);
  expect((await drain("sick", [good], "?override=last-endpoint")).status).toBe(201);
  await load.stop();
});

test("where all endpoints are drained, nothing new is sent to any: 503, not panic", async () => {
  const { port, backends } = await service("panic");
  const held = await openWebSockets(port, 6); // So that the drain stays open.
  expect((await drain("panic", backends, "?override=last-endpoint")).status).toBe(201);
  await waitFor("all are draining", async () => (await hosts("panic", ({ edsStatus }) => edsStatus === "DRAINING")) === 3);
  const before = backends.map(({ requests }) => requests);
  const answers = await Promise.all(Array.from({ length: 30 }, () => send({ port })));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([503]));
  expect(backends.map(({ requests }) => requests)).toEqual(before);
  await held.answer();
  held.close();
});

test("where the others are sick, one that drains gets nothing new either", async () => {
  const { port, backends } = await service("rest-sick");
  const [draining, ...bad] = backends;
  const held = await openWebSockets(port, 6);
  for (const backend of bad) backend.status = 500;
  await waitFor("two are sick", async () => (await hosts("rest-sick", ({ healthy }) => healthy)) === 1);
  expect((await drain("rest-sick", [draining], "?override=last-endpoint")).status).toBe(201);
  await waitFor("it drains", async () => (await hosts("rest-sick", ({ edsStatus }) => edsStatus === "DRAINING")) === 1);
  const before = backends.map(({ requests }) => requests);
  const answers = await Promise.all(Array.from({ length: 30 }, () => send({ port })));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([503]));
  expect(backends.map(({ requests }) => requests)).toEqual(before);
  held.close();
});
