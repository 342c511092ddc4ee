// A configuration that Envoy refuses: its author learns it, in Envoy's own words, and everything else goes live all the same.
// Each kind of refusal alone and beside good changes: a listener that can't bind, an endpoint set with an invalid member, a cluster
// that fails at creation. What the admin API rightly refuses is put in behind it, through the store.
import { createServer, type Server } from "node:net";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Answer, acked, type NodeBody, type ProblemBody } from "../support/api-client.js";
import { putBehind, removeBehind } from "../support/behind-the-api.js";
import { clusterBody, endpointOf, listenerBody, routeBody } from "../support/bodies.js";
import { onCleanup } from "../support/cleanup.js";
import type { Mode } from "../support/envoy.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { sendMany, startLoad } from "../support/load.js";
import { freePort } from "../support/ports.js";
import { send } from "../support/requests.js";
import { staysTrue, waitFor } from "../support/wait.js";
import { ackedBy, connected, setUp, startWorld, type World } from "../support/world.js";

/** Everything beside a bad object must be live within this. */
const liveWithinMs = 2_000;

/** A port that another program holds. */
async function occupiedPort(): Promise<{ port: number; release: () => Promise<void> }> {
  const port = await freePort();
  const server: Server = createServer();
  await new Promise<void>((resolve) => server.listen({ host: "127.0.0.1", port, exclusive: true }, resolve));
  const release = () => new Promise<void>((resolve) => server.close(() => resolve()));
  onCleanup(`holder of port ${port}`, () => (server.listening ? release() : undefined));
  return { port, release };
}

