// One gRPC call: bytes, limits and the end of it. Feeds a NodeStream once the state is fresh enough, and writes its frames.
// Called by server.ts for each stream that opens.
import { type ServerDuplexStream, status } from "@grpc/grpc-js";
import type { StreamKind } from "../model/node.js";
import type { ResourceType } from "../model/resource-type.js";
import type { GatewaySnapshot } from "../snapshot/gateway-snapshot.js";
import type { Snapshots } from "../snapshot/snapshots.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import { type LimitMet, type LimitName, limitMetBy, TokenBucket, type XdsLimits } from "./limits.js";
import { type FrameSink, NodeStream } from "./node-stream.js";
import { decodeNames, type Request, type RequestNode, readDeltaRequest, readSotwRequest } from "./request.js";
import { resetStream } from "./reset-stream.js";
import { emptyAnswer, type Frame } from "./response.js";
import type { NodeMemory } from "./sent.js";
import type { Traffic } from "./traffic.js";
import { typeOfUrl, typeUrls } from "./type-urls.js";

export type Call = ServerDuplexStream<Buffer, Buffer>;

/** Why a stream ended; the values of a metric's label. */
export type EndReason = "client" | "limit" | "stalled" | "age" | "shutdown" | "error" | "lag" | "rollout";

export interface CallContext {
  readonly snapshots: Snapshots;
  readonly limits: XdsLimits;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly traffic: Traffic;
  readonly now: () => number;
  nextOrdinal(): number;
  memoryOf(node: string): NodeMemory;
  opened(call: StreamCall): void;
  closed(call: StreamCall): void;
  /** `news`: bits of what is new (`NodeStream.takeNews`); never 0. */
  answered(stream: NodeStream, news: number): void;
}

/** What an Envoy logs when its stream ends by our wish. */
const endWords: Readonly<Partial<Record<EndReason, string>>> = {
  age: "opened long ago; open another, maybe on another replica",
  shutdown: "the replica is going away",
  rollout: "a rollout begins or ends for this Envoy: open another stream",
};

/** Written and not yet taken by the transport: beyond either, the peer reads too slowly and gets no more for now. */
const maxUnsentFrames = 16;
const maxUnsentBytes = 1 << 20;
/** Of an id that is too long, this much is logged. */
const maxIdLogged = 64;
/** Requests that wait for the state to be fresh enough; an Envoy sends a handful. */
const maxEarlyRequests = 64;

export class StreamCall implements FrameSink {
  #stream: NodeStream | undefined;
  #snapshot: GatewaySnapshot | undefined;
  #early: Request[] = [];
  #unsentFrames = 0;
  #unsentBytes = 0;
  /** When the oldest write that has not left was made. */
  #unsentSince = 0;
  #ended = false;
  /** Whether the stream was opened with all that the database had then. */
  #isFresh = false;
  #otherNonces = 0;
  #elsewhereSince: number | undefined;
  /** Limits that the log was told of. */
  readonly #told = new Set<LimitName>();
  readonly #bucket: TokenBucket;
  readonly #delta: boolean;
  /** Set while a publication waits to be sent to this stream. */
  isDirty = false;
  /** When the stream wants to be pumped, ms. */
  wakeAt = Number.POSITIVE_INFINITY;
  readonly openedAt: number;

