// Envoys without ADS: one stream per type, one per EDS cluster, on the same rules. Order across streams is best effort, so what is promised
// here is that everything arrives, and that a restart of the control plane disturbs nothing.
import { beforeAll, describe, expect, test } from "vitest";
import { acked } from "../support/api-client.js";
import { clusterBody, endpointOf, listenerBody, routeBody, streamRouteBody } from "../support/bodies.js";
import type { Mode } from "../support/envoy.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { sendMany, startLoad } from "../support/load.js";
import { freePort } from "../support/ports.js";
import { send } from "../support/requests.js";
import { expectShares } from "../support/shares.js";
import { countTcp } from "../support/short-connections.js";
import { startTcpBackend } from "../support/stream-backends.js";
import { waitFor } from "../support/wait.js";
import { connected, setUp, startWorld, type World } from "../support/world.js";

describe.each<Mode>(["separate-delta", "separate-sotw"])("an Envoy on the services of each type, %s", (mode) => {
  let world: World;
  let web = 0;
  let one: HttpBackend;
  let two: HttpBackend;

  beforeAll(async () => {
    // One stream per EDS cluster and RouteConfiguration, on one connection.
    world = await startWorld({
      mode,
      env: { CHANCERY_XDS_MAX_STREAMS_PER_CONNECTION: "1000", CHANCERY_REMOVAL_GRACE_MS: "500" },
    });
    web = await freePort();
    [one, two] = await Promise.all([startHttpBackend("one"), startHttpBackend("two")]);
    await setUp(world.api, [
      ["listener", listenerBody("web", web)],
      ["cluster", clusterBody("one", [one])],
      ["cluster", clusterBody("two", [two])],
      ["route", routeBody("app", "web", { one: 1, two: 0 })],
    ]);
    // Without ADS an Envoy acks clusters before they are warm, and nothing holds a route back for them.
    await waitFor("both clusters are warm", async () => {
      const gauges = await world.envoy.stats("cluster\\.(one|two)\\.membership_healthy|cluster_manager\\.warming_clusters");
      return gauges.size === 3 && gauges.get("cluster_manager.warming_clusters") === 0;
    });
    expect((await send({ port: web })).backend).toBe("one");
  });

  test("weights, endpoints and new routes arrive", async () => {
    await world.api.put(`/v1/routes/app/weights${acked}`, { weights: { one: 50, two: 50 } });
    expectShares((await sendMany(2_000, { port: web })).byBackend, { one: 50, two: 50 });
    await world.api.put(`/v1/clusters/two/endpoints${acked}`, { endpoints: [endpointOf(one)] });
    expectShares((await sendMany(200, { port: web })).byBackend, { one: 1 });
    await world.api.post("/v1/clusters", clusterBody("three", [two]));
    await world.api.post(`/v1/routes${acked}`, routeBody("three", "web", "three", { match: { path: { prefix: "/three" } } }));
    await waitFor("the new route answers", async () => (await send({ port: web, path: "/three" })).backend === "two");
  });

  test("a TCP listener arrives with its route, and goes with it", async () => {
    const port = await freePort();
    const raw = await startTcpBackend("raw");
    await setUp(world.api, [
      ["listener", listenerBody("mq", port, { protocol: "tcp" })],
      ["cluster", clusterBody("raw", [raw], { protocol: "tcp" })],
      ["route", streamRouteBody("tcp", "mq", "mq", "raw")],
    ]);
    expect(await waitFor("it answers", () => countTcp(port, 20))).toEqual(new Map([["raw", 20]]));
    await world.api.delete("/v1/routes/mq");
    await world.api.delete(`/v1/listeners/mq${acked}`);
    await waitFor("its port is closed", async () => !(await world.envoy.names("listener")).includes("mq"));
  });

  test("the control plane restarts: no request fails, and changes arrive again", async () => {
    const load = startLoad({ next: () => ({ port: web, path: "/three" }), newConnections: 2, requestsPerSecond: 200 });
    await world.replica.kill();
    await world.replica.start();
    await connected(world.api, "edge-1");
    await world.api.put(`/v1/routes/app/weights${acked}`, { weights: { one: 1, two: 0 } });
    await waitFor("the shift is live", async () => (await sendMany(50, { port: web })).byBackend.get("one") === 50);
    expect((await load.stop()).failures).toEqual([]);
    expect(await world.envoy.statSum(".*\\.update_rejected")).toBe(0);
  });
});
