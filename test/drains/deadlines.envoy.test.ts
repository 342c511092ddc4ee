// What becomes of work in flight at a drain's deadline, for each kind of traffic on a real Envoy: it ends by itself and the drain with it; it
// is closed within the time that the guarantee names, and not before the deadline; or it is left open, alive, and its number is told.
// Mutants tried and caught: safe at the ack (all that ends by itself or is left open); nothing marked as closing at the deadline; what is in
// flight not counted into `leftOpen`.
import { beforeAll, expect, test } from "vitest";
import { listenerBody, quickCheck } from "../support/bodies.js";
import { freePort } from "../support/ports.js";
import { setUp, startWorld, type World } from "../support/world.js";
import { drainOne, type Entrance, type Held, type Scene, startScene } from "./held.js";
import { type Kind, kinds } from "./kinds.js";

interface Drain {
  readonly state: string;
  readonly safeToStop: boolean;
  readonly leftOpen: number;
  readonly createdAt: string;
  readonly deadline: string;
  readonly endedAt: string;
  readonly endpoints: readonly { readonly guarantee: { readonly kind: string; readonly closesWithinMs?: number } }[];
}

/** What is promised of closing; the rest is for a busy machine, which also sees ends late. */
const slackMs = 2_000;

let world: World;
let web: Entrance;
beforeAll(async () => {
  world = await startWorld();
  web = { listener: "web", port: await freePort() };
  await setUp(world.api, [["listener", listenerBody("web", web.port)]]);
});

const of = ({ held }: Scene, backend: { readonly name: string }): readonly Held[] =>
  held.filter((one) => one.backend === backend.name);
const ended = (id: string): Promise<Drain> => world.api.get<Drain>(`/v1/drains/${id}?wait=safe&timeoutMs=90000`);
const wholeMs = ({ createdAt, endedAt }: Drain): number => Date.parse(endedAt) - Date.parse(createdAt);
function release({ held }: Scene): void {
  for (const one of held) one.close();
}

test.concurrent.each(kinds)("%s: what ends by itself ends the drain, and not before", async (kind) => {
  const scene = await startScene(world.api, { kind, name: `${kind}-ends`, web, route: kind === "tcp" ? {} : { timeoutMs: 0 } });
  expect(of(scene, scene.leaving).length).toBeGreaterThan(0);
  const id = await drainOne(world.api, scene, 60_000);
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  expect(scene.held.filter((one) => one.isOver())).toEqual([]);
  const before = await world.api.get<Drain>(`/v1/drains/${id}`);
  expect(before).toMatchObject({ state: "in-flight", safeToStop: false });
  release(scene);
  const end = await ended(id);
  expect(end).toMatchObject({ state: "removed", safeToStop: true, leftOpen: 0 });
  expect(wholeMs(end)).toBeLessThan(40_000);
});

const closes = { drain: { atDeadline: "close" }, healthChecks: [quickCheck("tcp")] };

test.concurrent.each(kinds)(
  "%s: what can be closed is closed in its time, after the deadline, and nobody else's",
  async (kind) => {
    const route = kind === "tcp" || kind === "websocket" ? {} : { timeoutMs: 0 };
    const scene = await startScene(world.api, { kind, name: `${kind}-closes`, web, more: closes, route });
    expect(of(scene, scene.leaving).length).toBeGreaterThan(0);
    const end = await ended(await drainOne(world.api, scene, 5_000));
    const { kind: means, closesWithinMs = 0 } = end.endpoints[0]?.guarantee ?? { kind: "none" };
    expect(means).toBe(kind === "tcp" ? "kill-switch" : "hop");
    const deadline = Date.parse(end.deadline);
    const after = of(scene, scene.leaving).map(({ endedAt = Number.POSITIVE_INFINITY }) => endedAt - deadline);
    expect(Math.min(...after)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...after)).toBeLessThanOrEqual(closesWithinMs + slackMs);
    expect(of(scene, scene.staying).filter((one) => one.isOver())).toEqual([]);
    expect(end).toMatchObject({ state: "removed", safeToStop: true, leftOpen: 0 });
    release(scene);
  },
);

test.concurrent.each(kinds)("%s: what nothing closes is left open, alive, and its number is told", async (kind) => {
  const route = kind === "tcp" || kind === "websocket" ? {} : { timeoutMs: 0 };
  const scene = await startScene(world.api, { kind, name: `${kind}-left`, web, route });
  const open = of(scene, scene.leaving).length;
  const end = await ended(await drainOne(world.api, scene, 7_000));
  expect(end.endpoints[0]?.guarantee.kind).toBe("left-open");
  expect(end).toMatchObject({ state: "removed", safeToStop: false, leftOpen: open });
  expect(Date.parse(end.endedAt)).toBeGreaterThanOrEqual(Date.parse(end.deadline));
  expect(scene.held.filter((one) => one.isOver())).toEqual([]);
  release(scene);
});

const bounded: readonly Kind[] = ["http1", "http2"];

test.concurrent.each(bounded)("%s: what its route's timeout bounds is over with it, and the drain is safe", async (kind) => {
  const scene = await startScene(world.api, { kind, name: `${kind}-bounded`, web, route: { timeoutMs: 6_000 } });
  const begun = Date.now();
  const end = await ended(await drainOne(world.api, scene, 10_000));
  const { kind: means, closesWithinMs = 0 } = end.endpoints[0]?.guarantee ?? { kind: "none" };
  expect(means).toBe("bounded-by-timeout");
  const after = of(scene, scene.leaving).map(({ endedAt = Number.POSITIVE_INFINITY }) => endedAt - begun);
  expect(Math.max(...after)).toBeLessThanOrEqual(10_000 + closesWithinMs + slackMs);
  expect(end).toMatchObject({ state: "removed", safeToStop: true, leftOpen: 0 });
});
