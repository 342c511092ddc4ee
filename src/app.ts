// The composition root: builds the rooms, draws the arrows between them, and knows in which order they start and stop.
// In: Config. Out: a control plane that serves, and its end. Called by main.ts; nobody else may.
//   start: admin API (so that /healthz answers and /readyz says what it waits for) → first load → xDS → ready.
//   stop:  not ready → waits end → streams end (Envoys go to other replicas) → API → status → feed → database.
import { type ApiServer, createApi } from "./api/server.js";
import type { Config } from "./config.js";
import { createFollower, type Follower } from "./snapshot/follower.js";
import { Fleet } from "./status/fleet.js";
import { createStore, type Store } from "./store/store.js";
import type { Logger } from "./telemetry/logger.js";
import { createMetrics, type Metrics } from "./telemetry/metrics.js";
import { watchProcess } from "./telemetry/process-metrics.js";
import { createXdsServer, type XdsServer } from "./xds/server.js";

/** A whole control plane, between start and stop. */
export interface App {
  /**
   * Resolves when it serves Envoys: the database has answered once. Until then it tries again and again.
   * @throws the socket's error when an address is taken; the reason of `close` when that came first
   */
  start(): Promise<{ readonly apiPort: number; readonly xdsPort: number }>;
  /** Orderly; every step has its bound. */
  close(): Promise<void>;
}

interface Rooms {
  readonly store: Store;
  readonly follower: Follower;
  readonly fleet: Fleet;
  readonly xds: XdsServer;
  readonly api: ApiServer;
}

function createFleet(config: Config, store: Store, follower: Follower, log: Logger, metrics: Metrics): Fleet {
  const { snapshots } = follower;
  const fleet = new Fleet({
    replica: config.process.replicaId,
    store: store.status,
    changedBy: (gateway, revision) => snapshots.changedBy(gateway, revision),
    gatewayKnown: (gateway) => snapshots.isKnown(gateway),
    authorOf: (revision) => store.read.revision(revision),
    onSyncHint: (callback) => store.onSyncHint(callback),
    log,
    metrics,
    ...config.status,
    maxWaits: config.api.maxWaits,
  });
  // Before the xds server follows the snapshots: what a revision owes is written down before any stream answers.
  snapshots.onPublished(() => fleet.published(snapshots.revision));
  return fleet;
}

function createXds(config: Config, follower: Follower, fleet: Fleet, log: Logger, metrics: Metrics): XdsServer {
  const { xds } = config;
  const limits = {
    streamsPerConnection: xds.maxStreamsPerConnection,
    requestsPerSecond: xds.requestsPerSecond,
    requestBurst: xds.requestBurst,
    maxRequestBytes: xds.maxMessageBytes,
    maxNames: xds.maxNames,
    maxNodeIdLength: xds.maxNodeIdLength,
    maxNodeMetadataBytes: xds.maxNodeMetadataBytes,
    newStreamsPerSecond: xds.newStreamsPerSecond,
    newStreamBurst: xds.newStreamBurst,
    writeStallMs: xds.writeStallMs,
    keepaliveMs: xds.keepaliveMs,
    keepaliveTimeoutMs: xds.keepaliveTimeoutMs,
    streamMaxAgeMs: xds.streamAgeMs,
    times: {
      inFlightOverrideMs: xds.inFlightOverrideMs,
      refusalRetryMs: xds.refusalRetryMinMs,
      maxRefusalRetryMs: xds.refusalRetryMaxMs,
      unseenClusterMs: xds.unseenClusterMs,
      clusterlessMs: xds.clusterlessMs,
      removalGraceMs: config.snapshot.removalGraceMs,
    },
  };
  return createXdsServer({ snapshots: follower.snapshots, fleet, limits, log: log.child({ room: "xds" }), metrics });
}

class ControlPlane implements App {
  readonly #abort = new AbortController();
  #serving = false;
  #closing: Promise<void> | undefined;

  constructor(
    private readonly config: Config,
    private readonly log: Logger,
    private readonly rooms: Rooms,
    private readonly stopWatching: () => void,
  ) {}

  async start(): Promise<{ apiPort: number; xdsPort: number }> {
    const { api, follower, xds } = this.rooms;
    const apiPort = await api.listen(this.config.api.address);
    this.log.info({ ...this.config.api.address, port: apiPort }, "admin API listens");
    await follower.start(this.#abort.signal);
    this.#abort.signal.throwIfAborted();
    const { host, port } = this.config.xds.address;
    const { port: xdsPort } = await xds.listen(host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`);
    this.#serving = !this.#abort.signal.aborted;
    this.log.info({ host, port: xdsPort, revision: follower.snapshots.revision }, "ready: Envoys may connect");
    return { apiPort, xdsPort };
  }

  isServing(): boolean {
    return this.#serving;
  }

  /** A second call waits for the first. */
  close(): Promise<void> {
    this.#closing ??= this.#stop();
    return this.#closing;
  }

  async #stop(): Promise<void> {
    const { api, fleet, follower, store, xds } = this.rooms;
    const { shutdownDelayMs, shutdownGraceMs } = this.config.process;
    const wasServing = this.#serving;
    this.#serving = false;
    this.log.info({ streams: xds.streamCount() }, "stopping");
    if (wasServing && shutdownDelayMs > 0) await new Promise((resolve) => setTimeout(resolve, shutdownDelayMs));
    this.#abort.abort(new Error("the control plane is stopping"));
    fleet.endWaits();
    await xds.close(shutdownGraceMs);
    await api.close();
    await fleet.close();
    await follower.close();
    await store.close();
    this.stopWatching();
    this.log.info({}, "stopped");
  }
}

/** Builds everything; nothing listens and nothing is asked of the database yet. */
export async function createApp(config: Config, log: Logger): Promise<App> {
  const metrics = createMetrics();
  const { url, notify, apiPoolSize, feedPoolSize, connectTimeoutMs, queryTimeoutMs } = config.database;
  const store = await createStore({
    databaseUrl: url,
    notify,
    apiPoolSize,
    feedPoolSize,
    connectTimeoutMs,
    queryTimeoutMs,
    log: log.child({ room: "store" }),
    metrics,
  });
  const follower = createFollower({ store, ...config.snapshot, log: log.child({ room: "snapshot" }), metrics });
  const fleet = createFleet(config, store, follower, log, metrics);
  const xds = createXds(config, follower, fleet, log, metrics);
  const { maxBodyBytes, maxEndpointsBodyBytes, maxConnections, maxWaits, requestTimeoutMs } = config.api;
  const ready = () => ({ ready: app.isServing(), revision: follower.snapshots.revision, waitingFor: waitingFor(app, follower) });
  const api = await createApi({
    store,
    fleet,
    ready,
    metrics,
    log,
    limits: { maxBodyBytes, maxEndpointsBodyBytes, maxConnections, maxWaits, requestTimeoutMs },
  });
  const app = new ControlPlane(config, log, { store, follower, fleet, xds, api }, watchProcess(metrics));
  return app;
}

/** What /readyz says that it waits for. A database that goes away later is no reason: Envoys are served from memory. */
function waitingFor(app: ControlPlane, follower: Follower): string[] {
  if (app.isServing()) return [];
  if (follower.snapshots.state) return ["the xDS port, or the end of an orderly stop"];
  return [follower.isConnected() ? "the first load" : "the database"];
}
