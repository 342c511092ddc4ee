// When nothing is in flight is believed, on a real Envoy whose configuration comes from one replica and whose load reports and metrics go
// to another. In five cases load reports alone say that nothing is there although something is; in each the belief holds out.
import { beforeAll, describe, expect, test } from "vitest";
import { type Belief, believe, type DrainedEndpoint } from "../../src/drain/belief.js";
import { acked } from "../support/api-client.js";
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
import type { Api } from "../support/api-client.js";

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
async function drain(cluster: string, backend: { port: number; address: string }, resources: string[], connectTimeoutMs = 300): Promise<Drain> {
  await api.put(`/v1/clusters/${cluster}/endpoints/${backend.address}${acked}`, endpointOf(backend, { enabled: false }));
  return watch([{ key: backend.address, resources, connectTimeoutMs, steadySince: undefined }]);
}

function watch(endpoints: readonly DrainedEndpoint[]): Drain {
  const ackedAt = Date.now();
  const belief = (): Belief => believe(ackedAt, endpoints, load(), Date.now());
  return {
    ackedAt,
    belief,
    untilZero: async (timeoutMs = 20_000) => {
      await waitFor("nothing is in flight", () => belief().verdict === "zero" || Promise.reject(new Error(JSON.stringify(belief()))), { timeoutMs });
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
    await api.post(`/v1/clusters/plain/endpoints${acked}`, endpointOf(two));
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