describe.each<Mode>(["delta", "sotw"])("what Envoy refuses, %s", (mode) => {
  let world: World;
  let web = 0;
  let backend: HttpBackend;
  let serial = 0;
  const name = (what: string): string => `${what}-${++serial}`;

  beforeAll(async () => {
    world = await startWorld({ mode, env: { CHANCERY_XDS_REFUSAL_RETRY_MIN_MS: "6000", CHANCERY_REMOVAL_GRACE_MS: "500" } });
    web = await freePort();
    backend = await startHttpBackend("app");
    await setUp(world.api, [
      ["listener", listenerBody("web", web)],
      ["cluster", clusterBody("app", [backend])],
      ["route", routeBody("app", "web", "app")],
    ]);
  });

  beforeEach(async () => {
    expect((await send({ port: web })).backend).toBe("app");
  });

  /** A new cluster and a route to it are live in time: what is wrong elsewhere does not matter to them. */
  async function goodChangeGoesLive(): Promise<void> {
    const good = name("good");
    const started = performance.now();
    await world.api.post("/v1/clusters", clusterBody(good, [backend]));
    const { sync } = await world.api.post(
      `/v1/routes${acked}`,
      routeBody(good, "web", good, { match: { path: { prefix: `/${good}` } } }),
    );
    expect(sync?.state).toBe("acked");
    expect((await send({ port: web, path: `/${good}` })).backend).toBe("app");
    expect(performance.now() - started).toBeLessThan(liveWithinMs);
  }

  const refusalOf = (resource: string): Promise<NodeBody["refused"][number]> =>
    waitFor(`the refusal of ${resource} is shown`, async () =>
      (await world.api.node("edge-1"))?.refused.find((one) => one.resource === resource),
    );

  describe("a listener that can't bind", () => {
    test("the author is told by wait=acked and by the node, in Envoy's words; the rest is live", async () => {
      const { port } = await occupiedPort();
      const blocked = name("blocked");
      const answer: Answer = await world.api.call("POST", `/v1/listeners${acked}`, listenerBody(blocked, port), {
        "x-chancery-author": "anna",
        "x-request-id": "req-bind-1",
      });
      expect(answer.status).toBe(409);
      const problem = answer.body as ProblemBody;
      expect(problem).toMatchObject({ code: "refused_by_envoy", sync: { state: "refused" } });
      const [refused] = problem.sync?.gateways["edge"]?.refused ?? [];
      expect(refused).toMatchObject({ node: "edge-1", type: "listener", resource: blocked });
      expect(refused?.detail).toContain("Address already in use");
      expect(await refusalOf(blocked)).toMatchObject({ revision: problem.revision, author: "anna", requestId: "req-bind-1" });
      await goodChangeGoesLive();
      await world.api.delete(`/v1/listeners/${blocked}${acked}`);
    });

    test("it is not sent again at once, and goes live by itself after the port is free", async () => {
      const { port, release } = await occupiedPort();
      const blocked = name("blocked");
      await world.api.refused(409, "POST", `/v1/listeners${acked}`, listenerBody(blocked, port));
      await world.api.put(`/v1/routes/app${acked}`, routeBody("app", "web", "app", { listeners: ["web", blocked] }));
      const rejected = await world.envoy.statSum("listener_manager\\.lds\\.update_rejected");
      await staysTrue(
        "no more refusals",
        async () => (await world.envoy.statSum("listener_manager\\.lds\\.update_rejected")) === rejected,
        2_000,
      );
      await release();
      await waitFor("it opens", async () => (await send({ port })).backend === "app", { timeoutMs: 30_000, everyMs: 250 });
      await waitFor("no refusal is left", async () => (await world.api.node("edge-1"))?.refused.length === 0);
      await world.api.put(`/v1/routes/app${acked}`, routeBody("app", "web", "app"));
      await world.api.delete(`/v1/listeners/${blocked}${acked}`);
    });
  });

  describe("an endpoint set with an invalid member", () => {
    test("only that set is held back: the others of the same revision are applied, and the last good set goes on", async () => {
      const bad = name("bad-set");
      const other = name("other-set");
      await setUp(world.api, [
        ["cluster", clusterBody(bad, [backend])],
        ["cluster", clusterBody(other, [])],
        ["route", routeBody(bad, "web", bad, { match: { path: { prefix: `/${bad}` } } })],
        ["route", routeBody(other, "web", other, { match: { path: { prefix: `/${other}` } } })],
      ]);
      const started = performance.now();
      const revision = await putBehind(world.databaseUrl, [
        [
          "endpoint",
          { cluster: bad, address: "no-such-host", port: 80, weight: 1, region: "", zone: "", priority: 0, enabled: true },
        ],
        [
          "endpoint",
          {
            cluster: other,
            address: "127.0.0.1",
            port: backend.port,
            weight: 1,
            region: "",
            zone: "",
            priority: 0,
            enabled: true,
          },
        ],
      ]);
      await waitFor("the good set is applied", async () => (await send({ port: web, path: `/${other}` })).backend === "app");
      expect(performance.now() - started).toBeLessThan(liveWithinMs);
      expect((await send({ port: web, path: `/${bad}` })).backend).toBe("app");
      expect(await refusalOf(bad)).toMatchObject({ type: "endpoint", revision });
      expect((await refusalOf(bad)).detail).toContain("no-such-host");
      await goodChangeGoesLive();
      await removeBehind(world.databaseUrl, "endpoint", `${bad}/no-such-host:80`);
      await waitFor("the refusal is over", async () => (await world.api.node("edge-1"))?.refused.length === 0);
    });
  });

  describe("a cluster that fails at creation", () => {
    /** Ring sizes that only Envoy compares: the API refuses them. */
    const badCluster = (named: string) => ({
      name: named,
      protocol: "http" as const,
      connectTimeoutMs: 1_000,
      loadBalancing: { policy: "ring-hash" as const, minimumRingSize: 4_096, maximumRingSize: 1_024 },
      healthChecks: [],
      outlierDetection: undefined,
      circuitBreakers: { maxConnections: 1_024, maxPendingRequests: 1_024, maxRequests: 1_024, maxRetries: 3 },
      drain: { atDeadline: "leave" as const, timeoutMs: 30_000, sticky: "leave-at-once" as const },
      slowStartMs: 0,
    });

    test("the API itself refuses it, with a pointer", async () => {
      const body = clusterBody(name("ring"), [backend], {
        loadBalancing: { policy: "ring-hash", minimumRingSize: 4_096, maximumRingSize: 1_024 },
      });
      const { errors } = await world.api.refused(422, "POST", "/v1/clusters", body);
      expect(errors?.map((one) => one.pointer).join()).toContain("/loadBalancing");
    });

    test("alone: the refusal comes home, nothing else is disturbed, and new clusters go live", async () => {
      const bad = name("bad-cluster");
      await world.api.post("/v1/clusters", clusterBody(bad, [backend]));
      await world.api.post(`/v1/routes${acked}`, routeBody(bad, "web", bad, { match: { path: { prefix: `/${bad}` } } }));
      const load = startLoad({ next: () => ({ port: web, path: `/${bad}` }), requestsPerSecond: 100 });
      const revision = await putBehind(world.databaseUrl, [["cluster", badCluster(bad)]]);
      expect(await refusalOf(bad)).toMatchObject({ type: "cluster", revision });
      await goodChangeGoesLive();
      // The last good form of it goes on serving.
      expect((await load.stop()).failures).toEqual([]);
      await world.api.put(`/v1/clusters/${bad}${acked}`, clusterWithoutEndpoints(bad));
      await waitFor("the refusal is over", async () => (await world.api.node("edge-1"))?.refused.length === 0);
    });

    test("new, beside good ones in one revision: the good ones are live within 2 s", async () => {
      const [bad, good] = [name("bad-cluster"), name("good-cluster")];
      await setUp(world.api, [["cluster", clusterBody(good, [backend])]]);
      await world.api.post("/v1/clusters", clusterBody(bad, [backend]));
      await putBehind(world.databaseUrl, [["cluster", badCluster(bad)]]);
      const started = performance.now();
      for (const one of [bad, good])
        await world.api.post("/v1/routes", routeBody(one, "web", one, { match: { path: { prefix: `/${one}` } } }));
      await waitFor("the good one answers", async () => (await send({ port: web, path: `/${good}` })).backend === "app");
      expect(performance.now() - started).toBeLessThan(liveWithinMs);
      await refusalOf(bad);
      await goodChangeGoesLive();
      await world.api.delete(`/v1/routes/${bad}${acked}`);
      await world.api.delete(`/v1/clusters/${bad}${acked}`);
    });

    test("the bad bytes are sent once, not again and again", async () => {
      const bad = name("bad-cluster");
      await world.api.post("/v1/clusters", clusterBody(bad, [backend]));
      await putBehind(world.databaseUrl, [["cluster", badCluster(bad)]]);
      const rejections = () => world.envoy.statSum("cluster_manager\\.cds\\.update_rejected");
      const before = await rejections();
      await world.api.post("/v1/routes", routeBody(bad, "web", bad, { match: { path: { prefix: `/${bad}` } } }));
      await refusalOf(bad);
      await staysTrue("no storm of refusals", async () => (await rejections()) - before <= 2, 3_000);
      await goodChangeGoesLive();
      expect((await rejections()) - before).toBeLessThanOrEqual(2);
    });

    test("after the control plane restarted, the same Envoy still gets new clusters", async () => {
      // The refused cluster of the test before is still wanted.
      expect((await world.api.node("edge-1"))?.refused.length).toBeGreaterThan(0);
      await world.replica.restart();
      await connected(world.api, "edge-1");
      await goodChangeGoesLive();
      const { failed } = await sendMany(50, { port: web });
      expect(failed).toBe(0);
    });

    const clusterWithoutEndpoints = (named: string) => ({ name: named, connectTimeoutMs: 1_000 });
  });

  test("an old refusal does not spoil later waits, and a repaired object is acked", async () => {
    const { port, release } = await occupiedPort();
    const blocked = name("blocked");
    await world.api.refused(409, "POST", `/v1/listeners${acked}`, listenerBody(blocked, port));
    const later = await world.api.put(
      `/v1/clusters/app/endpoints/${backend.address}${acked}`,
      endpointOf(backend, { weight: 7 }),
    );
    expect(later.sync?.state).toBe("acked");
    const repaired = await world.api.put(`/v1/listeners/${blocked}${acked}`, listenerBody(blocked, await freePort()));
    expect(repaired.sync?.state).toBe("acked");
    await ackedBy(world.api, "edge-1", repaired.revision);
    await release();
    await world.api.delete(`/v1/listeners/${blocked}${acked}`);
  });
});
