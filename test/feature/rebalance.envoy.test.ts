// Long connections follow the weights of their route, at a pace, on a real Envoy.
import { beforeAll, expect, test } from "vitest";
import type { Json } from "../support/api-client.js";
import { clusterBody, listenerBody, quickCheck, streamRouteBody } from "../support/bodies.js";
import { openTcp } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { startReconnecting } from "../support/reconnecting.js";
import { startTcpBackend } from "../support/stream-backends.js";
import { waitFor } from "../support/wait.js";
import { setUp, startWorld, type World } from "../support/world.js";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
const closable = { protocol: "tcp", drain: { atDeadline: "close" }, healthChecks: [quickCheck("tcp")] } as const;

test("experiment", async () => {
  const [port, otherPort] = [await freePort(), await freePort()];
  const as = await Promise.all([1, 2, 3].map((at) => startTcpBackend(`a${at}`)));
  const bs = await Promise.all([1, 2, 3].map((at) => startTcpBackend(`b${at}`)));
  await setUp(world.api, [
    ["listener", listenerBody("mq", port, { protocol: "tcp" })],
    ["listener", listenerBody("other", otherPort, { protocol: "tcp" })],
    ["cluster", clusterBody("a", as, closable)],
    ["cluster", clusterBody("b", bs, closable)],
    ["route", streamRouteBody("tcp", "mq", "mq", { a: 100, b: 0 })],
    ["route", streamRouteBody("tcp", "other", "other", "a")],
  ]);
  const clients = await startReconnecting(port, 60);
  const others = await openTcp(otherPort, 9);
  console.log(clients.now());
  const t0 = performance.now();
  const answer = (await world.api.put("/v1/routes/mq/weights", {
    weights: { a: 50, b: 50 },
    rebalance: { afterMs: 500, ratePerSecond: 50 },
  })) as unknown as Json;
  console.log(JSON.stringify(answer));
  const id = (answer as { rebalance: { id: string } }).rebalance.id;
  let last = "";
  await waitFor(
    "done",
    async () => {
      const now = await world.api.get<Record<string, unknown>>(`/v1/rebalances/${id}`);
      const hosts = ((await world.envoy.clusters()).get("tcp/mq") ?? []).map((host) => (host.healthy ? "+" : "-")).join("");
      const line = `${now["state"]} ${JSON.stringify(now["steps"])} ${hosts} ${JSON.stringify([...clients.now()])} dead others ${others.deaths().length}`;
      if (line !== last) console.log(Math.round(performance.now() - t0), line);
      last = line;
      return now["endedAt"] !== undefined;
    },
    { timeoutMs: 120_000 },
  );
  console.log(JSON.stringify(await world.api.get(`/v1/rebalances/${id}`)), clients.closes().length);
  expect(others.deaths()).toEqual([]);
}, 180_000);
