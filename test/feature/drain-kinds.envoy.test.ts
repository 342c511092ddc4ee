// Drains of TCP connections, WebSockets and requests under load on a real Envoy, in clusters that are never quiet from their first second
// on: the process is stopped at the word "safe", and no connection fails. The first cluster is there when the Envoy's metrics begin.
// Mutants that it caught: a cluster that was never quiet is not known from its beginning (a drain takes its whole timeout); nothing in
// flight is believed at the ack (connections of TCP and WebSockets die).
import { beforeAll, expect, test } from "vitest";
import { clusterBody, endpointOf, listenerBody, routeBody, streamRouteBody } from "../support/bodies.js";
import { startHttpBackend } from "../support/http-backend.js";
import { startLoad } from "../support/load.js";
import { openTcp, openWebSockets } from "../support/long-connections.js";
import { freePorts } from "../support/ports.js";
import { startTcpBackend } from "../support/stream-backends.js";
import { setUp, startWorld, type World } from "../support/world.js";

interface Drain {
  readonly createdAt: string;
  readonly endedAt: string;
}
type Backend = { readonly port: number; readonly address: string; close(): Promise<void> };

let world: World;
const kinds = ["tcp", "websocket", "http"] as const;
type Kind = (typeof kinds)[number];
const ports = { tcp: 0, websocket: 0, http: 0 };
const startSlowBackend = async (name: string) => Object.assign(await startHttpBackend(name), { delayMs: 50 });
const start = { tcp: startTcpBackend, websocket: startHttpBackend, http: startSlowBackend } as const;
const open = { tcp: openTcp, websocket: openWebSockets } as const;
const upgrades = { tcp: {}, websocket: { upgrades: ["websocket"] }, http: {} } as const;
const backends: Record<Kind, Backend[]> = { tcp: [], websocket: [], http: [] };

beforeAll(async () => {
  world = await startWorld();
  [ports.tcp = 0, ports.websocket = 0, ports.http = 0] = await freePorts(3);
});

async function setUpKind(kind: Kind): Promise<void> {
  backends[kind] = await Promise.all(Array.from({ length: 7 }, (_, at) => start[kind](`${kind}-${at}`)));
  const tcp = kind === "tcp" ? { protocol: "tcp" } : {};
  const route = kind === "tcp" ? streamRouteBody("tcp", kind, kind, kind) : routeBody(kind, kind, kind, upgrades[kind]);
  await setUp(world.api, [
    ["listener", listenerBody(kind, ports[kind], tcp)],
    ["cluster", clusterBody(kind, backends[kind], tcp)],
    ["route", route],
  ]);
}

/** Four times five of the seven endpoints are drained at once, their processes stopped at the word, and others put in their place. */
async function rounds(kind: Kind): Promise<void> {
  for (let round = 0; round < 4; round++) {
    const leaving = backends[kind].slice(0, 5);
    const body = { cluster: kind, endpoints: leaving.map(({ address }) => address), timeoutMs: 60_000 };
    const id = String((await world.api.post("/v1/drains", body)).object?.["id"]);
    const safe = await world.api.get<Drain>(`/v1/drains/${id}?wait=safe&timeoutMs=60000`);
    expect(safe).toMatchObject({ state: "removed", safeToStop: true, leftOpen: 0 });
    expect(Date.parse(safe.endedAt) - Date.parse(safe.createdAt)).toBeLessThan(30_000);
    await Promise.all(leaving.map((backend) => backend.close()));
    const coming = await Promise.all(leaving.map((_, at) => start[kind](`${kind}-${round}-${at}`)));
    backends[kind] = [...backends[kind].slice(5), ...coming];
    const upsert = coming.map((backend) => endpointOf(backend));
    await world.api.call("PATCH", `/v1/clusters/${kind}/endpoints?wait=acked`, { upsert });
  }
}

test.each(["tcp", "websocket"] as const)("%s: five endpoints at once, four times, and nothing fails", async (kind) => {
  await setUpKind(kind);
  const deaths: string[] = [];
  let isOver = false;
  let sessions = 0;
  const use = async (holdMs: number): Promise<void> => {
    while (!isOver) {
      const held = await open[kind](ports[kind], 3);
      await new Promise((resolve) => setTimeout(resolve, holdMs));
      await held.answer();
      deaths.push(...held.deaths());
      held.close();
      sessions += 3;
    }
  };
  // Short ones, of which there are always some; and one that outlives an ack.
  const users = Promise.all([0, 0, 0, 1_500].map(use));
  await rounds(kind);
  isOver = true;
  await users;
  expect(deaths).toEqual([]);
  expect(sessions).toBeGreaterThan(100);
});

test("requests: the same at 400 per second, each some 50 ms long", async () => {
  await setUpKind("http");
  const load = startLoad({ next: () => ({ port: ports.http }), keepAlive: 60, requestsPerSecond: 400 });
  await rounds("http");
  const { failures, total } = await load.stop();
  expect(failures).toEqual([]);
  expect(total).toBeGreaterThan(1_000);
});
