// Shares: a replica is added to two that have all Envoys, and within a minute each has its share, ±15 %; a real Envoy among them serves all the
// while without an error. Rules and rates: test/unit/xds/balance.test.ts.
import { expect, test } from "vitest";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { startEnvoy } from "../support/envoy.js";
import { startHttpBackend } from "../support/http-backend.js";
import { startLoad } from "../support/load.js";
import { scrape } from "../support/metrics.js";
import { freePort } from "../support/ports.js";
import { type Replica, startReplica } from "../support/replica.js";
import { startSimulatedNode } from "../support/simulated-node.js";
import { waitFor } from "../support/wait.js";
import { startDatabase } from "../support/world.js";

const simulated = 29;

test("a replica that is added has its share within a minute, with no error at an Envoy that moves or stays", async () => {
  const databaseUrl = await startDatabase();
  const env = { CHANCERY_XDS_BALANCE_PER_SECOND: "50", CHANCERY_LOG_LEVEL: "info" };
  const [a, b, added] = await Promise.all(["a", "b", "added"].map((id) => startReplica({ databaseUrl, id, env })));
  if (!a || !b || !added) throw new Error("three replicas were asked for");
  await added.stop(); // Its ports are known; it is not there yet.
  const backend = await startHttpBackend("app");
  const web = await freePort();
  await a.api.post("/v1/listeners", listenerBody("web", web));
  await a.api.post("/v1/clusters", clusterBody("app", [backend]));
  await a.api.post("/v1/routes", routeBody("app", "web", "app"));
  const ports = [a, b, added].map(({ xdsPort }) => xdsPort);
  const from = (first: number): number[] => [...ports.slice(first), ...ports.slice(0, first)];
  const nodes = Array.from({ length: simulated }, (_, at) =>
    startSimulatedNode({ ports: from(at % 2), node: `sim-${at}`, gateway: "edge" }),
  );
  const envoy = await startEnvoy({ node: "edge-1", gateway: "edge", xdsPorts: ports });
  await envoy.live();
  const nodesOf = async ({ api }: Replica): Promise<number> =>
    (await scrape(api)).get('chancery_status_nodes{gateway_known="true"}') ?? 0;
  const counts = (replicas: readonly Replica[]): Promise<number[]> => Promise.all(replicas.map(nodesOf));
  await waitFor("all are there", async () => (await counts([a, b])).reduce((sum, one) => sum + one) === simulated + 1);
  const load = startLoad({ next: () => ({ port: web }), requestsPerSecond: 50 });

  await added.start();
  const mean = (simulated + 1) / 3;
  const isEven = (all: readonly number[]): boolean =>
    all.reduce((sum, one) => sum + one) === simulated + 1 && all.every((one) => one >= 0.85 * mean - 1 && one <= 1.15 * mean + 1);
  const even = await waitFor(
    "shares are even",
    async () => {
      const all = await counts([a, b, added]);
      return isEven(all) ? all : undefined;
    },
    { timeoutMs: 60_000, everyMs: 250 },
  );
  expect(even.every((one) => one > 0)).toBe(true);
  const moved = nodes.reduce((sum, node) => sum + node.streams - 1, 0);
  expect(moved).toBeGreaterThanOrEqual(5);
  // Who has moved has what there is, and hears of what comes.
  const { sync } = await added.api.put("/v1/clusters/app/endpoints/127.0.0.1:1?wait=acked&timeoutMs=20000", {
    weight: 1,
    enabled: false,
  });
  expect(sync?.state).toBe("acked");
  const { failed, total } = await load.stop();
  expect([failed, total > 50]).toEqual([0, true]);
});
