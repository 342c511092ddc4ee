// One gRPC call: bytes, limits and the end of it. Feeds a NodeStream once the state is fresh enough, and writes its frames.
// Called by server.ts for each stream that opens.
import type { StreamKind } from "../model/node.js";
import { phaseOfVariant } from "../model/node-drain.js";
import type { ResourceType } from "../model/resource-type.js";
import type { GatewaySnapshot } from "../snapshot/gateway-snapshot.js";
import type { Snapshots } from "../snapshot/snapshots.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import type { CallReader, GrpcCall } from "./grpc-call.js";
import { type Status, status } from "./grpc-status.js";
import { type LimitMet, type LimitName, limitMetBy, TokenBucket, type XdsLimits } from "./limits.js";
import { type FrameSink, NodeStream } from "./node-stream.js";
import { decodeNames, type Request, type RequestNode, readDeltaRequest, readSotwRequest } from "./request.js";
import { emptyAnswer, type Frame } from "./response.js";
import type { NodeMemory } from "./sent.js";
import type { Traffic } from "./traffic.js";
import { typeOfUrl, typeUrls } from "./type-urls.js";

/** Why a stream ended; the values of a metric's label. */
export type EndReason = "client" | "limit" | "stalled" | "age" | "shutdown" | "error" | "lag" | "rollout" | "drain" | "balance";

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
  /** A stream wants to be pumped `at`, ms. */
  wakes(at: number, now: number): void;
  closed(call: StreamCall): void;
  /** `news`: bits of what is new (`NodeStream.takeNews`); never 0. */
  answered(stream: NodeStream, news: number): void;
}

/** What an Envoy logs when its stream ends by our wish. */
const endWords: Readonly<Partial<Record<EndReason, string>>> = {
  age: "opened long ago; open another, maybe on another replica",
  balance: "this replica has more than its share of the Envoys; open another stream, maybe on another",
  shutdown: "the replica is going away",
  rollout: "a rollout begins or ends for this Envoy: open another stream",
  drain: "this Envoy is drained, or no more: open another stream",
};

/**
 * Written and not yet taken by the transport: beyond any of these the peer reads too slowly, and gets no more until that has left, then what is
 * newest. So a peer that does not read holds what went out within `maxUnsentMs` and no later state, whether it answers or not.
 */
const maxUnsentFrames = 16;
const maxUnsentBytes = 1 << 20;
const maxUnsentMs = 250;
/** Of an id that is too long, this much is logged. */
const maxIdLogged = 64;
/** Requests that wait for the state to be fresh enough; an Envoy sends a handful. */
const maxEarlyRequests = 64;

