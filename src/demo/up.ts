// The whole demo on one machine: Postgres, the control plane, two real Envoys, backends, and a configuration to play with.
// In: ports and a folder. Out: a running fleet until the signal says stop; then nothing is left running. Called by commands.ts.
// Without an Envoy the rest runs all the same.
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type ApiAccess, listAll } from "../cli/api-client.js";
import { type HostPort, toBootstrap } from "../cli/bootstrap.js";
import { CommandError, exitCodes } from "../cli/exit-codes.js";
import { backendKinds, startBackends } from "./backends.js";
import { type DemoConfiguration, listenerPort, writeConfiguration } from "./configuration.js";
import { type ControlPlaneOptions, migrateDatabase, startControlPlane } from "./control-plane.js";
import { keepPostgres } from "./database.js";
import { findEnvoy, type RunningEnvoy, startEnvoy } from "./envoy.js";
import { toGreeting } from "./greeting.js";
import { type Keeper, startKeeper } from "./keeper.js";
import { freePort, portFaults, type WantedPort } from "./ports.js";
import { type Supervised, supervise } from "./supervise.js";

/** All that flags and environment decide. */
export interface DemoOptions {
  /** dist/main.js, which is started with `migrate` and `serve`. */
  readonly mainScript: string;
  /** How the greeting calls this program. */
  readonly program: string;
  /** Absolute. Postgres, logs and what the Envoys start with. */
  readonly dataDir: string;
  readonly api: HostPort;
  readonly xds: HostPort;
  readonly configuration: DemoConfiguration;
  /** 0: no proxies. */
  readonly envoys: number;
  /** A Postgres to use in place of the embedded one. Its configuration becomes the demo's. */
  readonly databaseUrl: string | undefined;
}

type Say = (line: string) => void;

/** What has been started and how it is stopped, in the order of starting. */
type Started = { readonly what: string; readonly stop: () => Promise<void> }[];

interface Demo {
  readonly options: DemoOptions;
  readonly say: Say;
  readonly keeper: Keeper;
  readonly started: Started;
  readonly access: ApiAccess;
}

const trafficWaitMs = 20_000;
const pollMs = 100;

function toText({ host, port }: HostPort): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function wantedPorts({ api, xds, configuration, envoys }: DemoOptions): readonly WantedPort[] {
  const { host, httpPort, tcpPort, firstBackendPort } = configuration;
  const listeners = [
    { host, port: httpPort, what: "the demo's HTTP listener", flag: "--http-port" },
    { host, port: tcpPort, what: "the demo's TCP listener", flag: "--tcp-port" },
  ];
  return [
    { ...api, what: "the admin API", flag: "--api-port" },
    { ...xds, what: "xDS", flag: "--xds-port" },
    ...(envoys > 0 ? listeners : []),
    ...backendKinds.map(({ name }, index) => ({
      host,
      port: firstBackendPort + index,
      what: `the backend ${name}`,
      flag: "--backends-port",
    })),
  ];
}

async function startDatabase({ options, say, keeper, started }: Demo): Promise<string> {
  if (options.databaseUrl !== undefined) return options.databaseUrl;
  say("Starting Postgres");
  const postgres = await keepPostgres({ dataDir: join(options.dataDir, "postgres"), say, keeper });
  started.push({ what: "Postgres", stop: () => postgres.stop() });
  return postgres.url;
}

async function startServer({ options, say, keeper, started }: Demo, databaseUrl: string) {
  const envoy = await findEnvoy();
  const controlPlane: ControlPlaneOptions = {
    envoyBinary: "path" in envoy ? envoy.path : undefined,
    mainScript: options.mainScript,
    databaseUrl,
    apiAddress: toText(options.api),
    xdsAddress: toText(options.xds),
    folder: options.dataDir,
    keeper,
  };
  say("Bringing the database up to date");
  await migrateDatabase(controlPlane);
  say("Starting the control plane");
  const server = await supervise("the control plane", () => startControlPlane(controlPlane), say);
  started.push({ what: "the control plane", stop: () => server.stop() });
  return server;
}

