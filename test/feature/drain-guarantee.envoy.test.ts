// By what means a drain's deadline is kept, on a real Envoy: connections live while their endpoint drains, end within `closesWithinMs`
// of its phase `closing` where the guarantee says so, and nobody else's are touched. Phases are put behind the API.
import { beforeAll, describe, expect, test } from "vitest";
import { fromClusterBody } from "../../src/api/cluster-body.js";
import { guaranteeOf } from "../../src/model/drain-guarantee.js";
import type { Endpoint } from "../../src/model/endpoint.js";
import { putBehind } from "../support/behind-the-api.js";
import { clusterBody, listenerBody, quickCheck, streamRouteBody } from "../support/bodies.js";
import { type LongConnections, openTcp, openTls } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { countTcp } from "../support/short-connections.js";
import { type StreamBackend, startTcpBackend, startTlsBackend } from "../support/stream-backends.js";
import { staysTrue, waitFor } from "../support/wait.js";
import { ackedBy, setUp, startWorld, type World } from "../support/world.js";

let world: World;

beforeAll(async () => {
  world = await startWorld();
});

const close = { atDeadline: "close" } as const;
const closable = { protocol: "tcp", drain: close, healthChecks: [quickCheck("tcp")] } as const;

type Phase = "draining" | "closing" | undefined;

/** Writes the endpoint as a drain would, and waits until the Envoy has it. */
async function phase(cluster: string, backend: { readonly port: number }, phase: Phase): Promise<void> {
  const endpoint: Endpoint = {
    cluster,
    address: "127.0.0.1",
    port: backend.port,
    weight: 1,
    region: "",
    zone: "",
    priority: 0,
    enabled: true,
    ...(phase ? { drain: { id: "drain-1", phase } } : {}),
  };
  const revision = await putBehind(world.databaseUrl, [["endpoint", endpoint]]);
  await ackedBy(world.api, "edge-1", revision);
}

const living = (held: LongConnections, backend: StreamBackend): number =>
  held.all.filter((one) => one.backend === backend.name && one.ended === undefined).length;

async function guaranteeShown(cluster: string): Promise<{ kind: string; closesWithinMs?: number }> {
  const status = await world.api.get<{ drain: { guarantee: { kind: string; closesWithinMs?: number } } }>(
    `/v1/clusters/${cluster}/status`,
  );
  return status.drain.guarantee;
}

/** Connections of `name` live through `draining`, end by `closing`, and the other's live on. Ms that the end took. */
async function drainAndClose(
  held: LongConnections,
  cluster: string,
  drained: StreamBackend,
  other: StreamBackend,
): Promise<number> {
  const [before, others] = [living(held, drained), living(held, other)];
  expect(Math.min(before, others)).toBeGreaterThan(0);
  await phase(cluster, drained, "draining");
  await staysTrue("draining closes nothing", () => held.deaths().length === 0, 1_500);
  await held.answer();
  await phase(cluster, drained, "closing");
  const since = performance.now();
  await waitFor("its connections are closed", () => living(held, drained) === 0);
  const tookMs = performance.now() - since;
  await held.answer();
  expect(living(held, other)).toBe(others);
  return tookMs;
}

describe("the kill switch", () => {
  test.each(["plain", "TLS"] as const)("closes the connections of one endpoint, %s backends", async (kind) => {
    const name = `kill-${kind.toLowerCase()}`;
    const port = await freePort();
    const start = kind === "plain" ? startTcpBackend : startTlsBackend;
    const [one, two] = await Promise.all([start(`${name}-1`), start(`${name}-2`)]);
    await setUp(world.api, [
      ["listener", listenerBody(name, port, { protocol: kind === "plain" ? "tcp" : "tls" })],
      ["cluster", clusterBody(name, [one, two], closable)],
      ["route", streamRouteBody("tcp", name, name, name)],
    ]);
    const held = await (kind === "plain" ? openTcp(port, 12) : openTls(port, "any.test", 12));
    const { kind: guarantee, closesWithinMs = 0 } = await guaranteeShown(name);
    expect(guarantee).toBe("kill-switch");
    const tookMs = await drainAndClose(held, name, one, two);
    expect(tookMs).toBeLessThan(closesWithinMs);
    held.close();

    // And it may come back.
    await phase(name, one, undefined);
    if (kind === "plain") await waitFor("it serves again", async () => (await countTcp(port, 20)).has(one.name));
  });

  test("works in each backend of a split route, and leaves the split's other backend alone", async () => {
    const port = await freePort();
    const [one, two] = await Promise.all([startTcpBackend("split-1"), startTcpBackend("split-2")]);
    await setUp(world.api, [
      ["listener", listenerBody("split", port, { protocol: "tcp" })],
      ["cluster", clusterBody("split-a", [one], closable)],
      ["cluster", clusterBody("split-b", [two], closable)],
      ["route", streamRouteBody("tcp", "split", "split", { "split-a": 1, "split-b": 1 })],
    ]);
    const held = await openTcp(port, 20);
    const { closesWithinMs = 0 } = await guaranteeShown("split-a");
    expect(await drainAndClose(held, "split-a", one, two)).toBeLessThan(closesWithinMs);
    held.close();
  });

  test("is EDS alone: clusters and listeners of the Envoy stay as they were", async () => {
    const port = await freePort();
    const [one, two] = await Promise.all([startTcpBackend("still-1"), startTcpBackend("still-2")]);
    await setUp(world.api, [
      ["listener", listenerBody("still", port, { protocol: "tcp" })],
      ["cluster", clusterBody("still", [one, two], closable)],
      ["route", streamRouteBody("tcp", "still", "still", "still")],
    ]);
    const updates = (): Promise<ReadonlyMap<string, number>> =>
      world.envoy.stats("(cluster|listener)_manager[.](cluster|listener)_(added|modified|in_place_updated)");
    const before = await updates();
    expect(before.size).toBeGreaterThan(2);
    await phase("still", one, "draining");
    await phase("still", one, "closing");
    expect(await updates()).toEqual(before);
  });
});

test("without a wish to close, connections outlive the phase `closing`, and the status says left-open", async () => {
  const port = await freePort();
  const [one, two] = await Promise.all([startTcpBackend("left-1"), startTcpBackend("left-2")]);
  await setUp(world.api, [
    ["listener", listenerBody("left", port, { protocol: "tcp" })],
    ["cluster", clusterBody("left", [one, two], { ...closable, drain: { atDeadline: "leave" } })],
    ["route", streamRouteBody("tcp", "left", "left", "left")],
  ]);
  const held = await openTcp(port, 12);
  expect(await guaranteeShown("left")).toMatchObject({ kind: "left-open" });
  await phase("left", one, "closing");
  const killed = guaranteeOf(fromClusterBody("left", { ...closable, healthChecks: [quickCheck("tcp") as never] }), []);
  await staysTrue("nothing is closed", () => held.deaths().length === 0, killed.closesWithinMs ?? 0);
  await held.answer();
  held.close();
});