export class StreamCall implements FrameSink, CallReader {
  #stream: NodeStream | undefined;
  #snapshot: GatewaySnapshot | undefined;
  #early: Request[] = [];
  /** Lengths of what was written and has not left, oldest first. */
  readonly #unsent: number[] = [];
  #unsentBytes = 0;
  /** When the oldest write that has not left was made. */
  #unsentSince = 0;
  /** Something was due and did not go out, as the stream was blocked. */
  #isHeldBack = false;
  #ended = false;
  /** Whether the stream was opened with all that the database had then. */
  #isFresh = false;
  #otherNonces = 0;
  #move: { readonly since: number; readonly leaves: boolean } | undefined;
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
    private readonly call: GrpcCall,
    readonly kind: StreamKind,
    /** The only type of a stream on a separate service. */
    private readonly onlyType: ResourceType | undefined,
    private readonly context: CallContext,
  ) {
    this.openedAt = context.now();
    this.#delta = kind === "ads-delta" || kind === "delta";
    this.#bucket = new TokenBucket(context.limits.requestsPerSecond, context.limits.requestBurst);
  }

  /** Undefined until the node has named itself and the state is fresh. */
  get stream(): NodeStream | undefined {
    return this.#stream;
  }
  get snapshot(): GatewaySnapshot | undefined {
    return this.#snapshot;
  }

  // ---- Reading -------------------------------------------------------------------------------------------------------

  onMessage(bytes: Buffer): void {
    if (this.#ended) return;
    try {
      this.#read(bytes);
    } catch (error) {
      this.#fail(error);
    }
  }
  onTooLong(bytes: number): void {
    this.#refuse({ limit: "xds_max_message_bytes", maximum: this.context.limits.maxRequestBytes, found: bytes });
  }
  onHalfClose(): void {
    this.end("client");
  }
  onClosed(): void {
    this.#forget("client");
  }

  #read(bytes: Buffer): void {
    const { limits } = this.context;
    const waitMs = this.#bucket.spend(this.context.now());
    if (waitMs > 0) this.#readLater(waitMs);
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
    void this.#whenFresh()
      .then(() => {
        if (!this.#ended) this.#open(node);
      })
      .catch((error: unknown) => this.#fail(error));
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
    const framed = emptyAnswer(request.typeUrl, this.#delta, decodeNames(request.names), `other.${this.#otherNonces}`);
    this.#writeFramed(framed);
  }

  // ---- Writing -------------------------------------------------------------------------------------------------------

  isBlocked(): boolean {
    this.#isHeldBack = this.#ended || this.#isUnsentTooMuch();
    return this.#isHeldBack;
  }

  #isUnsentTooMuch(): boolean {
    const { length } = this.#unsent;
    if (length === 0) return false;
    return (
      length >= maxUnsentFrames || this.#unsentBytes >= maxUnsentBytes || this.context.now() - this.#unsentSince >= maxUnsentMs
    );
  }

  write(type: ResourceType, frame: Frame): void {
    if (this.#ended) return;
    const { log, traffic } = this.context;
    traffic[type].responses();
    traffic[type].bytes(frame.framed.length);
    if (log.isLevelEnabled("debug")) this.#logResponse(type, frame);
    this.#writeFramed(frame.framed);
  }

  #logResponse(type: ResourceType, { nonce, resources, removed }: Frame): void {
    const node = this.#stream?.node.id ?? "";
    const counts = { resources: resources.length, removed: removed.length };
    this.context.log.debug({ node, type, nonce, ...counts, url: typeUrls[type] }, "response");
  }

  #writeFramed(framed: Buffer): void {
    if (this.#unsent.length === 0) this.#unsentSince = this.context.now();
    this.#unsent.push(framed.length);
    this.#unsentBytes += framed.length;
    this.call.write(framed, this.#onTaken);
  }

  /** Writes leave in their order. One function for all of them: it runs for every push. */
  readonly #onTaken = (error?: Error | null): void => {
    if (error || this.#ended) return;
    this.#unsentBytes -= this.#unsent.shift() ?? 0;
    if (this.#unsent.length > 0) this.#unsentSince = this.context.now();
    if (this.#isHeldBack && !this.#isUnsentTooMuch()) this.pump();
  };

  pump(): void {
    const stream = this.#stream;
    if (!stream || this.#ended) return;
    try {
      const now = this.context.now();
      stream.pump(now);
      this.#settle(stream, now);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** After anything that happened to the stream. A push by itself brings no answer, and mostly nothing that status/ need know. */
  #settle(stream: NodeStream, now: number): void {
    // One that does not read is pumped when what it has been sent leaves; to look at it before that finds nothing that may go.
    this.wakeAt = this.#isHeldBack ? Number.POSITIVE_INFINITY : stream.wakeAt(now);
    if (this.wakeAt !== Number.POSITIVE_INFINITY) this.context.wakes(this.wakeAt, now);
    const news = stream.takeNews();
    if (news !== 0) this.context.answered(stream, news);
  }

  /** Cuts a peer that reads nothing: buffers behind it grow without bound (137 MB in 12 s, measured). */
  cutIfStalled(now: number): void {
    const { writeStallMs } = this.context.limits;
    if (this.#ended || this.#unsent.length === 0 || now - this.#unsentSince <= writeStallMs) return;
    this.#meet("xds_write_stall_ms", { unsentFrames: this.#unsent.length, unsentBytes: this.#unsentBytes });
    this.#forget("stalled"); // A status would wait behind what is not read.
    this.call.reset();
  }

  /** Since when, and whether, the Envoy is to have another snapshot; `leaves`: it is in that of a rollout which is over, and in no hurry. */
  get elsewhere(): { readonly since: number; readonly leaves: boolean } | undefined {
    return this.#ended ? undefined : this.#move;
  }

  /** Whether it moves because of its drain, into it or out of it. */
  get isOfDrain(): boolean {
    const [stream, snapshot] = [this.#stream, this.#snapshot];
    if (!stream || !snapshot) return false;
    return phaseOfVariant(snapshot.variant) !== undefined || this.context.snapshots.isDrained(stream.node.id);
  }

  /** To be called when rollouts or drains of Envoys have begun, moved or ended. */
  noteElsewhere(now: number): void {
    const [stream, snapshot] = [this.#stream, this.#snapshot];
    if (!stream || !snapshot) return;
    const move = this.context.snapshots.moveOf(snapshot, stream.node.id);
    this.#move = move && { since: this.#move?.since ?? now, leaves: move === "leaves" };
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
    this.context.log.warn({ node, peer: this.call.peer, kind: this.kind, limit, ...facts }, "an Envoy met a limit");
  }

  #end(reason: EndReason, code: Status, details: string): void {
    if (this.#ended) return;
    this.#forget(reason);
    this.call.end(code, details);
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
  #fail(error: unknown): void {
    const node = this.#stream?.node.id ?? "";
    if (error instanceof RangeError) {
      this.context.log.warn({ node, peer: this.call.peer, reason: error.message }, "a request could not be read");
      return this.#end("error", status.INVALID_ARGUMENT, "a request could not be read");
    }
    this.context.log.error({ node, err: error }, "a stream failed");
    this.#end("error", status.INTERNAL, "internal error");
  }
}
