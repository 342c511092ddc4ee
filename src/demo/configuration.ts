// The configuration that the demo starts with, written through the admin API as any user would. In: ports. Out: objects that
// are there. What exists already stays as it is: it may be the user's by now. Called by up.ts at every start.
import { type ApiAccess, ApiRefusal, callApi } from "../cli/api-client.js";
import { isObject, list, number } from "../cli/json.js";
import { endpointKey } from "../cli/kinds.js";
import { backendKinds } from "./backends.js";

/** What the demo's objects are made of. */
export interface DemoConfiguration {
  readonly gateway: string;
  readonly host: string;
  readonly httpPort: number;
  readonly tcpPort: number;
  readonly firstBackendPort: number;
  /** Listeners whose port was asked for by a flag: they are moved there if they are elsewhere. */
  readonly moved: readonly ("web" | "tcp-in")[];
}

const httpCheck = { kind: "http", path: "/healthz", intervalMs: 1000, timeoutMs: 500, bodyContains: "status: ok" };
const tcpCheck = { kind: "tcp", intervalMs: 1000, timeoutMs: 500 };

/** Marks the endpoints that are the demo's own, so that they can move when the backends do. */
const zone = "demo";

function endpointsOf(cluster: string, { host, firstBackendPort }: DemoConfiguration) {
  return backendKinds.flatMap((kind, index) =>
    kind.cluster === cluster ? [{ address: host, port: firstBackendPort + index, zone }] : [],
  );
}

/** In the order in which they may be created. */
function objectsOf(demo: DemoConfiguration) {
  const http = (name: string) => ({ name, protocol: "http", healthChecks: [httpCheck], endpoints: endpointsOf(name, demo) });
  const gateways = [demo.gateway];
  const backends = [
    { cluster: "checkout-v1", weight: 95 },
    { cluster: "checkout-v2", weight: 5 },
  ];
  return [
    { path: "/v1/clusters", body: http("checkout-v1") },
    { path: "/v1/clusters", body: http("checkout-v2") },
    {
      path: "/v1/clusters",
      body: { name: "echo", protocol: "tcp", healthChecks: [tcpCheck], endpoints: endpointsOf("echo", demo) },
    },
    { path: "/v1/listeners", body: { name: "web", protocol: "http", address: demo.host, port: demo.httpPort, gateways } },
    { path: "/v1/listeners", body: { name: "tcp-in", protocol: "tcp", address: demo.host, port: demo.tcpPort, gateways } },
    { path: "/v1/routes", body: { name: "checkout", protocol: "http", listeners: ["web"], backends } },
    {
      path: "/v1/routes",
      body: { name: "echo", protocol: "tcp", listener: "tcp-in", backends: [{ cluster: "echo", weight: 1 }] },
    },
  ];
}

/** False: it was there already. */
async function create(access: ApiAccess, path: string, body: object): Promise<boolean> {
  try {
    await callApi(access, { method: "POST", path, body });
    return true;
  } catch (error) {
    if (error instanceof ApiRefusal && error.code === "already_exists") return false;
    throw error;
  }
}

/** The backends are elsewhere than at the last start: the demo's own endpoints follow them. */
async function moveEndpoints(access: ApiAccess, cluster: string, demo: DemoConfiguration): Promise<boolean> {
  const path = `/v1/clusters/${cluster}/endpoints`;
  const { body } = await callApi(access, { method: "GET", path });
  const present = list(body["endpoints"]).filter(isObject);
  const wanted = endpointsOf(cluster, demo);
  const old = present.filter((endpoint) => endpoint["zone"] === zone && !wanted.some(({ port }) => port === endpoint["port"]));
  if (old.length === 0) return false; // What is missing was removed by the user.
  const upsert = wanted.filter(({ port }) => !present.some((endpoint) => endpoint["port"] === port));
  await callApi(access, { method: "PATCH", path, body: { upsert, remove: old.map(endpointKey) } });
  return true;
}

async function moveListener(access: ApiAccess, name: "web" | "tcp-in", port: number): Promise<boolean> {
  const path = `/v1/listeners/${name}`;
  const { body } = await callApi(access, { method: "GET", path });
  if (body["port"] === port) return false;
  await callApi(access, { method: "PUT", path, body: { ...body, port } });
  return true;
}

/** One line for each thing that could not be written: the user's own objects may be in the way, and the demo goes on. */
async function attempt(did: string, work: () => Promise<boolean>, say: (line: string) => void): Promise<void> {
  try {
    if (await work()) say(did);
  } catch (error) {
    if (!(error instanceof ApiRefusal) || error.status >= 500) throw error;
    say(`not ${did}: ${error.message}`);
  }
}

/** @throws CommandError when the control plane is away */
export async function writeConfiguration(access: ApiAccess, demo: DemoConfiguration, say: (line: string) => void): Promise<void> {
  for (const { path, body } of objectsOf(demo)) {
    const kind = path.slice("/v1/".length, -1);
    await attempt(`created ${kind} ${body.name}`, () => create(access, path, body), say);
    if ("endpoints" in body)
      await attempt(`moved the endpoints of ${body.name}`, () => moveEndpoints(access, body.name, demo), say);
  }
  const ports = { web: demo.httpPort, "tcp-in": demo.tcpPort };
  for (const name of demo.moved)
    await attempt(`moved listener ${name} to port ${ports[name]}`, () => moveListener(access, name, ports[name]), say);
}

/** Where the listener is now; undefined when the user has removed it. */
export async function listenerPort(access: ApiAccess, name: "web" | "tcp-in"): Promise<number | undefined> {
  try {
    const { body } = await callApi(access, { method: "GET", path: `/v1/listeners/${name}` });
    return number(body["port"]);
  } catch (error) {
    if (error instanceof ApiRefusal && error.status === 404) return undefined;
    throw error;
  }
}