async function startFleet({
  options,
  say,
  keeper,
  started,
}: Demo): Promise<readonly { name: string; envoy: Supervised<RunningEnvoy> }[]> {
  if (options.envoys === 0) return [];
  const found = await findEnvoy();
  if ("missing" in found) {
    say(`\nNo proxies are started: ${found.missing}\n`);
    return [];
  }
  say(`Starting ${options.envoys} Envoys`);
  const names = Array.from({ length: options.envoys }, (_, index) => `edge-${index + 1}`);
  return Promise.all(
    names.map(async (name) => {
      const folder = join(options.dataDir, name);
      await mkdir(folder, { recursive: true });
      await rm(join(folder, "envoy.log"), { force: true });
      const bootstrap = toBootstrap({
        node: name,
        gateway: options.configuration.gateway,
        controlPlanes: [options.xds],
        admin: { host: "127.0.0.1", port: await freePort() },
      });
      const start = () => startEnvoy({ binary: found.path, bootstrap, folder, keeper });
      const envoy = await supervise(name, start, say);
      started.push({ what: name, stop: () => envoy.stop() });
      return { name, envoy };
    }),
  );
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2000), headers: { connection: "close" } });
    await response.arrayBuffer();
    return response.status < 500; // 404: the user has other routes by now.
  } catch {
    return false; // The listener is not open yet.
  }
}

/** So that the first command that a user tries finds everything in place. */
async function waitForTraffic(
  { access, say, options }: Demo,
  envoys: number,
  httpPort: number | undefined,
  stop: AbortSignal,
): Promise<void> {
  const url = `http://${toText({ host: options.configuration.host, port: httpPort ?? 0 })}/`;
  for (const endAt = Date.now() + trafficWaitMs; Date.now() < endAt && !stop.aborted; await delay(pollMs)) {
    const connected = (await listAll(access, "/v1/nodes")).filter((node) => node["connected"] === true).length;
    if (connected >= envoys && (httpPort === undefined || (await answers(url)))) return;
  }
  if (!stop.aborted)
    say(
      `\nThe Envoys have not served a request within ${trafficWaitMs / 1000} s. Their logs: ${join(options.dataDir, "edge-1", "envoy.log")}\n`,
    );
}

async function start(demo: Demo, stop: AbortSignal): Promise<void> {
  const { options, say, access, started } = demo;
  const { configuration } = options;
  await mkdir(options.dataDir, { recursive: true });
  for (const log of ["serve.log", "migrate.log"]) await rm(join(options.dataDir, log), { force: true });
  const databaseUrl = await startDatabase(demo);
  stop.throwIfAborted();
  const stopBackends = await startBackends(configuration.host, configuration.firstBackendPort);
  started.push({ what: "the backends", stop: stopBackends });
  const server = await startServer(demo, databaseUrl);
  stop.throwIfAborted();
  await writeConfiguration(access, configuration, (line) => say(`  ${line}`));
  const [httpPort, tcpPort] = [await listenerPort(access, "web"), await listenerPort(access, "tcp-in")];
  const fleet = await startFleet(demo);
  if (fleet.length > 0) await waitForTraffic(demo, fleet.length, httpPort, stop);
  stop.throwIfAborted();
  const envoys = fleet.map(({ name, envoy }) => ({ name, adminUrl: envoy.current().adminUrl }));
  const { host, firstBackendPort } = configuration;
  const { program, dataDir } = options;
  const where = { apiUrl: access.url, xdsAddress: toText(options.xds), host, httpPort, tcpPort, firstBackendPort };
  say(toGreeting({ ...where, envoys, controlPlanePid: server.current().pid, folder: dataDir, program }));
}

/** The last started goes first; one that will not end does not keep the others running. */
async function stopAll(started: Started, say: Say): Promise<void> {
  for (const { what, stop } of started.toReversed()) {
    try {
      await stop();
    } catch (error) {
      say(`  ${what} did not stop: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/**
 * Runs until `stop`, then ends everything that it started.
 * @throws CommandError when a port is taken; nothing was started then
 * @throws Error with the end of a log when a part can't be started; what was started before is stopped
 */
export async function runDemo(options: DemoOptions, say: Say, stop: AbortSignal): Promise<void> {
  const wanted = wantedPorts(options);
  const faults = await portFaults(wanted);
  if (faults.length > 0) {
    const again = faults.length === wanted.length ? "\nIs the demo running already? All of its ports are taken." : "";
    throw new CommandError(exitCodes.failed, `Nothing was started:\n${faults.map((fault) => `  ${fault}`).join("\n")}${again}`);
  }
  const keeper = startKeeper();
  const access = { url: `http://${toText(options.api)}`, author: "demo" };
  const demo: Demo = { options, say, keeper, started: [], access };
  try {
    await start(demo, stop);
    // A timer, because nothing else may be left that keeps this process alive once every child of it was given up.
    const alive = setInterval(() => undefined, 60_000);
    await aborted(stop);
    clearInterval(alive);
  } catch (error) {
    if (!stop.aborted) throw error;
  } finally {
    if (stop.aborted) say("\nStopping");
    await stopAll(demo.started, say);
    keeper.close();
  }
}
