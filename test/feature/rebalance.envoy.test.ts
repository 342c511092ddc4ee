// Long connections follow the weights of their route, at a pace, on a real Envoy: 60 clients that reconnect, over two clusters of three
// endpoints each. Mutants tried and caught: a mark that holds in every route that uses the endpoint; no pause by the rate; the last report, of
// whatever age, taken for a new one; a step while the one before it is under way; no metadata, so that nothing is closed.
import { beforeAll, expect, test } from "vitest";
import { clusterBody, listenerBody, quickCheck, streamRouteBody } from "../support/bodies.js";
import { type LongConnections, openTcp } from "../support/long-connections.js";
import { scrape } from "../support/metrics.js";
import { freePort } from "../support/ports.js";
import { type Reconnecting, startReconnecting } from "../support/reconnecting.js";
import { type StreamBackend, startTcpBackend } from "../support/stream-backends.js";
import { staysTrue, waitFor } from "../support/wait.js";
import { setUp, startWorld, type World } from "../support/world.js";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});

const clients = 60;
/** So slow that it is more than what an endpoint needs to be closed and to be back. */
const ratePerSecond = 2;
const closable = { protocol: "tcp", drain: { atDeadline: "close" }, healthChecks: [quickCheck("tcp")] } as const;

interface Rebalance {
  readonly id: string;
  readonly state: string;
  readonly outcome?: string;
  readonly endedAt?: string;
  readonly closed: number;
  readonly steps: readonly { readonly cluster: string; readonly endpoint: string; readonly connections: number }[];
}

interface Fleet {
  readonly name: string;
  readonly held: Reconnecting;
  /** Of another route to the same endpoints. */
  readonly others: LongConnections;
  readonly backends: readonly StreamBackend[];
}

/** A route to clusters a and b of its own, all connections on a; and another route to a. */
async function start(name: string): Promise<Fleet> {
  const [port, otherPort] = [await freePort(), await freePort()];
  const of = (cluster: string) => Promise.all([1, 2, 3].map((at) => startTcpBackend(`${cluster}${at}`)));
  const [as, bs] = [await of("a"), await of("b")];
  await setUp(world.api, [
    ["listener", listenerBody(name, port, { protocol: "tcp" })],
    ["listener", listenerBody(`${name}-other`, otherPort, { protocol: "tcp" })],
    ["cluster", clusterBody(`${name}-a`, as, closable)],
    ["cluster", clusterBody(`${name}-b`, bs, closable)],
    ["route", streamRouteBody("tcp", `${name}-other`, `${name}-other`, `${name}-a`)],
    ["route", streamRouteBody("tcp", name, name, { [`${name}-a`]: 100, [`${name}-b`]: 0 })],
  ]);
  const others = await openTcp(otherPort, 9);
  return { name, held: await startReconnecting(port, clients), others, backends: [...as, ...bs] };
}

const shift = (name: string, weights: readonly [number, number], rebalance?: object) =>
  world.api.put(`/v1/routes/${name}/weights`, {
    weights: { [`${name}-a`]: weights[0], [`${name}-b`]: weights[1] },
    ...(rebalance ? { rebalance } : {}),
  }) as unknown as Promise<{ rebalance: Rebalance }>;
const show = (id: string) => world.api.get<Rebalance>(`/v1/rebalances/${id}`);
const on = (held: Reconnecting, cluster: string): number =>
  [...held.now()].reduce((sum, [backend, count]) => sum + (backend.startsWith(cluster) ? count : 0), 0);
/** Endpoints of the route that Envoy sends nothing, each as `a2`. */
async function outOfService({ backends, name }: Fleet): Promise<readonly string[]> {
  const hosts = (await world.envoy.clusters()).get(`tcp/${name}`) ?? [];
  return hosts.flatMap(({ address, healthy }) =>
    healthy ? [] : backends.filter((backend) => backend.address === address).map((backend) => backend.name),
  );
}

test("after a shift connections follow, an endpoint at a time and no faster than asked, and nobody else's are touched", async () => {
  const fleet = await start("mq");
  const { held, others } = fleet;
  const { rebalance } = await shift("mq", [50, 50], { afterMs: 500, ratePerSecond });
  const startedAt = performance.now();
  let most = 0;
  const ended = await waitFor(
    "the rebalance has ended",
    async () => {
      most = Math.max(most, (await outOfService(fleet)).length);
      const now = await show(rebalance.id);
      return now.endedAt === undefined ? undefined : now;
    },
    { timeoutMs: 120_000, everyMs: 50 },
  );
  expect(ended).toMatchObject({ state: "done", outcome: expect.stringContaining("shared by the weights") });
  expect(most).toBe(1);
  const metrics = await scrape(world.api);
  expect(metrics.get('chancery_rebalances_ended_total{state="done"}')).toBe(1);
  expect(metrics.get("chancery_rebalance_closed_total")).toBeGreaterThan(0);
  await waitFor("all are back", () => on(held, "a") + on(held, "b") === clients);
  // 50 %, give or take what is near enough and where the last ones came to.
  expect(on(held, "b")).toBeGreaterThan(clients * 0.4);
  expect(on(held, "b")).toBeLessThan(clients * 0.6);
  // Only connections of a were closed, those of one endpoint together, and the next ones not before they were worth their time.
  expect(held.closes().every(({ backend }) => backend.startsWith("a"))).toBe(true);
  expect(held.closes().length).toBe(ended.closed);
  expect(ended.steps.length).toBeGreaterThan(1);
  let closed = 0;
  for (const { connections } of ended.steps) {
    const together = held.closes().slice(closed, closed + connections);
    expect(new Set(together.map(({ backend }) => backend)).size).toBe(1);
    const next = held.closes()[closed + connections];
    if (next) expect(next.at - (together.at(-1)?.at ?? 0)).toBeGreaterThan((connections / ratePerSecond) * 1_000);
    closed += connections;
  }
  expect(held.closes()[0]?.at).toBeGreaterThan(startedAt);
  expect(others.deaths()).toEqual([]);
  await others.answer();
  await waitFor("everything serves again", async () => (await outOfService(fleet)).length === 0);
  held.close();
  others.close();
});

test("without a rebalance nothing is closed; cancelled, no more is; and to nothing at all everything goes", async () => {
  const fleet = await start("free");
  const { held, others } = fleet;
  await shift("free", [50, 50]);
  await staysTrue("nothing is closed", () => held.closes().length === 0, 3_000);

  const { rebalance } = await shift("free", [50, 50], { afterMs: 0, ratePerSecond: 20 });
  await waitFor("the first are closed", () => held.closes().length > 0, { timeoutMs: 20_000 });
  await world.api.delete(`/v1/rebalances/${rebalance.id}`);
  const cancelled = await show(rebalance.id);
  expect(cancelled).toMatchObject({ state: "cancelled", steps: [{}] });
  await waitFor("the endpoint serves again", async () => (await outOfService(fleet)).length === 0);
  await staysTrue("nothing more is closed", () => held.closes().length <= cancelled.closed, 5_000);

  const last = await shift("free", [0, 100], { afterMs: 0, ratePerSecond: 1_000 });
  const ended = await waitFor(
    "all have gone",
    async () => {
      const now = await show(last.rebalance.id);
      return now.endedAt === undefined ? undefined : now;
    },
    { timeoutMs: 120_000 },
  );
  expect(ended).toMatchObject({ state: "done", outcome: expect.stringContaining("free-a 0, free-b 60") });
  expect([on(held, "a"), on(held, "b"), others.deaths()]).toEqual([0, clients, []]);
});
