// One Envoy's stream: its types in the order of make before break, what its clusters are ready for, and what it tells of itself.
// A state machine without I/O and without a clock: requests, publications and times go in, frames go to a sink.
// In: requests from stream-call.ts, publications from push-loop.ts. Out: frames, and the NodeReport that status/ reads.
import type { NodeIdentity, ResourceException, StreamKind } from "../model/node.js";
import { type ResourceType, resourceTypes } from "../model/resource-type.js";
import type { Revision } from "../model/revision.js";
import type { GatewaySnapshot } from "../snapshot/gateway-snapshot.js";
import { hashOfVersion, innerOf, type Resource, revisionOfVersion } from "../snapshot/resource.js";
import type { Snapshots } from "../snapshot/snapshots.js";
import type { NodeReport } from "../status/node-report.js";
import { Attention } from "./attention.js";
import { pushOrder } from "./push-order.js";
import { ClusterReadiness } from "./readiness.js";
import type { Request } from "./request.js";
import type { Frame } from "./response.js";
import type { Exception, NodeMemory, Refusal, Sent } from "./sent.js";
import { StreamNews } from "./stream-news.js";
import type { PushTimes, StreamView } from "./stream-view.js";
import { TypeStream } from "./type-stream.js";

/** Where frames go. */
export interface FrameSink {
  /** True while what was written has not left: then nothing more is written until the next pump. */
  isBlocked(): boolean;
  write(type: ResourceType, frame: Frame): void;
  /** Ends the stream, so that the Envoy opens another. */
  giveUp(reason: string): void;
}

export interface NodeStreamOptions {
  readonly node: NodeIdentity;
  readonly kind: StreamKind;
  readonly snapshot: GatewaySnapshot;
  readonly snapshots: Snapshots;
  readonly times: PushTimes;
  readonly sink: FrameSink;
  readonly memory: NodeMemory;
  readonly openedAt: number;
  readonly ordinal: number;
}

/** How long the slowest cluster of a frame may warm, ms; a frame that many streams share is looked through once. */
const warmMsByFrame = new WeakMap<Frame, number>();

export class NodeStream implements StreamView, NodeReport {
  readonly node: NodeIdentity;
  readonly kind: StreamKind;
  readonly openedAt: number;
  readonly ordinal: number;
  readonly delta: boolean;
  readonly snapshots: Snapshots;
  readonly times: PushTimes;
  readonly types: Readonly<Record<ResourceType, TypeStream>>;
  /** Only ADS orders types; on the separate services each stream knows its own type alone (DESIGN §8). */
  readonly #isOrdered: boolean;
  readonly #readiness: ClusterReadiness;
  readonly #news: StreamNews;
  readonly #attention: Attention;
  #now = 0;
  /** Since when it asks for other types but not for clusters. */
  #clusterlessSince: number | undefined;
  /** It said that it has something: it was here before, or on another replica. */
  #isResumed = false;
  /** Clusters that went out before the Envoy asked for any endpoints, on a reconnect. */
  readonly #forcedEarly = new Set<string>();

