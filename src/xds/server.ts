// The gRPC server of the control plane: services, limits, and the streams that are open.
// In: connections of Envoys. Out: StreamCall for each, fed by PushLoop. Called by app.ts, after the first load (load, then listen).
import { setTimeout as pause } from "node:timers/promises";
import type { StreamKind } from "../model/node.js";
import { type ResourceType, resourceTypes } from "../model/resource-type.js";
import { gatewayOfView } from "../model/rollout.js";
import type { Snapshots } from "../snapshot/snapshots.js";
import type { Fleet } from "../status/fleet.js";
import type { Loads } from "../status/loads.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import { Admission } from "./admission.js";
import { Balance } from "./balance.js";
import { Door } from "./door.js";
import type { CallReader, GrpcCall } from "./grpc-call.js";
import { GrpcServer, type Service } from "./grpc-server.js";
import { status } from "./grpc-status.js";
import type { LimitName, XdsLimits } from "./limits.js";
import { PushLoop } from "./push-loop.js";
import { type Pace, ReportStreams } from "./report-services.js";
import type { NodeMemory } from "./sent.js";
import { adsPaths, loadReportPath, metricsPath, typePaths } from "./services.js";
import { type CallContext, StreamCall } from "./stream-call.js";
import { countTraffic } from "./traffic.js";

export interface XdsServerOptions {
  readonly snapshots: Snapshots;
  readonly fleet: Pick<Fleet, "opened" | "closed" | "answered" | "shares">;
  /** What load reports and metrics say. */
  readonly loads: Loads;
  readonly limits: XdsLimits;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly now?: () => number;
}

export interface XdsServer {
  /** Starts to listen; `port` 0 takes a free one. Resolves with the port. @throws when the address can't be bound. */
  listen(address: { readonly host: string; readonly port: number }): Promise<number>;
  /**
   * Lets no new stream in, ends those that are open one after the other within `spreadMs`, so that Envoys go to other replicas, and stops;
   * what is left after `graceMs` is cut.
   */
  close(graceMs: number, spreadMs: number): Promise<void>;
  /** Open discovery streams. */
  streamCount(): number;
  /** How often Envoys report their load: as often as any of those who say so needs it. */
  setReportPace(who: string, pace: Pace): void;
}

/** Nodes that are remembered over reconnects; the one heard of longest ago is forgotten beyond it. */
const maxRememberedNodes = 10_000;
/** Envoys that saw a rollout have the same as all others once it is over: their streams are ended one after the other, over this time at most. */
const leaveStepMs = 20;
const maxLeaveOverMs = 30_000;
/** A stream that is to be opened again is ended between two changes, or after this long. */
const moveIdleWaitMs = 2_000;
/** How often it is looked whether this replica has more than its share. */
const balanceMs = 1_000;
/** With as many streams on their first configuration as there may be, it is looked this often who has it. ms */
const settleLookMs = 25;
/** At an orderly stop, from one stream's end to the next, if there is time. */
const stopStepMs = 2;
const stopTickMs = 20;
/** A fleet that is turned away comes again and again: the log is told this often, the metric each time. */
const turnAwayLogMs = 10_000;

export function createXdsServer(options: XdsServerOptions): XdsServer {
  return new GrpcXdsServer(options);
}

