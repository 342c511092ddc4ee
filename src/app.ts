// The composition root: builds the rooms, draws the arrows between them, and knows in which order they start and stop.
// In: Config. Out: a control plane that serves, and its end. Called by main.ts; nobody else may.
//   start: admin API (so that /healthz answers and /readyz says what it waits for) → first load → xDS → ready.
//   stop:  not ready → waits end → streams end one after the other (Envoys go to other replicas), and the API → status → feed → database.
import type { Readiness } from "./api/context.js";
import { startDrain } from "./api/drain-start.js";
import { type ApiServer, createApi } from "./api/server.js";
import { restore } from "./api/undo.js";
import type { Config } from "./config.js";
import { createJobs, type Jobs } from "./drain/create-jobs.js";
import { createDrainWatch, type WatchOfDrains } from "./drain/create-watch.js";
import type { DrainWatch } from "./drain/watch.js";
import { inverseOf } from "./model/revision.js";
import { objectsOfResource } from "./plan/object-resources.js";
import { Planner } from "./plan/plan.js";
import { Validator } from "./plan/validate.js";
import { RolloutDriver } from "./rollout/driver.js";
import { RolloutWatch, type TrafficOf } from "./rollout/watch.js";
import { createFollower, type Follower } from "./snapshot/follower.js";
import { StateKeeper } from "./snapshot/state-keeper.js";
import { Fleet } from "./status/fleet.js";
import { Loads } from "./status/loads.js";
import { RefusalWebhook } from "./status/refusal-webhook.js";
import { createStore, type Store, toRetentionRule } from "./store/store.js";
import { systemClock } from "./telemetry/clock.js";
import type { Logger } from "./telemetry/logger.js";
import { createMetrics, type Metrics } from "./telemetry/metrics.js";
import { watchProcess } from "./telemetry/process-metrics.js";
import { splitClusterName, splitRouteName } from "./translate/names.js";
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
  readonly keeper: StateKeeper | undefined;
  readonly fleet: Fleet;
  readonly xds: XdsServer;
  readonly api: ApiServer;
  readonly validator: Validator;
  readonly webhook: RefusalWebhook | undefined;
  readonly rollouts: RolloutDriver;
  readonly jobs: Jobs;
  readonly watch: DrainWatch;
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
    isDrained: (node) => snapshots.isDrained(node),
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

