// A plan against a real Envoy: connections that it says would be closed are closed by the change, and all others live on.
import { setTimeout } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import type { Plan } from "../../src/plan/plan.js";
import type { Json, Mutation } from "../support/api-client.js";
import { clusterBody, listenerBody, streamRouteBody } from "../support/bodies.js";
import { drainTimeSeconds } from "../support/envoy.js";
import { type LongConnections, openTcp } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { startTcpBackend } from "../support/stream-backends.js";
import { setUp, startWorld, type World } from "../support/world.js";

const connections = 10;
let world: World;
let port: number;
beforeAll(async () => {
  world = await startWorld();
  port = await freePort();
  const [one, two] = await Promise.all([startTcpBackend("one"), startTcpBackend("two")]);
  await setUp(world.api, [
    ["listener", listenerBody("raw", port, { protocol: "tcp" })],
    ["cluster", clusterBody("one", [one], { protocol: "tcp" })],
    ["cluster", clusterBody("two", [two], { protocol: "tcp" })],
    ["route", streamRouteBody("tcp", "raw", "raw", "one")],
  ]);
});

const change = async <T>(changes: readonly Json[], query: string): Promise<T> => {
  const answer = await world.api.call("POST", `/v1/changes?${query}`, { changes, override: { emptied: true } });
  expect([answer.status, answer.body]).toMatchObject([200, {}]);
  return answer.body as T;
};

/** Plans it, does it, and looks at the connections once every drain would be over: a drain that does not come can't be waited for. */
async function planAndDo(changes: readonly Json[], held: LongConnections): Promise<{ plan: Plan; drained: boolean }> {
  const plan = await change<Plan>(changes, "dryRun=true");
  await held.answer();
  expect(held.alive()).toBe(connections);
  const { sync } = await change<Mutation>(changes, "wait=acked:100%25&timeoutMs=20000");
  expect(sync?.state).toBe("acked");
  await setTimeout(drainTimeSeconds * 1_000 + 1_500);
  const drained = held.alive() === 0;
  if (!drained) {
    await held.answer();
    expect(held.alive()).toBe(connections);
  }
  held.close();
  return { plan, drained };
}

const routeTo = (backends: Readonly<Record<string, number>>, more: Json = {}): Json => ({
  op: "put",
  kind: "route",
  object: { ...streamRouteBody("tcp", "raw", "raw", backends), ...more },
});

test("a second backend and other weights close nothing, as planned", async () => {
  const { plan, drained } = await planAndDo([routeTo({ one: 100, two: 0 })], await openTcp(port, connections));
  expect([plan.gateways["edge"]?.drains, drained]).toEqual([[], false]);
  expect(plan.gateways["edge"]).toMatchObject({
    nodes: 1,
    resources: [{ type: "endpoint", name: "tcp/raw", change: "changed" }],
  });
});

test("a timeout of the route is in the listener and closes its connections, as planned", async () => {
  const { plan, drained } = await planAndDo([routeTo({ one: 1 }, { idleTimeoutMs: 50_000 })], await openTcp(port, connections));
  expect([plan.gateways["edge"]?.drains, drained]).toEqual([["raw"], true]);
});

test("another port closes them too, and so does a delete, as planned", async () => {
  const next = await freePort();
  const moved = { op: "put", kind: "listener", object: listenerBody("raw", next, { protocol: "tcp" }) };
  const move = await planAndDo([moved], await openTcp(port, connections));
  expect([move.plan.gateways["edge"]?.drains, move.drained]).toEqual([["raw"], true]);
  const deletes = [
    { op: "delete", kind: "listener", name: "raw" },
    { op: "delete", kind: "route", name: "raw" },
  ];
  const gone = await planAndDo(deletes, await openTcp(next, connections));
  expect([gone.plan.gateways["edge"]?.drains, gone.drained]).toEqual([["raw"], true]);
});
