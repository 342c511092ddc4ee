// When nothing is in flight is believed, on a real Envoy whose configuration comes from one replica and whose load reports and metrics go
// to another. In five cases load reports alone say that nothing is there although something is; in each the belief holds out.
// Mutants that it caught: without what the gauges leave over, and without the moment at which nothing waits (four cases).
import { beforeAll, describe, expect, test } from "vitest";
import { type Belief, believe, type DrainedEndpoint } from "../../src/drain/belief.js";
import { type Api, acked } from "../support/api-client.js";
import { clusterBody, endpointOf, listenerBody, routeBody, streamRouteBody } from "../support/bodies.js";
import { startDeafBackend } from "../support/deaf-backend.js";
import { type Envoy, startEnvoy } from "../support/envoy.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { startLoad } from "../support/load.js";
import { openTcp, openWebSockets } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { startReplica } from "../support/replica.js";
import { type ReportServer, startReportServer } from "../support/report-server.js";
import { startTcpBackend } from "../support/stream-backends.js";
import { waitFor } from "../support/wait.js";
import { connected, setUp, startDatabase } from "../support/world.js";

const node = "edge-1";
let api: Api;
let envoy: Envoy;
let reports: ReportServer;

beforeAll(async () => {
  const databaseUrl = await startDatabase();
  const replica = await startReplica({ databaseUrl, env: { CHANCERY_REMOVAL_GRACE_MS: "300" } });
  reports = await startReportServer();
  reports.streams.setPace("drain");
  api = replica.api;
  envoy = await startEnvoy({ node, gateway: "edge", xdsPorts: [replica.xdsPort], reportsPort: reports.port });
  await envoy.live();
  await connected(api, node);
});

const load = () => reports.loads.of(node, Date.now());
/** What the newest load report says of the address, in the cluster resource. */
const seen = (resource: string, address: string): number | undefined => {
  const report = load()?.loadStreams[0]?.reports.at(-1);
  return report && (report.clusters.get(resource)?.get(address)?.inFlight ?? 0);
};

interface Drain {
  belief(): Belief;
  /** Resolves at the first zero; every belief since the beginning is in `verdicts`. */
  untilZero(timeoutMs?: number): Promise<number>;
  /** Looks for `forMs`; fails at a zero. */
  holdsOut(forMs: number): Promise<Belief>;
  readonly ackedAt: number;
}

/** Makes the endpoint draining, waits for the ack, and then looks. */
async function drain(
  cluster: string,
  backend: { port: number; address: string },
  resources: string[],
  connectTimeoutMs = 300,
): Promise<Drain> {
  await api.put(`/v1/clusters/${cluster}/endpoints/${backend.address}${acked}`, endpointOf(backend, { enabled: false }));
  return watch([{ key: backend.address, resources, connectTimeoutMs, steady: undefined }]);
}

