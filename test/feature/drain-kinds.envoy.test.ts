// Drains of TCP connections, WebSockets and requests under load on a real Envoy that is never quiet: the process is stopped at the word
// "safe", and no connection fails. Each lives for some 100 ms, so that there always are some in flight, from before the first drain on.
// Mutants that it caught: a cluster that was never quiet is not known from its beginning (the drain takes its whole timeout); a zero that is
// believed as soon as it is acked (connections that were open on the endpoint fail).
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
const backends: Record<Kind, Backend[]> = { tcp: [], websocket: [], http: [] };

beforeAll(async () => {
  world = await startWorld();
  [ports.tcp = 0, ports.websocket = 0, ports.http = 0] = await freePorts(3);
  for (const kind of kinds)
    backends[kind] = await Promise.all(Array.from({ length: 7 }, (_, at) => start[kind](`${kind}-${at}`)));
  await setUp(world.api, [
    ["listener", listenerBody("tcp", ports.tcp, { protocol: "tcp" })],
    ["listener", listenerBody("websocket", ports.websocket)],
    ["listener", listenerBody("http", ports.http)],
    ["cluster", clusterBody("tcp", backends.tcp, { protocol: "tcp" })],
    ["cluster", clusterBody("websocket", backends.websocket)],
    ["cluster", clusterBody("http", backends.http)],
    ["route", streamRouteBody("tcp", "tcp", "tcp", "tcp")],
    ["route", routeBody("http", "http", "http")],
    ["route", routeBody("websocket", "websocket", "websocket", { upgrades: ["websocket"] })],
  ]);
});

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
  const deaths: string[] = [];
  let isOver = false;
  let sessions = 0;
  const use = async (): Promise<void> => {
    while (!isOver) {
      const held = await open[kind](ports[kind], 3);
      await held.answer();
      deaths.push(...held.deaths());
      held.close();
      sessions += 3;
    }
  };
  const users = Promise.all([use(), use(), use()]);
  await rounds(kind);
  isOver = true;
  await users;
  expect(deaths).toEqual([]);
  expect(sessions).toBeGreaterThan(100);
});

test("requests: the same at 400 per second, each some 50 ms long", async () => {
  const load = startLoad({ next: () => ({ port: ports.http }), keepAlive: 60, requestsPerSecond: 400 });
  await rounds("http");
  const { failures, total } = await load.stop();
  expect(failures).toEqual([]);
  expect(total).toBeGreaterThan(1_000);
});
