// By what means a drain's deadline is kept, on a real Envoy: connections live while their endpoint drains, end within `closesWithinMs`
// of its phase `closing` where the guarantee says so, and nobody else's are touched. Phases are put behind the API.
// Mutants caught: checks that keep their connection; no metadata, or metadata while it only drains; a kill socket that TLS backends pass;
// no closing when a check fails; sessions that stay on DRAINING after the deadline.
import { beforeAll, describe, expect, test } from "vitest";
import { fromClusterBody } from "../../src/api/cluster-body.js";
import { guaranteeOf } from "../../src/model/drain-guarantee.js";
import type { Endpoint } from "../../src/model/endpoint.js";
import { acked, type Json } from "../support/api-client.js";
import { putBehind } from "../support/behind-the-api.js";
import { clusterBody, listenerBody, quickCheck, routeBody, streamRouteBody } from "../support/bodies.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { sendMany } from "../support/load.js";
import { type LongConnections, openTcp, openTls } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { send } from "../support/requests.js";
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

/** What is checked, and how: by connecting, by asking, by HTTP on another port; and through to TLS backends. */
const kinds = {
  plain: { protocol: "tcp", start: startTcpBackend, check: () => quickCheck("tcp"), open: openTcp },
  asked: {
    protocol: "tcp",
    start: startTcpBackend,
    check: () => quickCheck("tcp", { send: "PING\n", receive: ["PONG"] }),
    open: openTcp,
  },
  elsewhere: {
    protocol: "tcp",
    start: startTcpBackend,
    check: (port: number) => quickCheck("http", { path: "/healthz", port }),
    open: openTcp,
  },
  tls: {
    protocol: "tls",
    start: startTlsBackend,
    check: () => quickCheck("tcp"),
    open: (port: number, count: number) => openTls(port, "any.test", count),
  },
} as const;

