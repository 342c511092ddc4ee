// A small production with everything that a fault may befall: a primary with its standby behind one address, three control planes as
// processes, each with a proxy before its xDS port, real Envoys under load and simulated ones that write down what they get.
// In: how many, and whether commits wait for the standby. Out: all of it, serving. Called by faulty-run.ts.
import { migrate } from "../../src/store/migrate.js";
import { createLogger } from "../../src/telemetry/logger.js";
import type { Json } from "../support/api-client.js";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { type Envoy, startEnvoy } from "../support/envoy.js";
import { startHttpBackend } from "../support/http-backend.js";
import { type Load, startLoad } from "../support/load.js";
import { freePort } from "../support/ports.js";
import { type Replica, startReplica } from "../support/replica.js";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.js";
import { connected, setUp } from "../support/world.js";
import { type PostgresPair, startPostgresPair } from "./postgres-pair.js";
import { type RecordedEnvoy, startRecordedEnvoy } from "./recorded-envoy.js";
import { sharedClusters } from "./writers.js";

export interface FaultyWorldOptions {
  readonly synchronous: boolean;
  /** Of the first primary. */
  readonly dataDir?: string | undefined;
  readonly envoys: number;
  readonly simulated: number;
  /** Clocks of control planes are wrong by up to so much, ms, either way. */
  readonly maxSkewMs: number;
  readonly random: (below: number) => number;
  readonly loadMs: number;
  /** More settings of the control planes. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A control plane, and what Envoys reach it through. */
export interface Reachable {
  readonly replica: Replica;
  readonly xds: TcpProxy;
}

export interface FaultyWorld {
  readonly pair: PostgresPair;
  readonly planes: readonly Reachable[];
  readonly envoys: readonly Envoy[];
  readonly recorded: readonly RecordedEnvoy[];
  readonly load: Load;
  /** Routes that writers may write, by their names in a Sets. */
  readonly routes: ReadonlyMap<string, Json>;
  /** Environment of a control plane's next start: a clock of its own. */
  nextClock(): Readonly<Record<string, string>>;
}

const skewedClock = new URL("../support/skewed-clock.mjs", import.meta.url).href;
/** A replica starts while the database is killed again, on a machine with ten times its work. */
const readyWithinMs = 120_000;
const requestsPerSecond = 60;

/** `/route-<n>` goes to two of the clusters that writers change. */
function routeBodies(): Map<string, Json> {
  const pairs = [0, 1, 2].map((at) => [`route-${at}`, { [`shared-${2 * at}`]: 1, [`shared-${2 * at + 1}`]: 1 }] as const);
  return new Map(
    pairs.map(([name, to]) => [`route ${name}`, routeBody(name, "web", to, { match: { path: { prefix: `/${name}` } } })]),
  );
}

export async function startFaultyWorld(options: FaultyWorldOptions): Promise<FaultyWorld> {
  const { random, maxSkewMs, dataDir } = options;
  const pair = await startPostgresPair({ synchronous: options.synchronous, ...(dataDir === undefined ? {} : { dataDir }) });
  await migrate(pair.url, createLogger("silent"));
  const nextClock = (): Readonly<Record<string, string>> =>
    maxSkewMs === 0
      ? {}
      : {
          NODE_OPTIONS: `--import ${skewedClock}`,
          CHANCERY_TEST_CLOCK_SKEW_MS: String(random(2 * maxSkewMs + 1) - maxSkewMs),
        };
  const startPlane = async (id: string): Promise<Reachable> => {
    const env = { CHANCERY_LOG_LEVEL: "warn", CHANCERY_POLL_MS: "200", CHANCERY_LEASE_MS: "3000", CHANCERY_BEAT_MS: "1000" };
    const settings = { ...env, ...options.env, ...nextClock() };
    const replica = await startReplica({ databaseUrl: pair.url, id, env: settings, readyWithinMs });
    return { replica, xds: await startTcpProxy(`xDS of ${id}`, { host: "127.0.0.1", port: replica.xdsPort }) };
  };
  const planes = await Promise.all(["replica-a", "replica-b", "replica-c"].map(startPlane));
  const routes = routeBodies();
  const { port, envoys } = await startEnvoys(planes, options.envoys, routes);
  const ports = planes.map(({ xds }) => xds.port);
  const recorded = Array.from({ length: options.simulated }, (_, index) =>
    startRecordedEnvoy({
      node: `simulated-${index}`,
      protocol: index % 3 === 2 ? "sotw" : "delta",
      ports,
      first: index % ports.length,
    }),
  );
  let asked = 0;
  const next = () => ({ port, path: `/route-${asked++ % routes.size}` });
  const load = startLoad({ next, keepAlive: 3, newConnections: 1, requestsPerSecond, maxMs: options.loadMs });
  return { pair, planes, envoys, recorded, load, routes, nextClock };
}

async function startEnvoys(
  planes: readonly Reachable[],
  count: number,
  routes: ReadonlyMap<string, Json>,
): Promise<{ readonly port: number; readonly envoys: readonly Envoy[] }> {
  const [first] = planes;
  if (!first) throw new Error("no control plane");
  const { api } = first.replica;
  const [port, backend] = [await freePort(), await startHttpBackend("backend")];
  await setUp(api, [
    ["listener", listenerBody("web", port)],
    ...sharedClusters.map(
      (name, index) => ["cluster", clusterBody(name, [backend], { circuitBreakers: { maxConnections: 100 + index } })] as const,
    ),
  ]);
  await setUp(
    api,
    [...routes.values()].map((body, index) => ["route", { ...body, timeoutMs: 100_000 + index }] as const),
  );
  const ports = planes.map(({ xds }) => xds.port);
  const start = (_: unknown, index: number): Promise<Envoy> =>
    startEnvoy({ node: `edge-${index}`, gateway: "edge", xdsPorts: ports, mode: index % 3 === 2 ? "sotw" : "delta" });
  const envoys = await Promise.all(Array.from({ length: count }, start));
  for (const envoy of envoys) {
    await envoy.live();
    await connected(api, envoy.node);
  }
  return { port, envoys };
}