function createXds(config: Config, follower: Follower, fleet: Fleet, loads: Loads, log: Logger, metrics: Metrics): XdsServer {
  const { xds } = config;
  const limits = {
    maxConnections: xds.maxConnections,
    maxConnectionsPerAddress: xds.maxConnectionsPerAddress,
    prefaceTimeoutMs: xds.prefaceTimeoutMs,
    idleConnectionMs: xds.idleConnectionMs,
    maxFirstPushes: xds.maxFirstPushes,
    balancePerSecond: xds.balancePerSecond,
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
    maxReportNodes: xds.maxReportNodes,
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
  return createXdsServer({ snapshots: follower.snapshots, fleet, loads, limits, log: log.child({ room: "xds" }), metrics });
}

/** Promotion and retreat are writes like any other: through the rules of the API. */
function createRollouts(
  config: Config,
  store: Store,
  { snapshots }: Follower,
  fleet: Fleet,
  loads: Loads,
  log: Logger,
  metrics: Metrics,
): RolloutDriver {
  const trafficOf: TrafficOf = (node) => {
    const load = loads.of(node, systemClock.now());
    return load && { requests: load.answers, errors: load.errors };
  };
  const watch = new RolloutWatch({ replica: config.process.replicaId, store: store.rollouts, snapshots, fleet, trafficOf });
  return new RolloutDriver({
    store,
    fleet,
    watch,
    promote: async (tx, changes) => void (await restore(tx, changes.map(inverseOf), undefined)),
    putBack: async (tx, changes, revision) => void (await restore(tx, changes, revision)),
    log: log.child({ room: "rollout" }),
    metrics,
  });
}

function createDrains(
  config: Config,
  store: Store,
  { snapshots }: Follower,
  fleet: Fleet,
  loads: Loads,
  xds: XdsServer,
  log: Logger,
  metrics: Metrics,
): { readonly drains: WatchOfDrains; readonly jobs: Jobs } {
  const { replicaId: replica } = config.process;
  const shared = { replica, loads, clock: systemClock, log: log.child({ room: "drain" }) };
  const drains = createDrainWatch({
    ...shared,
    store: store.drains,
    work: store.work,
    nodes: () => fleet.ownNodes(),
    state: () => snapshots.state,
    splitClusterName,
    splitRouteName,
    setPace: (pace) => xds.setReportPace("drains", pace),
  });
  const jobs = createJobs({
    ...shared,
    store,
    resourceOf: (route) => splitClusterName({ protocol: "tcp", name: route }),
    setPace: (pace) => xds.setReportPace("rebalances", pace),
    startDrain: async (tx, { id, cluster, endpoint, by }) => {
      // Whether it is the last one, the guard of leases has looked at already; one that is disabled may be.
      await startDrain(tx, { id, body: { cluster, endpoints: [endpoint] }, by, mayTakeLast: false });
    },
    hintWatch: () => drains.watch.hint(),
    state: () => snapshots.state,
    fleet,
    metrics,
  });
  return { drains, jobs };
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
    this.rooms.watch.start();
    this.rooms.jobs.start();
    const xdsPort = await xds.listen(this.config.xds.address);
    this.rooms.rollouts.start();
    this.#serving = !this.#abort.signal.aborted;
    this.log.info(
      { ...this.config.xds.address, port: xdsPort, revision: follower.snapshots.revision },
      "ready: Envoys may connect",
    );
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
    const { api, fleet, follower, jobs, keeper, rollouts, store, validator, webhook, xds } = this.rooms;
    const { shutdownDelayMs, shutdownGraceMs, shutdownSpreadMs } = this.config.process;
    const wasServing = this.#serving;
    this.#serving = false;
    this.log.info({ streams: xds.streamCount() }, "stopping");
    if (wasServing && shutdownDelayMs > 0) await new Promise((resolve) => setTimeout(resolve, shutdownDelayMs));
    this.#abort.abort(new Error("the control plane is stopping"));
    fleet.endWaits();
    await jobs.stopLeases();
    await rollouts.close();
    // Both at once, each within the grace: requests that are being answered go on while the streams end one after the other.
    await Promise.all([xds.close(shutdownGraceMs, Math.min(shutdownSpreadMs, shutdownGraceMs / 2)), api.close()]);
    validator.close();
    await jobs.stop();
    await this.rooms.watch.close();
    await fleet.close();
    await webhook?.close();
    await follower.close();
    await keeper?.close();
    await store.close();
    this.stopWatching();
    this.log.info({}, "stopped");
  }
}

function openStore(config: Config, log: Logger, metrics: Metrics): Promise<Store> {
  const { url, mode, notify, apiPoolSize, feedPoolSize, connectTimeoutMs, queryTimeoutMs, connectionAgeMs } = config.database;
  return createStore({
    databaseUrl: url,
    notify,
    portable: mode === "portable",
    apiPoolSize,
    feedPoolSize,
    connectTimeoutMs,
    queryTimeoutMs,
    connectionAgeMs,
    retention: toRetentionRule(config.history),
    log: log.child({ room: "store" }),
    metrics,
  });
}

/** Where the state is kept without a folder of one's own: beside what `chancery up` keeps. */
const defaultStateFolder = ".data/state";

function createKeeper(config: Config, log: Logger, metrics: Metrics): StateKeeper | undefined {
  const folder = config.snapshot.stateFolder ?? defaultStateFolder;
  if (folder === "off") return undefined;
  return new StateKeeper({ folder, databaseUrl: config.database.url, log: log.child({ room: "snapshot" }), metrics });
}

