// The composition root: builds the rooms, draws the arrows between them, and knows in which order they start and stop.
// In: Config. Out: a control plane that serves, and its end. Called by main.ts; nobody else may.
//   start: admin API (so that /healthz answers and /readyz says what it waits for) → first load → xDS → ready.
//   stop:  not ready → waits end → streams end (Envoys go to other replicas) → API → status → feed → database.
import { type ApiServer, createApi } from "./api/server.js";
import type { Config } from "./config.js";
import { objectsOfResource } from "./plan/object-resources.js";
import { Planner } from "./plan/plan.js";
import { Validator } from "./plan/validate.js";
import { createFollower, type Follower } from "./snapshot/follower.js";
import { Fleet } from "./status/fleet.js";
import { RefusalWebhook } from "./status/refusal-webhook.js";
import { createStore, type Store, toRetentionRule } from "./store/store.js";
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
  readonly validator: Validator;
  readonly webhook: RefusalWebhook | undefined;
}

function createWebhook(config: Config, store: Store, log: Logger, metrics: Metrics): RefusalWebhook | undefined {
  const {
    webhookUrl: url,
    webhookSecret: secret,
    webhookAllowLinkLocal: allowLinkLocal,
    webhookQueue: maxQueue,
  } = config.refusals;
  if (url === undefined) return undefined;
  return new RefusalWebhook({
    url,
    secret,
    allowLinkLocal,
    maxQueue,
    replica: config.process.replicaId,
    authorOf: (revision) => store.read.revision(revision),
    objectsOf: ({ type, resource, parts }) => objectsOfResource(type, resource, parts),
    log: log.child({ room: "status" }),
    metrics,
  });
}

function createFleet(
  config: Config,
  store: Store,
  { snapshots }: Follower,
  webhook: RefusalWebhook | undefined,
  log: Logger,
  metrics: Metrics,
): Fleet {
  const fleet = new Fleet({
    replica: config.process.replicaId,
    store: store.status,
    changedBy: (gateway, revision) => snapshots.changedBy(gateway, revision),
    gatewayKnown: (gateway) => snapshots.isKnown(gateway),
    authorOf: (revision) => store.read.revision(revision),
    onSyncHint: (callback) => store.onSyncHint(callback),
    onRefusal: webhook && ((refusal) => webhook.tell(refusal)),
    log,
    metrics,
    ...config.status,
    maxWaits: config.api.maxWaits,
  });
  // Before the xds server follows the snapshots: what a revision owes is written down before any stream answers.
  snapshots.onPublished(() => fleet.published(snapshots.revision));
  return fleet;
}

function createValidator(config: Config, { snapshots }: Follower, log: Logger, metrics: Metrics): Validator {
  const { mode, envoyBinary, ...bounds } = config.validation;
  return new Validator({
    ...bounds,
    binary: mode === "off" ? undefined : envoyBinary,
    required: mode === "required",
    state: () => snapshots.state,
    whenFresh: () => snapshots.whenFresh(),
    log: log.child({ room: "plan" }),
    metrics,
  });
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
    const { api, follower, validator, xds } = this.rooms;
    const validating = validator.start();
    const apiPort = await api.listen(this.config.api.address);
    this.log.info({ ...this.config.api.address, port: apiPort }, "admin API listens");
    await follower.start(this.#abort.signal);
    await validating;
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
    const { api, fleet, follower, store, validator, webhook, xds } = this.rooms;
    const { shutdownDelayMs, shutdownGraceMs } = this.config.process;
    const wasServing = this.#serving;
    this.#serving = false;
    this.log.info({ streams: xds.streamCount() }, "stopping");
    if (wasServing && shutdownDelayMs > 0) await new Promise((resolve) => setTimeout(resolve, shutdownDelayMs));
    this.#abort.abort(new Error("the control plane is stopping"));
    fleet.endWaits();
    validator.close();
    await xds.close(shutdownGraceMs);
    await api.close();
    await fleet.close();
    await webhook?.close();
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
    retention: toRetentionRule(config.history),
    log: log.child({ room: "store" }),
    metrics,
  });
  const follower = createFollower({ store, ...config.snapshot, log: log.child({ room: "snapshot" }), metrics });
  const webhook = createWebhook(config, store, log, metrics);
  const fleet = createFleet(config, store, follower, webhook, log, metrics);
  const xds = createXds(config, follower, fleet, log, metrics);
  const { maxBodyBytes, maxEndpointsBodyBytes, maxConnections, maxWaits, maxFollowers, requestTimeoutMs } = config.api;
  const validator = createValidator(config, follower, log, metrics);
  const ready = () => ({
    ready: app.isServing(),
    revision: follower.snapshots.revision,
    waitingFor: waitingFor(app, follower),
    validation: validator.state,
  });
  const api = await createApi({
    store,
    fleet,
    planner: new Planner({ snapshots: follower.snapshots, fleet, validator }),
    validator,
    ready,
    metrics,
    log,
    limits: { maxBodyBytes, maxEndpointsBodyBytes, maxConnections, maxWaits, maxFollowers, requestTimeoutMs },
  });
  const app = new ControlPlane(config, log, { store, follower, fleet, xds, api, validator, webhook }, watchProcess(metrics));
  return app;
}

/** What /readyz says that it waits for. A database that goes away later is no reason: Envoys are served from memory. */
function waitingFor(app: ControlPlane, follower: Follower): string[] {
  if (app.isServing()) return [];
  if (follower.snapshots.state) return ["the xDS port, or the end of an orderly stop"];
  return [follower.isConnected() ? "the first load" : "the database"];
}