  constructor(
    private readonly call: Call,
    readonly kind: StreamKind,
    /** The only type of a stream on a separate service. */
    private readonly onlyType: ResourceType | undefined,
    private readonly context: CallContext,
  ) {
    this.openedAt = context.now();
    this.#delta = kind === "ads-delta" || kind === "delta";
    this.#bucket = new TokenBucket(context.limits.requestsPerSecond, context.limits.requestBurst);
    call.on("data", (bytes: Buffer) => this.#guard(() => this.#onData(bytes)));
    call.on("end", () => this.end("client"));
    call.on("cancelled", () => this.#forget("client"));
    call.on("error", () => this.#forget("client"));
    call.on("close", () => this.#forget("client"));
  }

  /** Undefined until the node has named itself and the state is fresh. */
  get stream(): NodeStream | undefined {
    return this.#stream;
  }
  get snapshot(): GatewaySnapshot | undefined {
    return this.#snapshot;
  }

  // ---- Reading -------------------------------------------------------------------------------------------------------

  #onData(bytes: Buffer): void {
    if (this.#ended) return;
    const { limits } = this.context;
    const waitMs = this.#bucket.spend(this.context.now());
    if (waitMs > 0) this.#readLater(waitMs);
    if (bytes.length > limits.maxRequestBytes)
      return this.#refuse({ limit: "xds_max_message_bytes", maximum: limits.maxRequestBytes, found: bytes.length });
    const request = this.#delta ? readDeltaRequest(bytes) : readSotwRequest(bytes);
    const met = limitMetBy(request, limits);
    if (met) return this.#refuse(met, request.node);
    // Opened with the database away, and only now it shows: it comes again, names all that it has, and waits.
    if (this.#stream && !this.#isFresh && this.#isAhead(request))
      return this.giveUp("this replica can't ask its database, and the Envoy has a newer revision");
    if (this.#stream) return this.#take(this.#stream, request);
    if (this.#early.length === 0) this.#start(request);
    this.#early.push(request);
    if (this.#early.length > maxEarlyRequests)
      this.#refuse({ limit: "xds_early_requests", maximum: maxEarlyRequests, found: this.#early.length });
  }

  /** Stops reading for a while: the peer's requests wait at the peer, as HTTP/2 lets no more through. */
  #readLater(waitMs: number): void {
    this.#meet("xds_requests_per_second", { perSecond: this.context.limits.requestsPerSecond });
    this.call.pause();
    setTimeout(() => this.call.resume(), waitMs).unref();
  }

  #start(first: Request): void {
    const { node } = first;
    if (!node || node.id === "" || node.gateway === "")
      return this.#end(
        "error",
        status.INVALID_ARGUMENT,
        "the first request must carry a node with an id and a cluster: the cluster names the gateway",
      );
    void this.#whenFresh().then(() =>
      this.#guard(() => {
        if (this.#ended) return;
        this.#open(node);
      }),
    );
  }

  /**
   * Never older after newer (DESIGN §8): what the database had when the stream opened, or what the Envoy has seen of this history. Any of
   * its first requests may tell: a route that changed alone is newer than every cluster.
   */
  async #whenFresh(): Promise<void> {
    while (!this.#ended) {
      this.#isFresh = await this.context.snapshots.whenFresh();
      if (this.#isFresh || !this.#early.some((request) => this.#isAhead(request))) return;
      await new Promise((resolve) => setTimeout(resolve, 250).unref());
    }
  }

  /** Whether the Envoy has seen a newer revision than ours. */
  #isAhead(request: Request): boolean {
    return NodeStream.revisionIn(request) > this.context.snapshots.revision;
  }

  #open(node: RequestNode): void {
    const { context } = this;
    const isAds = this.kind === "ads-delta" || this.kind === "ads-sotw";
    const transport = isAds ? (node.hasHop ? "ads-hop" : "ads") : this.kind;
    this.#snapshot = context.snapshots.acquire(node.gateway, transport, node.id);
    this.#stream = new NodeStream({
      node,
      kind: this.kind,
      snapshot: this.#snapshot,
      snapshots: context.snapshots,
      times: context.limits.times,
      sink: this,
      memory: context.memoryOf(node.id),
      openedAt: this.openedAt,
      ordinal: context.nextOrdinal(),
    });
    context.log.info(
      {
        node: node.id,
        gateway: node.gateway,
        kind: this.kind,
        envoyVersion: node.envoyVersion,
        nodeBytes: node.bytes,
        revision: context.snapshots.revision,
      },
      "stream opened",
    );
    if (!context.snapshots.isKnown(this.#snapshot.view))
      context.log.warn(
        { node: node.id, gateway: node.gateway },
        "no listener names this gateway: the Envoy gets an empty configuration",
      );
    context.opened(this);
    for (const request of this.#early.splice(0)) this.#take(this.#stream, request);
  }

  #take(stream: NodeStream, request: Request): void {
    const { context } = this;
    // On a separate service the type URL may be left out: the service says it (xDS protocol, "Basic protocol overview").
    const type = this.onlyType && request.typeUrl === "" ? this.onlyType : typeOfUrl(request.typeUrl);
    if (!type || (this.onlyType && type !== this.onlyType)) return this.#answerStranger(request);
    const traffic = context.traffic[type];
    traffic.requests();
    if (request.refusal !== undefined) {
      traffic.nacks();
      context.log.warn(
        { node: stream.node.id, type, nonce: request.nonce, detail: request.refusal },
        "an Envoy refused a response",
      );
    } else if (request.nonce !== "") traffic.acks();
    const now = context.now();
    stream.receive(type, request, now);
    this.#settle(stream, now);
    const { maxNames } = context.limits;
    const { size } = stream.types[type].subscription.names; // Of delta, it has grown by this request.
    if (size > maxNames) this.#refuse({ limit: "xds_max_names", maximum: maxNames, found: size });
  }

  /** Types that we don't serve are answered once, so that nothing in the Envoy waits for them. */
  #answerStranger(request: Request): void {
    if (request.nonce !== "" && request.names.count === 0) return;
    this.#otherNonces += 1;
    const bytes = emptyAnswer(request.typeUrl, this.#delta, decodeNames(request.names), `other.${this.#otherNonces}`);
    this.#writeBytes(bytes);
  }

  // ---- Writing -------------------------------------------------------------------------------------------------------

  isBlocked(): boolean {
    return this.#ended || this.#unsentFrames >= maxUnsentFrames || this.#unsentBytes >= maxUnsentBytes;
  }

  write(type: ResourceType, frame: Frame): void {
    if (this.#ended) return;
    const { log, traffic } = this.context;
    traffic[type].responses();
    traffic[type].bytes(frame.bytes.length);
    if (log.isLevelEnabled("debug")) this.#logResponse(type, frame);
    this.#writeBytes(frame.bytes);
  }

  #logResponse(type: ResourceType, { nonce, resources, removed }: Frame): void {
    const node = this.#stream?.node.id ?? "";
    const counts = { resources: resources.length, removed: removed.length };
    this.context.log.debug({ node, type, nonce, ...counts, url: typeUrls[type] }, "response");
  }

  #writeBytes(bytes: Buffer): void {
    if (this.#unsentFrames === 0) this.#unsentSince = this.context.now();
    this.#unsentFrames += 1;
    this.#unsentBytes += bytes.length;
    this.call.write(bytes, () => {
      const wasBlocked = this.isBlocked();
      this.#unsentFrames -= 1;
      this.#unsentBytes -= bytes.length;
      this.#unsentSince = this.context.now();
      if (wasBlocked && !this.#ended) this.pump();
    });
  }

  pump(): void {
    const stream = this.#stream;
    if (!stream || this.#ended) return;
    this.#guard(() => {
      const now = this.context.now();
      stream.pump(now);
      this.#settle(stream, now);
    });
  }

  /** After anything that happened to the stream. A push by itself brings no answer, and mostly nothing that status/ need know. */
  #settle(stream: NodeStream, now: number): void {
    this.wakeAt = stream.wakeAt(now);
    const news = stream.takeNews();
    if (news !== 0) this.context.answered(stream, news);
  }