/** Whether what is served comes from the database or, since it has not answered so far, from disk. */
function servingOf({ lastKnownGood }: Follower): Pick<Readiness, "serving" | "lastKnownGood"> {
  if (!lastKnownGood) return { serving: "live" };
  const { revision, writtenAt } = lastKnownGood;
  const ageMs = Math.max(0, systemClock.now() - writtenAt);
  return { serving: "last-known-good", lastKnownGood: { revision, ageMs, writtenAt: new Date(writtenAt).toISOString() } };
}

/** What the last change of history has cost, as this replica knows it. */
function historyOf({ otherHistory }: Follower): Pick<Readiness, "otherHistory"> {
  if (!otherHistory) return {};
  const { at, lost, from, to, isWhole } = otherHistory;
  const span = from === undefined || to === undefined ? {} : { from, to };
  return { otherHistory: { at: new Date(at).toISOString(), lostRevisions: lost, ...span, isWhole } };
}

/** Builds everything; nothing listens and nothing is asked of the database yet. */
export async function createApp(config: Config, log: Logger): Promise<App> {
  const metrics = createMetrics();
  const store = await openStore(config, log, metrics);
  let drains: WatchOfDrains | undefined;
  const keeper = createKeeper(config, log, metrics);
  const follower = createFollower({
    store,
    ...config.snapshot,
    onRevision: (committed) => drains?.onRevision(committed),
    readKept: keeper && (() => keeper.read()),
    log: log.child({ room: "snapshot" }),
    metrics,
  });
  keeper?.follow(follower.snapshots);
  const webhook = createWebhook(config, store, log, metrics);
  const fleet = createFleet(config, store, follower, webhook, log, metrics);
  const explains = (resource: string, at: number): boolean => drains?.explains(resource, at) ?? false;
  const loads = new Loads({ maxNodes: config.xds.maxReportNodes, intervalMs: 1_000, explains });
  const xds = createXds(config, follower, fleet, loads, log, metrics);
  const { drains: watched, jobs } = createDrains(config, store, follower, fleet, loads, xds, log, metrics);
  drains = watched;
  const { address: _, ...apiLimits } = config.api;
  const validator = createValidator(config, follower, log, metrics);
  const ready = () => ({
    ready: app.isServing() && store.schemaFault() === undefined,
    revision: follower.snapshots.revision,
    waitingFor: waitingFor(app, follower, store.schemaFault()),
    validation: validator.state,
    ...servingOf(follower),
    ...historyOf(follower),
    stateFile: keeper?.state ?? { state: "off" as const },
  });
  const api = await createApi({
    store,
    fleet,
    planner: new Planner({ snapshots: follower.snapshots, fleet, validator }),
    validator,
    onDrain: jobs.onDrain,
    onRebalance: jobs.onRebalance,
    tellHealth: watched.toldHealth,
    ready,
    metrics,
    log,
    limits: { ...apiLimits, closeTimeoutMs: config.process.shutdownGraceMs },
  });
  const rollouts = createRollouts(config, store, follower, fleet, loads, log, metrics);
  const { watch } = drains;
  const rooms = { store, follower, keeper, fleet, xds, api, validator, webhook, jobs, watch, rollouts };
  const app = new ControlPlane(config, log, rooms, watchProcess(metrics));
  return app;
}

/** What /readyz says that it waits for. A database that goes away later is no reason: Envoys are served from memory. */
function waitingFor(app: ControlPlane, follower: Follower, schemaFault: string | undefined): string[] {
  if (schemaFault !== undefined) return [schemaFault];
  if (app.isServing()) return [];
  if (follower.snapshots.state) return ["the xDS port, or the end of an orderly stop"];
  return [follower.isConnected() ? "the first load" : "the database"];
}