class GrpcXdsServer implements XdsServer {
  readonly #server: GrpcServer;
  readonly #loop: PushLoop<StreamCall>;
  readonly #admission: Admission<StreamCall>;
  readonly #door: Door;
  readonly #balance: Balance;
  readonly #balanceTimer: NodeJS.Timeout;
  readonly #memories = new Map<string, NodeMemory>();
  readonly #context: CallContext;
  readonly #now: () => number;
  readonly #stopFollowing: () => void;
  readonly #stopMeasuring: () => void;
  readonly #open = new Set<StreamCall>();
  readonly #reports: ReportStreams;
  /** Who needs load reports at the pace of a drain. */
  readonly #inNeed = new Set<string>();
  readonly #counts = new Map<StreamKind, number>();
  #ordinal = 0;
  #isClosing = false;
  #settleLookedAt = Number.NEGATIVE_INFINITY;
  /** Time over which streams leave rollouts that have ended, ms. */
  #leaveOverMs = 0;
  /** When a stream was last turned away, and when the log was last told, ms. */
  #turnedAwayAt = Number.NEGATIVE_INFINITY;
  #turnedAwayToldAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly options: XdsServerOptions) {
    const { limits, metrics, fleet } = options;
    this.#now = options.now ?? Date.now;
    this.#reports = new ReportStreams({ loads: options.loads, limits, log: options.log, metrics, now: this.#now });
    this.#admission = new Admission(limits);
    this.#balance = new Balance({
      maxPerSecond: limits.balancePerSecond,
      shares: () => fleet.shares(),
      turnedAwayAt: () => this.#turnedAwayAt,
      log: options.log,
      now: this.#now,
    });
    this.#balanceTimer = setInterval(() => this.#letGo(), balanceMs).unref();
    this.#loop = new PushLoop(metrics, this.#now, (call, now) => this.#onLook(call, now));
    this.#stopMeasuring = metrics.beforeScrape(() => this.#measure());
    const stopFollowing = options.snapshots.onPublished((changed) => this.#loop.published(changed));
    const stopMoving = options.snapshots.onMoved(() => this.#onMoved());
    this.#stopFollowing = () => {
      stopFollowing();
      stopMoving();
    };
    this.#context = {
      snapshots: options.snapshots,
      limits,
      metrics,
      traffic: countTraffic(metrics),
      log: options.log,
      now: this.#now,
      nextOrdinal: () => ++this.#ordinal,
      memoryOf: (node) => this.#memoryOf(node),
      opened: (call) => {
        this.#loop.add(call);
        if (call.stream) fleet.opened(call.stream);
      },
      wakes: (at, now) => this.#loop.wake(at, now),
      answered: (stream, news) => fleet.answered(stream, news),
      closed: (call) => this.#onClosed(call),
    };
    this.#server = new GrpcServer({
      services: this.#services(),
      streamsPerConnection: limits.streamsPerConnection,
      maxMessageBytes: limits.maxRequestBytes,
      keepaliveMs: limits.keepaliveMs,
      keepaliveTimeoutMs: limits.keepaliveTimeoutMs,
      lingerMs: limits.writeStallMs,
      onStream: (peer) => this.#door.streamOpened(peer),
      log: options.log,
    });
    this.#door = new Door({ limits, admit: (socket) => this.#server.admit(socket), log: options.log, metrics, now: this.#now });
  }

  listen(address: { readonly host: string; readonly port: number }): Promise<number> {
    return this.#door.listen(address);
  }

  streamCount(): number {
    return this.#open.size;
  }

  setReportPace(who: string, pace: Pace): void {
    if (pace === "drain") this.#inNeed.add(who);
    else this.#inNeed.delete(who);
    this.#reports.setPace(this.#inNeed.size > 0 ? "drain" : "idle");
  }

  async close(graceMs: number, spreadMs: number): Promise<void> {
    this.#isClosing = true;
    clearInterval(this.#balanceTimer);
    this.#door.close();
    const isDown = this.#server.close(graceMs);
    this.#reports.close();
    await this.#endAll(spreadMs);
    this.#stopFollowing();
    this.#stopMeasuring();
    await isDown;
    this.#loop.close();
  }

  /** Until its turn comes, a stream is served as before. */
  async #endAll(spreadMs: number): Promise<void> {
    const calls = [...this.#open];
    const stepMs = Math.min(stopStepMs, spreadMs / Math.max(1, calls.length));
    const startedAt = performance.now();
    for (let ended = 0; ended < calls.length; ) {
      const due = stepMs === 0 ? calls.length : Math.floor((performance.now() - startedAt) / stepMs) + 1;
      for (const call of calls.slice(ended, due)) call.end("shutdown");
      ended = due;
      if (ended < calls.length) await pause(stopTickMs);
    }
  }

  #services(): ReadonlyMap<string, Service> {
    const services = new Map<string, Service>([
      [adsPaths.sotw, (call) => this.#accept(call, "ads-sotw", undefined)],
      [adsPaths.delta, (call) => this.#accept(call, "ads-delta", undefined)],
      [loadReportPath, (call) => this.#reports.serveLoadReports(call)],
      [metricsPath, (call) => this.#reports.serveMetrics(call)],
    ]);
    for (const type of resourceTypes) {
      services.set(typePaths[type].sotw, (call) => this.#accept(call, "sotw", type));
      services.set(typePaths[type].delta, (call) => this.#accept(call, "delta", type));
    }
    return services;
  }

  #accept(call: GrpcCall, kind: StreamKind, onlyType: ResourceType | undefined): CallReader | undefined {
    const now = this.#now();
    if (this.#isClosing) return void call.end(status.UNAVAILABLE, "the replica is going away");
    this.#settleFirst(now);
    const limit = this.#admission.turnsAway(now);
    if (limit) return void this.#turnAway(call, limit, now);
    this.options.metrics.count("xds_streams_total", { kind });
    const stream = new StreamCall(call, kind, onlyType, this.#context);
    this.#open.add(stream);
    this.#admission.opened(stream, now);
    this.#countOpen(kind, 1);
    return stream;
  }

  /** Who has its first configuration makes room; looked at only where there is none left. */
  #settleFirst(now: number): void {
    if (!this.#admission.isFull || now - this.#settleLookedAt < settleLookMs) return;
    this.#settleLookedAt = now;
    for (const stream of this.#admission.onFirst()) if (pumpable(stream)) this.#admission.settled(stream);
  }

  #turnAway(call: GrpcCall, limit: LimitName, now: number): void {
    const { limits, log, metrics } = this.options;
    metrics.count("limit_hits_total", { limit });
    const wasQuiet = now - this.#turnedAwayToldAt >= turnAwayLogMs;
    this.#turnedAwayAt = now;
    if (wasQuiet) {
      this.#turnedAwayToldAt = now;
      const { newStreamsPerSecond: perSecond, maxFirstPushes } = limits;
      log.warn({ limit, peer: call.peer, perSecond, maxFirstPushes }, "streams are turned away: too many at once");
    }
    const code = limit === "xds_max_first_pushes" ? status.UNAVAILABLE : status.RESOURCE_EXHAUSTED;
    const retryMs = Admission.retryMs();
    call.end(code, `limit met: ${limit}; try again in ${retryMs} ms`, retryMs);
  }

  #onClosed(call: StreamCall): void {
    if (this.#open.delete(call)) this.#countOpen(call.kind, -1);
    this.#admission.settled(call);
    this.#loop.remove(call);
    if (call.stream) this.options.fleet.closed(call.stream);
  }

  #measure(): void {
    const { loads, metrics } = this.options;
    const silent = loads.silent(this.#now());
    metrics.set("report_nodes", { state: "reporting" }, loads.size - silent);
    metrics.set("report_nodes", { state: "silent" }, silent);
  }

  #countOpen(kind: StreamKind, by: 1 | -1): void {
    const count = (this.#counts.get(kind) ?? 0) + by;
    this.#counts.set(kind, count);
    this.options.metrics.set("xds_streams_open", { kind }, count);
  }

  /** Rollouts or drains of Envoys have begun, moved or ended. Who is to see one has its stream ended at once; who comes back from a rollout is in no hurry. */
  #onMoved(): void {
    const now = this.#now();
    for (const call of this.#open) call.noteElsewhere(now);
    const leaving = [...this.#open].filter((call) => call.elsewhere?.leaves).length;
    this.#leaveOverMs = Math.min(maxLeaveOverMs, leaving * leaveStepMs);
    for (const call of [...this.#open]) this.#move(call, now);
    this.#loop.wake(now, now);
  }

  #move(call: StreamCall, now: number): void {
    const { elsewhere } = call;
    if (!elsewhere || !call.stream) return;
    const dueAt = elsewhere.since + (elsewhere.leaves ? spreadOf(call.stream.ordinal) * this.#leaveOverMs : 0);
    if (now >= dueAt && (pumpable(call) || now - dueAt >= moveIdleWaitMs)) call.end(call.isOfDrain ? "drain" : "rollout");
  }

  /** Whether it waits for a moment to move its Envoy. */
  #onLook(call: StreamCall, now: number): boolean {
    call.cutIfStalled(now);
    this.#move(call, now);
    this.#endOfAge(call, now);
    return call.elsewhere !== undefined;
  }

  #endOfAge(call: StreamCall, now: number): void {
    const { streamMaxAgeMs } = this.options.limits;
    if (streamMaxAgeMs === 0 || !call.stream || !isAds(call)) return;
    // Spread over 80–120 % of the age by the stream's number, so that a fleet that came together does not go together.
    const age = streamMaxAgeMs * (0.8 + spreadOf(call.stream.ordinal) * 0.4);
    if (now - call.openedAt > age && pumpable(call)) call.end("age");
  }

  /** Where this replica has more than its share of the Envoys, some idle ones are to open their stream anew; none that tries out a change. */
  #letGo(): void {
    let due = this.#balance.due();
    if (due === 0) return;
    for (const call of [...this.#open]) {
      if (!isAds(call) || !pumpable(call) || isInView(call)) continue;
      call.end("balance");
      due -= 1;
      if (due === 0) return;
    }
  }

  #memoryOf(node: string): NodeMemory {
    const known = this.#memories.get(node) ?? { refusals: new Map(), variants: new Map() };
    this.#memories.delete(node);
    this.#memories.set(node, known);
    for (const [oldest] of this.#memories) {
      if (this.#memories.size <= maxRememberedNodes) break;
      this.#memories.delete(oldest);
    }
    return known;
  }
}

/** It sees a rollout, or is drained: it would come back to the same, and a rollout's judge would see it go. */
function isInView({ snapshot }: StreamCall): boolean {
  return snapshot !== undefined && gatewayOfView(snapshot.view) !== snapshot.view;
}

/** 0–1, evenly spread over streams that were opened one after the other. */
function spreadOf(ordinal: number): number {
  return (ordinal * 0.618_034) % 1;
}

const isAds = ({ kind }: StreamCall): boolean => kind === "ads-delta" || kind === "ads-sotw";

/** Nothing is on its way to the Envoy: a change sent in the last moment would be lost for a reconnect. */
function pumpable(call: StreamCall): boolean {
  const types = call.stream?.types;
  return (
    types !== undefined &&
    resourceTypes
      .filter((type) => types[type].subscription.isAsked)
      .every((type) => types[type].pending().length === 0 && types[type].sent === types[type].table.seq)
  );
}