function watch(endpoints: readonly DrainedEndpoint[]): Drain {
  const ackedAt = Date.now();
  const belief = (): Belief => believe(ackedAt, endpoints, load(), Date.now());
  return {
    ackedAt,
    belief,
    untilZero: async (timeoutMs = 20_000) => {
      await waitFor(
        "nothing is in flight",
        () => belief().verdict === "zero" || Promise.reject(new Error(JSON.stringify(belief()))),
        { timeoutMs },
      );
      return Date.now() - ackedAt;
    },
    holdsOut: async (forMs) => {
      const end = Date.now() + forMs;
      while (Date.now() < end) {
        expect(belief().verdict).not.toBe("zero");
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return belief();
    },
  };
}

async function tcpWorld(name: string) {
  const port = await freePort();
  const [one, two] = await Promise.all([startTcpBackend("one"), startTcpBackend("two")]);
  await setUp(api, [
    ["listener", listenerBody(name, port, { protocol: "tcp" })],
    ["cluster", clusterBody(name, [one], { protocol: "tcp" })],
    ["route", streamRouteBody("tcp", name, name, name)],
  ]);
  return { port, one, two, resource: `tcp/${name}` };
}

async function httpWorld(name: string, backends: readonly { readonly port: number }[]) {
  const port = await freePort();
  await setUp(api, [
    ["listener", listenerBody(name, port)],
    ["cluster", clusterBody(name, backends)],
    ["route", routeBody(name, name, name, { upgrades: ["websocket"] })],
  ]);
  return { port };
}

const slowRequest = (port: number, backend: HttpBackend, delayMs: number): Promise<string> => {
  backend.delayMs = delayMs;
  return fetch(`http://127.0.0.1:${port}/`).then((response) => response.text());
};

describe("what load reports see", () => {
  test("TCP connections are counted down, and nothing left is believed two reports later", async () => {
    const { port, one, two, resource } = await tcpWorld("plain");
    const held = await openTcp(port, 3);
    await api.put(`/v1/clusters/plain/endpoints/${two.address}${acked}`, endpointOf(two));
    const drained = await drain("plain", one, [resource, "plain"]);
    const belief = await drained.holdsOut(4_000);
    expect(belief).toEqual({ verdict: "in-flight", inFlight: 3, unattributed: 0 });
    held.close();
    const closedAt = Date.now();
    await drained.untilZero();
    expect(Date.now() - closedAt).toBeLessThan(4_500);
  });

  test("nothing in flight under load on the other endpoint: believed within seconds of the ack", async () => {
    const [one, two] = await Promise.all([startHttpBackend("one"), startHttpBackend("two")]);
    const { port } = await httpWorld("busy", [one, two]);
    const requests = startLoad({ next: () => ({ port }), requestsPerSecond: 300 });
    await waitFor("load is seen", () => (load()?.gaugesOf("busy").connections ?? 0) > 0);
    const drained = await drain("busy", one, ["busy"]);
    expect(await drained.untilZero()).toBeLessThan(10_000);
    await requests.stop();
  });
});

describe("load reports show nothing although work is there", () => {
  test("after a change of the cluster: its connections are on replaced hosts", async () => {
    const { port, one, resource } = await tcpWorld("changed");
    const held = await openTcp(port, 3);
    await waitFor("they are seen", () => seen(resource, one.address) === 3);
    await api.put(`/v1/clusters/changed${acked}`, { name: "changed", protocol: "tcp", connectTimeoutMs: 1_234 });
    await waitFor("the reports have lost them", () => seen(resource, one.address) === 0);
    const drained = await drain("changed", one, [resource, "changed"]);
    const belief = await drained.holdsOut(5_000);
    expect([seen(resource, one.address), belief]).toEqual([0, { verdict: "in-flight", inFlight: 0, unattributed: 3 }]);
    await held.answer();
    held.close();
    await drained.untilZero();
  });

  test("after the endpoint came again with another zone", async () => {
    const [one, two] = await Promise.all([startHttpBackend("one"), startHttpBackend("two")]);
    const { port } = await httpWorld("zoned", [one]);
    const held = await openWebSockets(port, 2);
    await waitFor("they are seen", () => seen("zoned", one.address) === 2);
    await api.put(`/v1/clusters/zoned/endpoints${acked}`, { endpoints: [endpointOf(two)] });
    await api.put(`/v1/clusters/zoned/endpoints${acked}`, { endpoints: [endpointOf(one, { zone: "b" }), endpointOf(two)] });
    await waitFor("the reports have lost them", () => seen("zoned", one.address) === 0);
    const drained = await drain("zoned", one, ["zoned"]);
    const belief = await drained.holdsOut(5_000);
    expect([seen("zoned", one.address), belief]).toEqual([0, { verdict: "in-flight", inFlight: 0, unattributed: 2 }]);
    held.close();
    await drained.untilZero();
  });

  test("after the cluster was removed from the Envoy, as no route names it any more", async () => {
    const one = await startHttpBackend("one");
    const { port } = await httpWorld("removed", [one]);
    const request = slowRequest(port, one, 12_000);
    await waitFor("it is seen", () => seen("removed", one.address) === 1);
    await api.delete(`/v1/routes/removed${acked}`);
    await waitFor("the cluster is gone", async () => !(await envoy.names("cluster")).includes("removed"));
    await waitFor("the reports have lost it", () => seen("removed", one.address) === 0);
    const drained = watch([{ key: one.address, resources: ["removed"], connectTimeoutMs: 300, steady: undefined }]);
    const belief = await drained.holdsOut(5_000);
    expect([seen("removed", one.address), belief]).toEqual([0, { verdict: "in-flight", inFlight: 0, unattributed: 1 }]);
    expect(await request).toBe(one.body);
    await drained.untilZero();
  });

  test("while a request waits for its connection, which comes after the connect timeout was believed over", async () => {
    const [deaf, two] = await Promise.all([startDeafBackend(), startHttpBackend("two")]);
    const { port } = await httpWorld("waiting", [deaf]);
    await api.put(`/v1/clusters/waiting${acked}`, { name: "waiting", connectTimeoutMs: 20_000 });
    await deaf.deafen();
    const request = fetch(`http://127.0.0.1:${port}/`).then((response) => response.text());
    await waitFor("it waits", () => load()?.gaugesOf("waiting").pending === 1);
    await api.put(`/v1/clusters/waiting/endpoints/${two.address}${acked}`, endpointOf(two));
    const drained = await drain("waiting", deaf, ["waiting"], 0);
    await drained.holdsOut(4_500);
    expect([seen("waiting", deaf.address), load()?.gaugesOf("waiting").pending]).toEqual([0, 1]);
    deaf.hear();
    expect(await request).toBe("hello from deaf\n");
    await drained.untilZero();
  });

  test("when the address is in several clusters: each tells its own", async () => {
    const one = await startHttpBackend("one");
    const [{ port }] = [await httpWorld("shared-a", [one]), await httpWorld("shared-b", [one])];
    const held = await openWebSockets(port, 2);
    await waitFor("they are seen", () => seen("shared-a", one.address) === 2);
    await drain("shared-a", one, ["shared-a"]);
    await api.put(`/v1/clusters/shared-b/endpoints/${one.address}${acked}`, endpointOf(one, { enabled: false }));
    const endpoint = { key: one.address, connectTimeoutMs: 300, steady: undefined };
    await watch([{ ...endpoint, resources: ["shared-b"] }]).untilZero();
    const both = watch([
      { ...endpoint, resources: ["shared-a"] },
      { ...endpoint, resources: ["shared-b"] },
    ]);
    expect(await both.holdsOut(3_000)).toEqual({ verdict: "in-flight", inFlight: 2, unattributed: 0 });
    held.close();
    await both.untilZero();
  });
});

describe("streams", () => {
  test("a stream of load reports that was closed is blind for 5 s: silent, and no zero before it is back", async () => {
    const { port, one, two, resource } = await tcpWorld("reopened");
    await api.put(`/v1/clusters/reopened/endpoints/${two.address}${acked}`, endpointOf(two));
    const held = await openTcp(port, 4);
    const drained = await drain("reopened", one, [resource, "reopened"]);
    reports.streams.close();
    const closedAt = Date.now();
    await waitFor("it is silent", () => drained.belief().verdict === "silent");
    held.close();
    await drained.holdsOut(4_500 - (Date.now() - closedAt));
    await drained.untilZero();
    expect(Date.now() - closedAt).toBeGreaterThan(5_000);
  });

  test("asked at another pace in the middle of it, load reports come at that pace, and count on", async () => {
    const times: number[] = [];
    const stop = reports.loads.onReport(() => {
      const at = load()?.loadStreams[0]?.receivedAt;
      if (at !== undefined && times.at(-1) !== at) times.push(at);
    });
    reports.streams.setPace("idle");
    await new Promise((resolve) => setTimeout(resolve, 3_500));
    const whileIdle = times.length;
    reports.streams.setPace("drain");
    await waitFor("they come each second", () => times.length >= whileIdle + 3, { timeoutMs: 4_500 });
    stop();
    expect(whileIdle).toBeLessThanOrEqual(1);
  });
});