  constructor(private readonly options: NodeStreamOptions) {
    const { tables } = options.snapshot;
    [this.node, this.kind, this.openedAt, this.ordinal] = [options.node, options.kind, options.openedAt, options.ordinal];
    [this.snapshots, this.times] = [options.snapshots, options.times];
    this.delta = options.kind === "ads-delta" || options.kind === "delta";
    this.#isOrdered = options.kind === "ads-delta" || options.kind === "ads-sotw";
    this.types = {
      cluster: new TypeStream("cluster", tables.cluster, this),
      endpoint: new TypeStream("endpoint", tables.endpoint, this),
      listener: new TypeStream("listener", tables.listener, this),
      route: new TypeStream("route", tables.route, this),
    };
    this.#attention = new Attention(tables);
    this.#news = new StreamNews(this.types);
    this.#readiness = new ClusterReadiness(
      this.types.cluster,
      this.types.endpoint,
      [this.types.listener, this.types.route],
      this.times,
    );
  }

  get snapshot(): GatewaySnapshot {
    return this.options.snapshot;
  }

  get view(): string {
    return this.options.snapshot.view;
  }

  // ---- Events --------------------------------------------------------------------------------------------------------

  receive(type: ResourceType, request: Request, now: number): void {
    this.#now = now;
    const stream = this.types[type];
    const isFirst = !stream.subscription.isAsked;
    if (isFirst && (request.initialVersions.size > 0 || request.version !== "")) this.#isResumed = true;
    this.#attention.wake(type);
    stream.receive(request, now);
    if (isFirst) this.#recallRefusals(type, request, now);
    if (isFirst && type === "endpoint") this.#onEndpointsAsked(request);
    if (this.types.cluster.subscription.isAsked) this.#clusterlessSince = undefined;
    else if (this.#isOrdered) this.#clusterlessSince ??= now;
    this.pump(now);
  }

  /** Sends what is due. Called after requests, publications, drained writes, and at `wakeAt`. */
  pump(now: number): void {
    this.#now = now;
    if (this.#clusterlessSince !== undefined) this.#askUnasked(now);
    if (this.#attention.needs("cluster")) this.#watchClusters(now);
    for (const type of pushOrder) {
      if (!this.#attention.needs(type)) continue;
      if (this.options.sink.isBlocked()) return this.#attention.breakOff();
      const stream = this.types[type];
      stream.pump(now);
      this.#attention.looked(type, stream.isAtRest);
    }
    this.#attention.finish(this.snapshot.seq);
  }

  /** When to pump again although nothing came, ms; Infinity: never. Not before `now` + 1. */
  wakeAt(now: number): number {
    let at = Number.POSITIVE_INFINITY;
    if (this.#clusterlessSince !== undefined) at = this.#clusterlessSince + this.times.clusterlessMs;
    for (const type of pushOrder) if (this.#attention.needs(type)) at = Math.min(at, this.types[type].wakeAt());
    if (this.#attention.needs("cluster")) at = Math.min(at, this.#watchAt(now));
    return Math.max(Math.min(at, this.#readiness.feedingUntil(now) ?? at), now + 1);
  }

  /** When to look after clusters that are not confirmed. */
  #watchAt(now: number): number {
    const { cluster } = this.types;
    let at = this.#readiness.nextWarmAt(now);
    if (cluster.isStrange) at = Math.min(at, this.openedAt + this.times.clusterlessMs);
    for (const sent of cluster.pending()) at = Math.min(at, this.#nextLookAt(sent));
    return at;
  }

  /** The newest revision that a first request names; an Envoy that knows more than we do must wait for us. */
  static revisionIn(request: Request): Revision {
    let newest = revisionOfVersion(request.version);
    for (const version of request.initialVersions.values()) newest = Math.max(newest, revisionOfVersion(version));
    return newest;
  }

  #onEndpointsAsked(request: Request): void {
    const { cluster, endpoint } = this.types;
    // One that has none yet is owed them all anyway.
    if (request.initialVersions.size > 0 || request.version !== "") endpoint.force(this.#forcedEarly);
    this.#forcedEarly.clear();
    // State of the world: what the list lacks is gone at once, so what the Envoy still has stays in it for a grace.
    if (!cluster.isStrange) return;
    this.#attention.wake("cluster");
    cluster.refusals.recallSeen(endpoint.subscription.names);
    this.snapshots.adopt(this.snapshot, [...endpoint.subscription.names]);
  }

  /** What the node refused on an earlier stream does not go out again, unless it says that it has it. */
  #recallRefusals(type: ResourceType, request: Request | undefined, now: number): void {
    for (const [key, refusal] of this.options.memory.refusals) {
      const name = key.slice(type.length + 1);
      const current = key.startsWith(`${type}/`) ? this.types[type].table.get(name) : undefined;
      if (current?.hash !== refusal.hash || hashOfVersion(request?.initialVersions.get(name) ?? "") === refusal.hash) continue;
      this.types[type].refusals.recall(name, refusal, now);
    }
  }

  #askUnasked(now: number): void {
    if (this.#clusterlessSince === undefined || now - this.#clusterlessSince < this.times.clusterlessMs) return;
    const isClusterless = this.#isClusterless();
    this.#clusterlessSince = undefined;
    if (!isClusterless) return;
    const { endpoint, cluster } = this.types;
    this.#attention.wake("cluster");
    this.#attention.wake("endpoint");
    // State of the world: what the list lacks is gone at once.
    if (!this.delta) this.snapshots.adopt(this.snapshot, [...endpoint.subscription.names]);
    cluster.assumeAsked(endpoint.subscription.names, now);
    this.#recallRefusals("cluster", undefined, now);
    if (this.delta) cluster.refusals.takeOut(now);
    endpoint.force(endpoint.subscription.names);
  }

  /** Asks for all listeners or for endpoints, but not for clusters: so far. */
  #isClusterless(): boolean {
    const { listener, endpoint } = this.types;
    return this.#clusterlessSince !== undefined && (listener.subscription.isWildcard || endpoint.subscription.isAsked);
  }

  /** The stream ends: what the Envoy has in place of the table's routes is kept for its next stream. */
  remember(): void {
    const { variants } = this.options.memory;
    for (const name of this.types.route.table.names()) {
      const { has, badForms } = this.types.route.exceptions.get(name) ?? {};
      if (has && has !== "unknown") variants.set(name, { has, badForms });
      else variants.delete(name);
    }
  }

  // ---- Clusters that Envoy keeps silent about --------------------------------------------------------------------------

  /**
   * A cluster that fails when it is made keeps the answer to its response back, for as long as it is there (envoy.md §6.2). It shows in that
   * Envoy never asks for its endpoints. First look: it asked for those of others that came with it. Second: time enough has passed for any
   * first round of checks, so it is not just warming. Third: nothing to be seen, so what was changed goes back.
   */
  #watchClusters(now: number): void {
    for (const sent of [...this.types.cluster.pending()]) {
      if (now < this.#nextLookAt(sent)) continue;
      this.#attention.wake("cluster");
      sent.looks += 1;
      const { endpoint, cluster } = this.types;
      const unseen =
        !this.#isOrdered || !endpoint.subscription.isAsked
          ? []
          : [...sent.added].filter((name) => !this.isSeen(name) && this.#isOpen(name));
      const isSeen = unseen.length < sent.added.size;
      if (unseen.length > 0 && (isSeen || sent.looks === 2)) cluster.refusals.refuseUnseen(sent, unseen, now);
      else if (sent.looks >= 2) {
        sent.looks = 3;
        cluster.refusals.putBack(sent, now);
      }
    }
  }

  /** Not judged yet, nor taken away. */
  #isOpen(cluster: string): boolean {
    const { exceptions, table, sent } = this.types.cluster;
    const state = exceptions.get(cluster)?.state;
    return state === undefined ? table.at(cluster, sent) !== undefined : state === "trying";
  }

  #nextLookAt(sent: Sent): number {
    if (sent.kind === "repair") return Number.POSITIVE_INFINITY;
    if (sent.looks === 0) return sent.at + this.times.unseenClusterMs;
    if (sent.looks > 2) return Number.POSITIVE_INFINITY;
    const slowest = Math.max(this.times.inFlightOverrideMs, this.#warmMs(sent) + this.times.unseenClusterMs);
    return sent.at + slowest * sent.looks;
  }

  /** How long the slowest of its clusters may warm, ms. */
  #warmMs(sent: Sent): number {
    const known = warmMsByFrame.get(sent.frame);
    if (known !== undefined) return known;
    const warmMs = sent.frame.resources.reduce(
      (longest, { name }) => Math.max(longest, this.snapshots.readyDelayMs(this.snapshot, name)),
      0,
    );
    warmMsByFrame.set(sent.frame, warmMs);
    return warmMs;
  }

  // ---- StreamView ------------------------------------------------------------------------------------------------------

  unready(clusters: readonly string[]): readonly string[] {
    return this.isAllReady() ? [] : clusters.filter((name) => !this.#readiness.isReady(name, this.#now));
  }
  isRefused(cluster: string): boolean {
    return [cluster, innerOf(cluster)].some((name) => {
      const exception = this.types.cluster.exceptions.get(name);
      return exception?.state === "refused" && exception.has === undefined;
    });
  }
  removableAt(cluster: string, now: number): number {
    return this.#isOrdered ? this.#readiness.removableAt(cluster, now) : now;
  }
  isAllReady(): boolean {
    if (!this.#isOrdered) return true;
    if (this.#readiness.feedingUntil(this.#now) !== undefined) return false;
    if (!this.#attention.needs("cluster")) return true;
    // One that asks for no clusters has its own, or is stuck: then nothing is ready until that is known (#askUnasked).
    return this.types.cluster.subscription.isAsked ? this.#readiness.isAllReady() : !this.#isClusterless();
  }
  isSettled(now: number): boolean {
    return !this.#isOrdered || this.#readiness.isSettled(now);
  }
  write(type: ResourceType, { frame, changed, reshaped }: Sent): void {
    if (type === "cluster") {
      this.#readiness.removed(frame.removed);
      this.#followWithEndpoints(changed);
      this.#followWithEndpoints(reshaped);
    }
    this.options.sink.write(type, frame);
  }
  /** Endpoints that ran ahead, while their cluster waited, do not come again by themselves; the cluster would warm for ever. */
  #followWithEndpoints(clusters: ReadonlySet<string>): void {
    if (clusters.size === 0) return;
    const { endpoint } = this.types;
    if (!endpoint.subscription.isAsked && !this.#isResumed) return;
    const ahead = [...clusters].filter((name) => endpoint.table.seqOf(name) <= endpoint.sent || !endpoint.subscription.isAsked);
    if (ahead.length > 0) this.forceEndpoints(ahead);
  }
  forceEndpoints(clusters: readonly string[]): void {
    if (this.types.endpoint.subscription.isAsked) {
      this.#attention.wake("endpoint");
      return this.types.endpoint.force(clusters);
    }
    for (const name of clusters) this.#forcedEarly.add(name);
  }
  isSeen(cluster: string): boolean {
    return this.#isOrdered && this.types.endpoint.subscription.includes(cluster);
  }
  knowsClusters(now: number): boolean {
    return !this.#isOrdered || this.types.endpoint.subscription.isAsked || now - this.openedAt >= this.times.clusterlessMs;
  }
  giveUp(reason: string): void {
    this.options.sink.giveUp(reason);
  }
  earlierRefusal(type: ResourceType, name: string): Refusal | undefined {
    return this.options.memory.refusals.get(`${type}/${name}`);
  }
  pastForm(type: ResourceType, name: string, hash: string): Resource | undefined {
    const current = type === "route" ? this.types.route.table.get(name) : undefined;
    return current && this.snapshots.pastRouteForm(current, hash);
  }
  rememberedVariant(name: string): ReturnType<NodeMemory["variants"]["get"]> {
    return this.options.memory.variants.get(name);
  }
  onRefused(type: ResourceType, name: string, refusal: Refusal): void {
    if (refusal.hash === "") return; // A route of a RouteConfiguration: remembered with the variant.
    this.options.memory.refusals.set(`${type}/${name}`, refusal);
  }
  onAccepted(type: ResourceType, sent: Sent, now: number): void {
    const { refusals } = this.options.memory;
    if (refusals.size > 0)
      for (const { name, hash } of sent.frame.resources)
        if (refusals.get(`${type}/${name}`)?.hash === hash) refusals.delete(`${type}/${name}`);
    if (type === "endpoint") {
      if (!this.types.cluster.inFlight.hasUnconfirmed) return; // Only of such clusters does an ack of endpoints say anything.
      const names = sent.frame.resources.map(({ name }) => name);
      // Refused endpoints that are taken away end the warming too; told by no other answer when the cluster's own was refused.
      if (sent.kind === "repair") names.push(...sent.frame.removed);
      this.types.cluster.endpointsAcked(names);
      this.#readiness.endpointsAcked(names, (name) => this.snapshots.readyDelayMs(this.snapshot, name), now);
    } else if (type === "cluster") this.#readiness.clustersAcked(sent.added, now);
    else this.#readiness.namingAcked(type, this.types[type].acked, now);
  }

  /** What status/ should read again, as bits (`StreamNews`); 0: nothing. To be called after each event. */
  takeNews(): number {
    return this.#news.take(this.#attention.takeTouched());
  }

  // ---- NodeReport --------------------------------------------------------------------------------------------------------

  subscribes(type: ResourceType): boolean {
    return this.types[type].subscription.isAsked;
  }
  ackedRevision(type: ResourceType): Revision {
    return this.types[type].table.revisionAt(this.types[type].acked, this.snapshot.revision);
  }
  isUnsettled(type: ResourceType): boolean {
    const stream = this.types[type];
    return stream.isStrange || stream.sent < stream.table.seq || stream.exceptions.size > 0 || stream.pending().length > 0;
  }
  *exceptions(): Iterable<ResourceException> {
    for (const type of resourceTypes) {
      const { table } = this.types[type];
      for (const [name, exception] of this.types[type].exceptions) {
        if (exception.state !== "removing")
          yield* toResourceExceptions(type, name, exception, table.get(name)?.revision ?? table.revision);
      }
    }
  }
}

/** One exception may be two to those who ask: some routes of a RouteConfiguration are refused, others wait. */
function toResourceExceptions(type: ResourceType, name: string, exception: Exception, newest: Revision): ResourceException[] {
  const { state, refusal, badForms, keptBack, at } = exception;
  const common = { type, name, at };
  const told: ResourceException[] = [];
  for (const [route, { revision, detail }] of badForms ?? []) {
    told.push({ ...common, kind: "refused", parts: [route], revision, detail });
  }
  if ((state === "refused" && told.length === 0) || state === "unanswered") {
    const { revision = newest, detail = "" } = refusal ?? {};
    told.push({ ...common, kind: state, parts: undefined, revision, detail });
  }
  const waiting = keptBack?.filter((route) => !badForms?.has(route));
  const held = { ...common, kind: "held", revision: newest } as const;
  if (state === "held") told.push({ ...held, parts: waiting, detail: "waits until the Envoy has the clusters that it names" });
  if (state === "queued" || state === "trying" || state === "stale") {
    told.push({ ...held, parts: undefined, detail: "is being sent apart, after a refusal of several together" });
  }
  return told;
}
