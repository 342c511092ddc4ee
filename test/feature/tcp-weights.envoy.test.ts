// A canary below HTTP: a TCP route grows from one backend to two and shifts between them, and no open connection is cut. The split
// holds whatever the number of endpoints, on TCP and on UDP.
import { beforeAll, describe, expect, test } from "vitest";
import { acked, type Json, type Mutation } from "../support/api-client.js";
import { clusterBody, listenerBody, streamRouteBody } from "../support/bodies.js";
import { openTcp } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { expectShares } from "../support/shares.js";
import { askUdp, countTcp } from "../support/short-connections.js";
import { startTcpBackend, startUdpBackend } from "../support/stream-backends.js";
import { setUp, startWorld, type World } from "../support/world.js";

let world: World;
const connections = 30;

beforeAll(async () => {
  world = await startWorld();
});

const shift = (route: string, weights: Readonly<Record<string, number>>): Promise<Mutation> =>
  world.api.put(`/v1/routes/${route}/weights${acked}`, { weights });

/** A cluster of `count` endpoints that all call themselves by the cluster's name. */
async function tcpCluster(name: string, count: number): Promise<Json> {
  const backends = await Promise.all(Array.from({ length: count }, () => startTcpBackend(name)));
  return clusterBody(name, backends, { protocol: "tcp" });
}

describe.each([
  [1, 1],
  [1, 3],
  [3, 1],
])("a TCP route from %i endpoint(s) to %i more", (oldCount, newCount) => {
  const name = `mq-${oldCount}-${newCount}`;
  const [before, after] = [`${name}-old`, `${name}-new`];

  test("grows a second backend and shifts to it: every connection lives, every split is exact", async () => {
    const port = await freePort();
    await setUp(world.api, [
      ["listener", listenerBody(name, port, { protocol: "tcp" })],
      ["cluster", await tcpCluster(before, oldCount)],
      ["cluster", await tcpCluster(after, newCount)],
      ["route", streamRouteBody("tcp", name, name, before)],
    ]);
    const held = await openTcp(port, connections);
    expect(new Set(held.all.map((one) => one.backend))).toEqual(new Set([before]));

    await world.api.put(`/v1/routes/${name}${acked}`, streamRouteBody("tcp", name, name, { [before]: 100, [after]: 0 }));
    expectShares(await countTcp(port, 200), { [before]: 100, [after]: 0 });
    for (const [stay, go] of [
      [95, 5],
      [50, 50],
      [1, 99],
      [0, 100],
    ] as const) {
      const { sync } = await shift(name, { [before]: stay, [after]: go });
      expect(sync?.state).toBe("acked");
      expectShares(await countTcp(port, 1_000), { [before]: stay, [after]: go });
    }
    await held.answer();
    expect([held.alive(), held.deaths()]).toEqual([connections, []]);

    // And it goes back to one backend, still without a cut.
    await world.api.put(`/v1/routes/${name}${acked}`, streamRouteBody("tcp", name, name, after));
    expectShares(await countTcp(port, 200), { [after]: 1 });
    await held.answer();
    expect(held.alive()).toBe(connections);
    held.close();
  });
});

test("a UDP route splits its sessions by the weights", async () => {
  const port = await freePort();
  const [one, two] = await Promise.all([startUdpBackend("udp-one"), startUdpBackend("udp-two")]);
  await setUp(world.api, [
    ["listener", listenerBody("dns", port, { protocol: "udp" })],
    ["cluster", clusterBody("udp-one", [one], { protocol: "udp" })],
    ["cluster", clusterBody("udp-two", [two], { protocol: "udp" })],
    ["route", streamRouteBody("udp", "dns", "dns", { "udp-one": 100, "udp-two": 0 })],
  ]);
  const count = async (): Promise<ReadonlyMap<string, number>> => {
    const counts = new Map<string, number>();
    for (let sent = 0; sent < 400; sent++) {
      const backend = await askUdp(port);
      counts.set(backend, (counts.get(backend) ?? 0) + 1);
    }
    return counts;
  };
  expectShares(await count(), { "udp-one": 100, "udp-two": 0 });
  await shift("dns", { "udp-one": 80, "udp-two": 20 });
  expectShares(await count(), { "udp-one": 80, "udp-two": 20 });
});

test("one address in two backends of a TCP route is refused: only the first would count", async () => {
  const shared = await startTcpBackend("shared");
  await world.api.post("/v1/clusters", clusterBody("twin-a", [shared], { protocol: "tcp" }));
  await world.api.post("/v1/clusters", clusterBody("twin-b", [shared], { protocol: "tcp" }));
  await world.api.post("/v1/listeners", listenerBody("twins", await freePort(), { protocol: "tcp" }));
  const problem = await world.api.refused(
    422,
    "POST",
    "/v1/routes",
    streamRouteBody("tcp", "twins", "twins", { "twin-a": 1, "twin-b": 1 }),
  );
  expect(JSON.stringify(problem)).toContain(shared.address);
});
