// Drains whose deadline finds something open, for each guarantee, on a real Envoy: TCP connections are closed and it is safe; requests
// that are bounded by their route end by themselves; what nothing closes is left open and told.
// Mutants tried and caught: no phase `closing` at the deadline (the connections stay, and the end is unsafe); ending at the deadline
// without waiting for what is closed.
import { beforeAll, expect, test } from "vitest";
import { clusterBody, listenerBody, quickCheck, streamRouteBody } from "../support/bodies.js";
import { openTcp } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { type StreamBackend, startTcpBackend } from "../support/stream-backends.js";
import { setUp, startWorld, type World } from "../support/world.js";

interface Drain {
  readonly id: string;
  readonly state: string;
  readonly safeToStop: boolean;
  readonly leftOpen?: number;
  readonly deadline: string;
  readonly endedAt?: string;
  readonly endpoints: readonly { readonly guarantee: { readonly kind: string; readonly closesWithinMs?: number } }[];
}

let world: World;
beforeAll(async () => {
  world = await startWorld();
});

async function serveTcp(name: string, more: Record<string, unknown>): Promise<{ port: number; backends: StreamBackend[] }> {
  const port = await freePort();
  const backends = await Promise.all([startTcpBackend(`${name}-1`), startTcpBackend(`${name}-2`)]);
  await setUp(world.api, [
    ["listener", listenerBody(name, port, { protocol: "tcp" })],
    ["cluster", clusterBody(name, backends, { protocol: "tcp", ...more })],
    ["route", streamRouteBody("tcp", name, name, name)],
  ]);
  return { port, backends };
}

async function drain(cluster: string, endpoint: string, timeoutMs: number): Promise<Drain> {
  const body = { cluster, endpoints: [endpoint], timeoutMs };
  return (await world.api.post("/v1/drains", body)).object as unknown as Drain;
}
const ended = (id: string) => world.api.get<Drain>(`/v1/drains/${id}?wait=safe&timeoutMs=60000`);
const lateMs = ({ deadline, endedAt = "" }: Drain): number => Date.parse(endedAt) - Date.parse(deadline);

test("the kill switch closes the connections of the drained endpoint after the deadline, and then it is safe", async () => {
  const { port, backends } = await serveTcp("closing", { drain: { atDeadline: "close" }, healthChecks: [quickCheck("tcp")] });
  const held = await openTcp(port, 8);
  await held.answer();
  const [leaving, staying] = backends;
  const of = (backend: StreamBackend | undefined) => held.all.filter((one) => one.backend === backend?.name);
  expect(Math.min(of(leaving).length, of(staying).length)).toBeGreaterThan(0);
  const begun = await drain("closing", `127.0.0.1:${leaving?.port}`, 3_000);
  const { kind, closesWithinMs = 0 } = begun.endpoints[0]?.guarantee ?? { kind: "none" };
  expect(kind).toBe("kill-switch");
  const end = await ended(begun.id);
  expect(end).toMatchObject({ state: "removed", safeToStop: true, leftOpen: 0 });
  expect(lateMs(end)).toBeGreaterThanOrEqual(0);
  expect(lateMs(end)).toBeLessThan(closesWithinMs + 6_000);
  expect(of(leaving).filter(({ ended: over }) => over === undefined)).toEqual([]);
  expect(of(staying).filter(({ ended: over }) => over !== undefined)).toEqual([]);
  held.close();
});

test("without it they are left open, and their number is told", async () => {
  const { port, backends } = await serveTcp("leaving", {});
  const held = await openTcp(port, 8);
  await held.answer();
  const [leaving] = backends;
  const open = held.all.filter(({ backend }) => backend === leaving?.name).length;
  const end = await ended((await drain("leaving", `127.0.0.1:${leaving?.port}`, 6_000)).id);
  expect(end).toMatchObject({ state: "removed", safeToStop: false, leftOpen: open });
  expect(held.deaths()).toEqual([]);
  held.close();
});

test("connections that end by themselves end the drain", async () => {
  const { port, backends } = await serveTcp("ending", {});
  const held = await openTcp(port, 4);
  await held.answer();
  const begun = await drain("ending", `127.0.0.1:${backends[0]?.port}`, 60_000);
  setTimeout(() => held.close(), 3_000);
  const end = await ended(begun.id);
  expect(end).toMatchObject({ safeToStop: true, leftOpen: 0 });
  expect(lateMs(end)).toBeLessThan(-30_000);
});