describe("the kill switch", () => {
  test.each(["plain", "asked", "elsewhere", "tls"] as const)("closes the connections of one endpoint, %s", async (kind) => {
    const name = `kill-${kind}`;
    const { protocol, start, check, open } = kinds[kind];
    const port = await freePort();
    const [one, two, checked] = await Promise.all([start(`${name}-1`), start(`${name}-2`), startHttpBackend(`${name}-checked`)]);
    await setUp(world.api, [
      ["listener", listenerBody(name, port, { protocol })],
      ["cluster", clusterBody(name, [one, two], { ...closable, healthChecks: [check(checked.port)] })],
      ["route", streamRouteBody("tcp", name, name, name)],
    ]);
    const held = await open(port, 12);
    const { kind: guarantee, closesWithinMs = 0 } = await guaranteeShown(name);
    expect(guarantee).toBe("kill-switch");
    expect(await drainAndClose(held, name, one, two)).toBeLessThan(closesWithinMs);
    held.close();

    // And it may come back.
    await phase(name, one, undefined);
    const healthy = async (): Promise<number> =>
      ((await world.envoy.clusters()).get(`tcp/${name}`) ?? []).filter((host) => host.healthy).length;
    await waitFor("it serves again", async () => (await healthy()) === 2);
    const again = await open(port, 12);
    expect(living(again, one)).toBeGreaterThan(0);
    again.close();
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

describe("sessions by cookie", () => {
  let web = 0;
  beforeAll(async () => {
    web = await freePort();
    await setUp(world.api, [["listener", listenerBody("web", web)]]);
  });

  /** Two endpoints, a session on the first, and what becomes of a request of each. */
  async function session(name: string, sticky: "leave-at-once" | "until-drained") {
    const [one, two] = await Promise.all([startHttpBackend(`${name}-1`), startHttpBackend(`${name}-2`)]);
    await setUp(world.api, [
      ["cluster", clusterBody(name, [one, two], { drain: { sticky } })],
      [
        "route",
        routeBody(name, "web", name, {
          match: { path: { prefix: `/${name}` } },
          timeoutMs: 5_000,
          sticky: { kind: "session-cookie", cookie: "at", ttlMs: 60_000 },
        }),
      ],
    ]);
    const path = `/${name}`;
    const first = await send({ port: web, path });
    const cookie = first.headers["set-cookie"]?.[0]?.split(";")[0] ?? "";
    const [held, other] = first.backend === one.name ? [one, two] : [two, one];
    const holder = async () => (await sendMany(40, { port: web, path, headers: { cookie } })).byBackend;
    const newcomers = async () => (await sendMany(40, { port: web, path })).byBackend;
    return { held, other, holder, newcomers, slow: () => send({ port: web, path, headers: { cookie } }) };
  }
  const all = (backend: HttpBackend): ReadonlyMap<string, number> => new Map([[backend.name, 40]]);

  test("stay until the deadline where the cluster lets them, and newcomers don't come", async () => {
    const { held, other, holder, newcomers, slow } = await session("staying", "until-drained");
    expect(await holder()).toEqual(all(held));
    await phase("staying", held, "draining");
    expect([await holder(), await newcomers()]).toEqual([all(held), all(other)]);

    held.delayMs = 1_500;
    const underWay = slow();
    await waitFor("it is under way", () => performance.now() - held.lastRequestAt < 1_000);
    await phase("staying", held, "closing");
    expect([await holder(), await newcomers()]).toEqual([all(other), all(other)]);
    expect(await underWay).toMatchObject({ status: 200, backend: held.name });
    expect(await guaranteeShown("staying")).toMatchObject({ kind: "bounded-by-timeout", closesWithinMs: 5_500 });
  });

  test("leave as soon as their endpoint drains where it does not", async () => {
    const { held, other, holder, newcomers } = await session("leaving", "leave-at-once");
    expect(await holder()).toEqual(all(held));
    await phase("leaving", held, "draining");
    expect([await holder(), await newcomers()]).toEqual([all(other), all(other)]);
  });
});

describe("slow start", () => {
  const slowStartMs = 3_000;

  /** Three endpoints, of which `newest` has not come yet; and its share of 300 requests. */
  async function three(name: string, more: Json) {
    const port = await freePort();
    const [one, two, newest] = await Promise.all([1, 2, 3].map((at) => startHttpBackend(`${name}-${at}`)));
    if (!one || !two || !newest) throw new Error("three were started");
    await setUp(world.api, [
      ["listener", listenerBody(name, port)],
      ["cluster", clusterBody(name, [one, two], { ...more, loadBalancing: { policy: "round-robin" } })],
      ["route", routeBody(name, name, name)],
    ]);
    const path = `/v1/clusters/${name}/endpoints/${newest.address}${acked}`;
    const share = async () => ((await sendMany(300, { port })).byBackend.get(newest.name) ?? 0) / 300;
    return { share, put: (body: Json) => world.api.put(path, body), remove: () => world.api.delete(path) };
  }

  test("gives an endpoint that comes little at first, and its share in the end; also when it comes again", async () => {
    const { share, put, remove } = await three("slow", { slowStartMs });
    await windowOf("the others start", slowStartMs);
    await put({});
    expect(await share()).toBeLessThan(0.2);
    await windowOf("it starts", slowStartMs);
    expect(await share()).toBeCloseTo(1 / 3, 1);

    // One that was only disabled has not gone, and does not come.
    await put({ enabled: false });
    expect(await share()).toBe(0);
    await put({ enabled: true });
    expect(await share()).toBeCloseTo(1 / 3, 1);
    await remove();
    await put({});
    expect(await share()).toBeLessThan(0.2);
  });

  test("is off unless asked for", async () => {
    const { share, put } = await three("fast", {});
    await put({});
    expect(await share()).toBeCloseTo(1 / 3, 1);
  });
});

/** Time is what these tests are about. */
const windowOf = (what: string, ms: number): Promise<void> => staysTrue(what, () => true, ms);
