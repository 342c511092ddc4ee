// Drains of endpoints that are not just one healthy among many, on a real Envoy: all of a cluster at once, one whose checks fail, one whose
// process is dead, and one to which sessions are bound. What is in flight is waited for, nothing fails that need not, and the word is true.
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
  readonly state: string;
  readonly safeToStop: boolean;
  readonly inFlight: number;
  readonly createdAt: string;
  readonly deadline: string;
  readonly endedAt: string;
}

let world: World;
let web = 0;
beforeAll(async () => {
  world = await startWorld();
  web = await freePort();
  await setUp(world.api, [["listener", listenerBody("web", web)]]);
});

async function serve(name: string, count: number, more: object = {}, route: object = {}): Promise<HttpBackend[]> {
  const backends = await Promise.all(Array.from({ length: count }, (_, at) => startHttpBackend(`${name}-${at}`)));
  await setUp(world.api, [
    ["cluster", clusterBody(name, backends, { loadBalancing: { policy: "round-robin" }, ...more })],
    ["route", routeBody(name, "web", name, { match: { path: { prefix: `/${name}` } }, ...route })],
  ]);
  return backends;
}

async function begin(cluster: string, leaving: readonly HttpBackend[], timeoutMs: number): Promise<string> {
  const body = { cluster, endpoints: leaving.map(({ address }) => address), timeoutMs };
  return String((await world.api.post("/v1/drains?override=last-endpoint", body)).object?.["id"]);
}
const show = (id: string): Promise<Drain> => world.api.get<Drain>(`/v1/drains/${id}`);
const ended = (id: string): Promise<Drain> => world.api.get<Drain>(`/v1/drains/${id}?wait=safe&timeoutMs=90000`);
const tookMs = ({ createdAt, endedAt }: Drain): number => Date.parse(endedAt) - Date.parse(createdAt);

test("all endpoints of a cluster: what is in flight is answered, what is new is refused by Envoy, and then it is safe", async () => {
  const backends = await serve("all", 3);
  for (const backend of backends) backend.delayMs = 5_000;
  const answers = Array.from({ length: 9 }, () => send({ port: web, path: "/all" }));
  const begun = (): number => backends.reduce((sum, { requests }) => sum + requests, 0);
  await waitFor("they are there", () => begun() === 9);
  const id = await begin("all", backends, 60_000);
  await waitFor("every Envoy has it", async () => (await show(id)).state === "in-flight");
  expect(await send({ port: web, path: "/all" })).toMatchObject({ status: 503, backend: undefined });
  expect((await Promise.all(answers)).map(({ status }) => status)).toEqual(Array(9).fill(200));
  expect(await ended(id)).toMatchObject({ state: "removed", safeToStop: true });
  expect(begun()).toBe(9);
});

test("an endpoint whose checks fail: what is in flight there is waited for", async () => {
  const [failing, other] = await serve(
    "failing",
    2,
    { healthChecks: [quickCheck("http", { path: "/healthz" })] },
    { upgrades: ["websocket"] },
  );
  if (!failing || !other) throw new Error("there are two");
  const healthy = async (): Promise<number> =>
    ((await world.envoy.clusters()).get("failing") ?? []).filter((host) => host.healthy).length;
  await waitFor("both are healthy", async () => (await healthy()) === 2);
  const sockets = await openWebSockets(web, 8, "/failing");
  const its = failing.openWebSockets();
  expect(its).toBeGreaterThan(0);
  failing.status = 500;
  await waitFor("it is out", async () => (await healthy()) === 1);
  const id = await begin("failing", [failing], 60_000);
  await waitFor("they are seen", async () => (await show(id)).inFlight === its);
  expect(await show(id)).toMatchObject({ state: "in-flight", safeToStop: false });
  sockets.close();
  const end = await ended(id);
  expect(end).toMatchObject({ state: "removed", safeToStop: true });
  expect(failing.openWebSockets()).toBe(0);
});

test("an endpoint whose process is dead takes no longer than an idle one", async () => {
  const [dead] = await serve("dead", 2, { healthChecks: [quickCheck("tcp")] });
  if (!dead) throw new Error("there are two");
  await dead.close();
  const load = startLoad({ next: () => ({ port: web, path: "/dead" }), requestsPerSecond: 100, accepts: () => true });
  const end = await ended(await begin("dead", [dead], 60_000));
  await load.stop();
  expect(end).toMatchObject({ state: "removed", safeToStop: true });
  expect(tookMs(end)).toBeLessThan(30_000);
});

test("sessions that may stay: holders stay until the deadline, newcomers don't come, nothing fails when the process is stopped", async () => {
  const sticky = { kind: "session-cookie", cookie: "at", ttlMs: 600_000 };
  const backends = await serve("stay", 3, { drain: { sticky: "until-drained" } }, { sticky, timeoutMs: 2_000 });
  const newcomer = (): Promise<{ backend: string | undefined; cookie: string }> =>
    send({ port: web, path: "/stay" }).then(({ backend, headers }) => ({
      backend,
      cookie: headers["set-cookie"]?.[0]?.split(";")[0] ?? "",
    }));
  const [leaving] = backends;
  if (!leaving) throw new Error("there are three");
  const holder = await waitFor("a session of it", async () => {
    const found = await newcomer();
    return found.backend === leaving.name ? found : undefined;
  });
  const headers = { cookie: holder.cookie };
  const held = startLoad({ next: () => ({ port: web, path: "/stay", headers }), requestsPerSecond: 100 });
  const fresh = startLoad({ next: () => ({ port: web, path: "/stay" }), requestsPerSecond: 100 });
  const id = await begin("stay", [leaving], 6_000);
  await waitFor("every Envoy has it", async () => (await show(id)).state === "in-flight");
  const before = { held: new Map(held.counts().byBackend), fresh: new Map(fresh.counts().byBackend) };
  const since = (which: "held" | "fresh", name: string): number =>
    ((which === "held" ? held : fresh).counts().byBackend.get(name) ?? 0) - (before[which].get(name) ?? 0);
  await waitFor("the holder goes on", () => since("held", leaving.name) > 100);
  const [atItself, elsewhere] = [since("fresh", leaving.name), backends.slice(1).map(({ name }) => since("held", name))];
  const end = await ended(id);
  await leaving.close();
  expect(elsewhere).toEqual([0, 0]);
  expect(atItself).toBeLessThan(8); // Those that were on their way when it was asked.
  expect(end).toMatchObject({ state: "removed", safeToStop: true });
  expect(Date.parse(end.endedAt)).toBeGreaterThanOrEqual(Date.parse(end.deadline));
  await waitFor("the session is elsewhere", () => backends.slice(1).some(({ name }) => since("held", name) > 50));
  expect([(await held.stop()).failures, (await fresh.stop()).failures]).toEqual([[], []]);
});
