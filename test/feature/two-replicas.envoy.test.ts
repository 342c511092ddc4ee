// Two control planes on one Postgres: a write to one reaches the Envoys of the other, with NOTIFY and without; one is killed with
// kill -9, and its Envoys go on from the other, which sends them nothing that they have already.
import { beforeAll, describe, expect, test } from "vitest";
import { acked, type Mutation } from "../support/api-client.js";
import { clusterBody, endpointOf, listenerBody, routeBody } from "../support/bodies.js";
import { type Envoy, type Mode, startEnvoy } from "../support/envoy.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { sendMany, startLoad } from "../support/load.js";
import { freePort } from "../support/ports.js";
import { type Replica, startReplica } from "../support/replica.js";
import { expectShares } from "../support/shares.js";
import { waitFor } from "../support/wait.js";
import { connected, setUp, startDatabase } from "../support/world.js";

/** Responses that Envoy applied, by type: a resource sent again counts here even when it is the same. */
const applied = {
  cluster: "cluster_manager\\.cds\\.update_success",
  listener: "listener_manager\\.lds\\.update_success",
  route: "http\\..*\\.rds\\..*\\.update_success",
  endpoint: "cluster\\..*\\.update_success",
} as const;

/** How soon a write must be everywhere. Poll and hint are far below; this is for a busy machine. */
const arrivesWithinMs = { on: 1_500, off: 2_500 } as const;

interface Pair {
  readonly a: Replica;
  readonly b: Replica;
  readonly web: number;
  readonly one: HttpBackend;
  readonly two: HttpBackend;
}

async function startPair(notify: "on" | "off"): Promise<Pair> {
  const databaseUrl = await startDatabase();
  // A replica that was killed counts until its lease is over: waits stay for its Envoys that long.
  const env = { CHANCERY_NOTIFY: notify, CHANCERY_LEASE_MS: "3000", CHANCERY_BEAT_MS: "1000" };
  const a = await startReplica({ databaseUrl, id: "replica-a", env });
  const b = await startReplica({ databaseUrl, id: "replica-b", env });
  const [one, two] = await Promise.all([startHttpBackend("one"), startHttpBackend("two")]);
  const web = await freePort();
  await setUp(a.api, [
    ["listener", listenerBody("web", web)],
    ["cluster", clusterBody("one", [one])],
    ["cluster", clusterBody("two", [two])],
    ["route", routeBody("app", "web", { one: 1, two: 0 })],
  ]);
  return { a, b, web, one, two };
}

const shift = ({ api }: Replica, weights: Readonly<Record<string, number>>): Promise<Mutation> =>
  api.put(`/v1/routes/app/weights${acked}`, { weights });

describe.each(["on", "off"] as const)("with NOTIFY %s", (notify) => {
  let pair: Pair;

  beforeAll(async () => {
    pair = await startPair(notify);
    const node = (name: string, replica: Replica): Promise<Envoy> =>
      startEnvoy({ node: name, gateway: "edge", xdsPorts: [replica.xdsPort] });
    for (const envoy of [await node("edge-a", pair.a), await node("edge-b", pair.b)]) await envoy.live();
    await connected(pair.a.api, "edge-b");
    await connected(pair.b.api, "edge-a");
  });

  test("a write to one is answered when the Envoys of both have it", async () => {
    for (const [replica, weights] of [
      [pair.a, { one: 0, two: 1 }],
      [pair.b, { one: 1, two: 0 }],
    ] as const) {
      const started = performance.now();
      const { sync } = await shift(replica, weights);
      expect(sync).toMatchObject({ state: "acked", gateways: { edge: { total: 2, acked: 2, refused: [], lagging: [] } } });
      expect(performance.now() - started).toBeLessThan(arrivesWithinMs[notify]);
      // Both Envoys share the port: the new split holds whichever answers.
      expectShares((await sendMany(200, { port: pair.web })).byBackend, weights);
    }
  });

  test("each control plane shows the whole fleet, and where each node is connected", async () => {
    for (const { api } of [pair.a, pair.b]) {
      await waitFor("both nodes are shown", async () => {
        const { items } = await api.get<{ items: { id: string; replica: string }[] }>("/v1/nodes");
        return items.map((item) => `${item.id}@${item.replica}`).join() === "edge-a@replica-a,edge-b@replica-b";
      });
    }
  });

  test("concurrent writes to both: all of them are there in the end, on both", async () => {
    const names = Array.from({ length: 20 }, (_, index) => `parallel-${index}`);
    await Promise.all(
      names.map((name, index) => (index % 2 ? pair.a : pair.b).api.post("/v1/clusters", clusterBody(name, [pair.one]))),
    );
    for (const { api } of [pair.a, pair.b]) {
      const { items } = await api.get<{ items: { name: string }[] }>("/v1/clusters?limit=1000");
      expect(items.map((item) => item.name)).toEqual(expect.arrayContaining(names));
    }
  });
});

describe.each<Mode>(["delta", "sotw"])("a control plane is killed with kill -9, %s", (mode) => {
  let pair: Pair;
  let envoy: Envoy;

  beforeAll(async () => {
    pair = await startPair("on");
    envoy = await startEnvoy({ node: "edge-1", gateway: "edge", xdsPorts: [pair.a.xdsPort, pair.b.xdsPort], mode });
    await envoy.live();
  });

  test("its Envoy goes on from the other one, and is sent nothing that it has", { timeout: 60_000 }, async () => {
    const { replica } = await connected(pair.a.api, "edge-1");
    const [home, other] = replica === "replica-a" ? [pair.a, pair.b] : [pair.b, pair.a];
    const counters = async () =>
      Object.fromEntries(
        await Promise.all(Object.entries(applied).map(async ([type, filter]) => [type, await envoy.statSum(filter)])),
      );
    const load = startLoad({ next: () => ({ port: pair.web }), newConnections: 2, requestsPerSecond: 200 });
    const before = await counters();
    await home.kill();
    await waitFor(
      "the node is connected to the other",
      async () => {
        const node = await other.api.node("edge-1");
        return node?.connected && node.replica === other.id;
      },
      { timeoutMs: 20_000 },
    );
    // Whatever it would send again on the new stream comes before this change: one endpoint set, and nothing else.
    const { sync } = await other.api.put(
      `/v1/clusters/one/endpoints/${pair.one.address}${acked}`,
      endpointOf(pair.one, { weight: 3 }),
    );
    expect(sync).toMatchObject({ state: "acked", gateways: { edge: { total: 1, acked: 1 } } });
    const after = await counters();
    expect({ ...after, endpoint: 0 }).toEqual({ ...before, endpoint: 0 });
    // In delta the changed set alone; in state of the world a set per response, and the marker is one response.
    expect(Number(after["endpoint"]) - Number(before["endpoint"])).toBe(1);

    await shift(other, { one: 0, two: 1 });
    expectShares((await sendMany(100, { port: pair.web })).byBackend, { two: 1, one: 0 });
    expect((await load.stop()).failures).toEqual([]);

    await home.start();
    await shift(home, { one: 1, two: 0 });
    expectShares((await sendMany(100, { port: pair.web })).byBackend, { one: 1, two: 0 });
  });
});
