// What drains under load are shown on: two replicas on one database, two Envoys that share their listeners' ports, and for each kind of
// traffic a cluster of backends that come and go. In: kinds. Out: Fleet. Called by the tests of drains.
import { type Api, acked } from "../support/api-client.js";
import { endpointOf } from "../support/bodies.js";
import { type Envoy, startEnvoy } from "../support/envoy.js";
import { freePort } from "../support/ports.js";
import { type Replica, startReplica } from "../support/replica.js";
import { connected, setUp, startDatabase } from "../support/world.js";
import { type Backend, startBackend } from "./backend.js";
import { type Kind, setUpOf } from "./kinds.js";

export interface Fleet {
  readonly databaseUrl: string;
  readonly replicas: readonly [Replica, Replica];
  readonly envoys: readonly Envoy[];
}

/** Two replicas and two Envoys start at once, on a machine that may have other work. */
const readyWithinMs = 90_000;
export const startWithinMs = 2 * readyWithinMs;

/** Where an Envoy's three streams go: `own`: all to one replica, each Envoy to another; `spread`: each to any. */
export type Streams = "own" | "spread";

/** `env`: settings of either replica. */
export async function startFleet(streams: Streams, env: readonly [Env, Env] = [{}, {}]): Promise<Fleet> {
  const databaseUrl = await startDatabase();
  const startOne = (id: string, more: Env): Promise<Replica> =>
    startReplica({ databaseUrl, id, env: { CHANCERY_LOG_LEVEL: "info", ...more }, readyWithinMs });
  const replicas = await Promise.all([startOne("replica-a", env[0]), startOne("replica-b", env[1])]);
  const xdsPorts = replicas.map(({ xdsPort }) => xdsPort);
  const portsOf = (at: number): readonly number[] => (streams === "own" ? xdsPorts.slice(at, at + 1) : xdsPorts);
  const start = (node: string, at: number): Promise<Envoy> => startEnvoy({ node, gateway: "edge", xdsPorts: portsOf(at) });
  const envoys = await Promise.all(["edge-1", "edge-2"].map(start));
  for (const envoy of envoys) {
    await envoy.live({ timeoutMs: readyWithinMs });
    // A replica shows the other one's Envoys from the first revision on.
    await Promise.race(replicas.map(({ api }) => connected(api, envoy.node)));
  }
  return { databaseUrl, replicas, envoys };
}
type Env = Readonly<Record<string, string>>;

/** The backends of one kind, and the port of their listener. */
export interface Service {
  readonly kind: Kind;
  readonly port: number;
  /** Those that serve, the oldest first. */
  readonly backends: Backend[];
}

/** A cluster of `count` backends with listener and route. */
export async function startService(api: Api, kind: Kind, count: number): Promise<Service> {
  const port = await freePort();
  const backends: Backend[] = [];
  for (let at = 0; at < count; at++) backends.push(await startBackend(kind, `${kind}-${at}`, await freePort()));
  await setUp(api, setUpOf(kind, port, backends));
  return { kind, port, backends };
}

/** New processes in the places of those that left: every other one on the address that one of them had, if that one was stopped. */
export async function replace(api: Api, { kind, backends }: Service, left: readonly Backend[], round: number): Promise<void> {
  const coming: Backend[] = [];
  for (const [at, { port, isStopped }] of left.entries())
    coming.push(await startBackend(kind, `${kind}-r${round}-${at}`, at % 2 === 0 && isStopped() ? port : await freePort()));
  const upsert = coming.map((backend) => endpointOf(backend));
  const { status, text } = await api.call("PATCH", `/v1/clusters/${kind}/endpoints${acked}`, { upsert });
  if (status !== 200) throw new Error(`the new backends were not acked: ${status} ${text}`);
  backends.push(...coming);
}