  /** Cuts a peer that reads nothing: buffers behind it grow without bound (137 MB in 12 s, measured). */
  cutIfStalled(now: number): void {
    const { writeStallMs } = this.context.limits;
    if (this.#ended || this.#unsentFrames === 0 || now - this.#unsentSince <= writeStallMs) return;
    this.#meet("xds_write_stall_ms", { unsentFrames: this.#unsentFrames, unsentBytes: this.#unsentBytes });
    this.#end("stalled", status.RESOURCE_EXHAUSTED, "the stream is not being read");
    this.#reset();
  }

  /** Since when, and whether, a rollout wants the Envoy to have another snapshot; `leaves`: it is in one that is over. */
  get elsewhere(): { readonly since: number; readonly leaves: boolean } | undefined {
    if (this.#ended || this.#elsewhereSince === undefined) return undefined;
    return { since: this.#elsewhereSince, leaves: this.#snapshot?.rollout !== undefined };
  }

  /** To be called when rollouts have begun, moved or ended. */
  noteElsewhere(now: number): void {
    const [stream, snapshot] = [this.#stream, this.#snapshot];
    if (!stream || !snapshot) return;
    const isElsewhere = this.context.snapshots.isElsewhere(snapshot, stream.node.id);
    this.#elsewhereSince = isElsewhere ? (this.#elsewhereSince ?? now) : undefined;
  }

  // ---- The end -------------------------------------------------------------------------------------------------------

  giveUp(reason: string): void {
    this.#end("lag", status.UNAVAILABLE, `the stream must be opened again: ${reason}`);
  }
  end(reason: EndReason): void {
    if (reason === "client") this.#end(reason, status.OK, "");
    else this.#end(reason, status.UNAVAILABLE, endWords[reason] ?? "the stream must be opened again");
  }

  #refuse({ limit, maximum, found }: LimitMet, node?: RequestNode): void {
    this.#meet(limit, { maximum, found, ...(node ? { node: node.id.slice(0, maxIdLogged), gateway: node.gateway } : {}) });
    this.#end("limit", status.RESOURCE_EXHAUSTED, `limit met: ${limit} is ${maximum}, and this is ${found}`);
  }

  /** Counted each time, told once per stream. */
  #meet(limit: LimitName, facts: object): void {
    this.context.metrics.count("limit_hits_total", { limit });
    if (this.#told.has(limit)) return;
    this.#told.add(limit);
    const node = this.#stream?.node.id ?? "";
    this.context.log.warn({ node, peer: this.call.getPeer(), kind: this.kind, limit, ...facts }, "an Envoy met a limit");
  }

  #end(reason: EndReason, code: number, details: string): void {
    if (this.#ended) return;
    this.#forget(reason);
    if (code === status.OK) this.call.end();
    else this.call.emit("error", { code, details });
    // The status waits behind what has not left yet; a peer that does not read would keep both for ever.
    if (this.#unsentFrames > 0) setTimeout(() => this.#reset(), this.context.limits.writeStallMs).unref();
  }

  #reset(): void {
    if (!resetStream(this.call)) this.context.log.error({ kind: this.kind }, "a stream could not be reset");
    this.call.destroy();
  }

  #forget(reason: EndReason): void {
    if (this.#ended) return;
    this.#ended = true;
    this.wakeAt = Number.POSITIVE_INFINITY;
    this.#stream?.remember();
    if (this.#snapshot) this.context.snapshots.release(this.#snapshot);
    this.context.metrics.count("xds_streams_ended_total", { kind: this.kind, reason: reason === "lag" ? "error" : reason });
    if (this.#stream) this.context.log.info({ node: this.#stream.node.id, kind: this.kind, reason }, "stream ended");
    this.context.closed(this);
  }

  /** A fault on one stream ends that stream and no other. */
  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      const isTheirs = error instanceof RangeError;
      const node = this.#stream?.node.id ?? "";
      if (isTheirs)
        this.context.log.warn({ node, peer: this.call.getPeer(), reason: error.message }, "a request could not be read");
      else this.context.log.error({ node, err: error }, "a stream failed");
      this.#end(
        "error",
        isTheirs ? status.INVALID_ARGUMENT : status.INTERNAL,
        isTheirs ? "a request could not be read" : "internal error",
      );
    }
  }
}
