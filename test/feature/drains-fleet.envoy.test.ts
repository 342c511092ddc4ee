// One endpoint behind two gateways, four Envoys and two replicas: safe only when the last of them is done, ended by whichever replica can,
// also while one of them hangs.
// Mutants tried and caught: gateways of the first listener only (the other gateway's Envoys are not waited for).
import { beforeAll, expect, test } from "vitest";
import { acked } from "../support/api-client.js";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { type Envoy, startEnvoy } from "../support/envoy.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { openWebSockets } from "../support/long-connections.js";
import { freePorts } from "../support/ports.js";
import { type Replica, startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { connected, startWorld, type World } from "../support/world.js";

interface Gateway {
  readonly total: number;
  readonly acked: number;
  readonly inFlight: number;
}
interface Drain {
  readonly id: string;
  readonly state: string;
  readonly safeToStop: boolean;
  readonly leftOpen?: number;
  readonly deadline: string;
  readonly endedAt?: string;
  readonly gateways: Readonly<Record<string, Gateway>>;
}

let world: World;
let other: Replica;
let inner = 0;
let last: Envoy;
let a: HttpBackend;
let b: HttpBackend;

beforeAll(async () => {
  world = await startWorld({ nodes: ["edge-1", "edge-2"] });
  other = await startReplica({ databaseUrl: world.databaseUrl, id: "replica-b" });
  const start = (node: string) => startEnvoy({ node, gateway: "inner", xdsPorts: [other.xdsPort] });
  const envoys = await Promise.all(["inner-1", "inner-2"].map(start));
  last = envoys[1] ?? world.envoy;
  let web = 0;
  [web = 0, inner = 0] = await freePorts(2);
  [a, b] = await Promise.all([startHttpBackend("a"), startHttpBackend("b")]);
  const { api } = world;
  await api.post("/v1/listeners", listenerBody("web", web));
  await api.post("/v1/listeners", listenerBody("inner", inner, { gateways: ["inner"] }));
  for (const envoy of envoys) {
    await envoy.live();
    await connected(api, envoy.node);
  }
  await api.post("/v1/clusters", clusterBody("app", [a, b], { loadBalancing: { policy: "round-robin" } }));
  const listeners = { listeners: ["web", "inner"], upgrades: ["websocket"] };
  await api.post(`/v1/routes${acked}`, routeBody("app", "web", "app", listeners));
});

const show = (id: string) => other.api.get<Drain>(`/v1/drains/${id}`);
async function drain(backend: HttpBackend, timeoutMs: number): Promise<string> {
  const { object } = await world.api.post("/v1/drains?override=last-endpoint", { address: backend.address, timeoutMs });
  return String(object?.["id"]);
}

test("it is not safe until the last Envoy, on the other replica, is done; asked of either", async () => {
  const sockets = await openWebSockets(inner, 8);
  const onIt = sockets.all.filter(({ backend }) => backend === "a").length;
  expect(onIt).toBeGreaterThan(0);
  const id = await drain(a, 60_000);
  const areSeen = async (): Promise<boolean> => (await show(id)).gateways["inner"]?.inFlight === onIt;
  await waitFor("they are seen", areSeen, { timeoutMs: 15_000 });
  const seen = await world.api.get<Drain>(`/v1/drains/${id}?wait=safe&timeoutMs=5000`);
  expect(seen).toMatchObject({
    state: "in-flight",
    safeToStop: false,
    gateways: { edge: { total: 2, acked: 2, inFlight: 0 }, inner: { total: 2, acked: 2, inFlight: onIt } },
  });
  sockets.close();
  const end = await world.api.get<Drain>(`/v1/drains/${id}?wait=safe&timeoutMs=40000`);
  expect(end).toMatchObject({ state: "removed", safeToStop: true, leftOpen: 0 });
});

test("nor until the last of the four Envoys is known to send nothing new", async () => {
  // Mutant: Envoys that have not acked are not waited for.
  const { api } = world;
  const backends = await Promise.all([startHttpBackend("late-a"), startHttpBackend("late-b")]);
  await api.post("/v1/clusters", clusterBody("late", backends));
  const match = { path: { prefix: "/late" } };
  await api.post(`/v1/routes${acked}`, routeBody("late", "web", "late", { listeners: ["web", "inner"], match }));
  last.pause();
  const id = await drain(backends[0] ?? a, 60_000);
  const inner = async (): Promise<Gateway | undefined> => (await show(id)).gateways["inner"];
  await waitFor("the other three have it", async () => {
    const { gateways } = await show(id);
    return gateways["edge"]?.acked === 2 && gateways["inner"]?.acked === 1;
  });
  await new Promise((resolve) => setTimeout(resolve, 5_000)); // Longer than a drain takes for which three are enough.
  expect(await show(id)).toMatchObject({ state: "requested", safeToStop: false });
  expect(await inner()).toMatchObject({ total: 2, acked: 1 });
  last.resume();
  expect(await world.api.get<Drain>(`/v1/drains/${id}?wait=safe&timeoutMs=50000`)).toMatchObject({
    safeToStop: true,
    leftOpen: 0,
  });
});

test("a replica that hangs makes no drain late, and is not believed to have no Envoys", async () => {
  const sockets = await openWebSockets(inner, 1);
  const id = await drain(b, 6_000);
  world.replica.pause();
  const end = await other.api.get<Drain>(`/v1/drains/${id}?wait=safe&timeoutMs=30000`);
  world.replica.resume();
  expect(end).toMatchObject({ state: "removed", safeToStop: false });
  const lateMs = Date.parse(end.endedAt ?? "") - Date.parse(end.deadline);
  expect(lateMs).toBeGreaterThanOrEqual(0);
  expect(lateMs).toBeLessThan(2_000);
  const { items } = await other.api.get<{ items: readonly unknown[] }>(`/v1/revisions?author=drain%20${id}`);
  expect(items.length).toBe(1);
  sockets.close();
});
