// `?wait=acked` tells the truth: when it says that every Envoy has a change, the next request meets it; when one is slow, it is named;
// when one is gone, it is told as gone and nobody waits for it.
import { beforeAll, describe, expect, test } from "vitest";
import { acked, type Sync } from "../support/api-client.js";
import { clusterBody, listenerBody, quickCheck, routeBody } from "../support/bodies.js";
import { type Mode, startEnvoy } from "../support/envoy.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { freePort } from "../support/ports.js";
import { send } from "../support/requests.js";
import { ackedBy, connected, setUp, startWorld, type World } from "../support/world.js";

describe.each<Mode>(["delta", "sotw"])("when a write is answered as acked, %s", (mode) => {
  let world: World;
  let web = 0;
  let backend: HttpBackend;

  beforeAll(async () => {
    world = await startWorld({ mode });
    web = await freePort();
    backend = await startHttpBackend("app");
    await setUp(world.api, [["listener", listenerBody("web", web)]]);
  });

  test("the next request meets it: 60 new routes, each to a cluster that this Envoy has never seen, one in five with a check", async () => {
    for (let round = 0; round < 60; round++) {
      const name = `new-${round}`;
      const checked = round % 5 === 0 ? { healthChecks: [quickCheck("http", { path: "/healthz" })] } : {};
      await world.api.post("/v1/clusters", clusterBody(name, [backend], checked));
      const { sync } = await world.api.post(
        `/v1/routes${acked}`,
        routeBody(name, "web", name, { match: { path: { exact: `/${name}` } } }),
      );
      expect(sync, name).toMatchObject({ state: "acked", gateways: { edge: { total: 1, acked: 1, lagging: [], refused: [] } } });
      expect((await send({ port: web, path: `/${name}` })).backend, name).toBe("app");
    }
  });

  test("a deleted route is not served any more", async () => {
    for (let round = 0; round < 20; round++) {
      await world.api.delete(`/v1/routes/new-${round}${acked}`);
      expect((await send({ port: web, path: `/new-${round}` })).status).toBe(404);
    }
  });
});

describe("when an Envoy does not answer", () => {
  let world: World;
  let web = 0;

  beforeAll(async () => {
    world = await startWorld({ nodes: ["edge-1", "edge-2"] });
    web = await freePort();
    const backend = await startHttpBackend("app");
    await setUp(world.api, [
      ["listener", listenerBody("web", web)],
      ["cluster", clusterBody("app", [backend])],
      ["route", routeBody("app", "web", "app")],
    ]);
  });

  const change = (timeoutMs: number, value: number) =>
    world.api.call(
      "PUT",
      `/v1/routes/app?wait=acked&timeoutMs=${timeoutMs}`,
      routeBody("app", "web", "app", { timeoutMs: value }),
    );

  test("a slow one is named, with 202 when the time is over, and has it later", async () => {
    const [, slow] = world.envoys;
    slow?.pause();
    const started = performance.now();
    const answer = await change(700, 4_001);
    const waited = performance.now() - started;
    slow?.resume();
    const { sync, revision } = answer.body as { sync: Sync; revision: number };
    expect([answer.status, sync.state]).toEqual([202, "pending"]);
    expect(sync.gateways["edge"]).toMatchObject({ total: 2, acked: 1, lagging: ["edge-2"], refused: [] });
    expect(waited).toBeGreaterThanOrEqual(700);
    expect(waited).toBeLessThan(3_000);
    await ackedBy(world.api, "edge-2", revision);
  });

  test("one that is gone is not waited for", async () => {
    const [, gone] = world.envoys;
    await gone?.kill();
    const answer = await change(10_000, 4_002);
    const { sync } = answer.body as { sync: Sync };
    expect([answer.status, sync.state]).toEqual([200, "acked"]);
    expect(sync.gateways["edge"]).toMatchObject({ acked: 1, lagging: [] });
    await gone?.start();
    await gone?.live();
    await connected(world.api, "edge-2");
  });

  test("a change that no Envoy has to take is acked at once", async () => {
    const { sync } = await world.api.post(`/v1/clusters${acked}`, clusterBody("unused", []));
    expect(sync?.state).toBe("acked");
  });

  test("a gateway without Envoys holds nothing up, and says that it has none", async () => {
    const { sync } = await world.api.post(
      `/v1/listeners${acked}`,
      listenerBody("lonely", await freePort(), { gateways: ["lonely"] }),
    );
    expect(sync?.state).toBe("acked");
    expect(sync?.gateways["lonely"]?.total ?? 0).toBe(0);
  });

  test("an Envoy that comes later is told the newest state, and counts from then on", async () => {
    const late = await startEnvoy({ node: "edge-3", gateway: "edge", xdsPorts: [world.replica.xdsPort] });
    await late.live();
    await connected(world.api, "edge-3");
    const answer = await change(10_000, 4_003);
    expect((answer.body as { sync: Sync }).sync.gateways["edge"]).toMatchObject({ total: 3, acked: 3 });
  });
});
