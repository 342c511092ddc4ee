// One gRPC call: bytes, limits and the end of it. Feeds a NodeStream once the state is fresh enough, and writes its frames.
// Called by server.ts for each stream that opens.
import { type ServerDuplexStream, status } from "@grpc/grpc-js";
import type { StreamKind } from "../model/node.js";
import type { ResourceType } from "../model/resource-type.js";
import type { GatewaySnapshot } from "../snapshot/gateway-snapshot.js";
import type { Snapshots } from "../snapshot/snapshots.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import { TokenBucket, type XdsLimits } from "./limits.js";
import { type FrameSink, NodeStream, type RefusalMemory } from "./node-stream.js";
import { decodeNames, type Request, readDeltaRequest, readSotwRequest } from "./request.js";
import { emptyAnswer, type Frame } from "./response.js";
import { typeOfUrl, typeUrls } from "./type-urls.js";

export type Call = ServerDuplexStream<Buffer, Buffer>;

/** Why a stream ended; the values of a metric's label. */
export type EndReason = "client" | "limit" | "stalled" | "age" | "shutdown" | "error" | "lag";

export interface CallContext {
  readonly snapshots: Snapshots;
  readonly limits: XdsLimits;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly now: () => number;
  nextOrdinal(): number;
  refusalsOf(node: string): RefusalMemory;
  opened(call: StreamCall): void;
  closed(call: StreamCall): void;
  answered(call: StreamCall): void;
}

/** Written and not yet taken by the transport: beyond either, the peer reads too slowly and gets no more for now. */
const maxUnsentFrames = 16;
const maxUnsentBytes = 1 << 20;
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
  #otherNonces = 0;
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
    if (!this.#bucket.take(this.context.now())) this.#slowDown();
    const request = this.#delta ? readDeltaRequest(bytes) : readSotwRequest(bytes);
    if (
      request.names.count > limits.maxNames ||
      (this.#stream?.types[typeOfUrl(request.typeUrl) ?? "cluster"].subscription.names.size ?? 0) > limits.maxNames
    )
      return this.#refuse("names_per_subscription");
    if (this.#stream) return this.#take(this.#stream, request);
    if (this.#early.length === 0) this.#start(request);
    this.#early.push(request);
    if (this.#early.length > maxEarlyRequests) this.#refuse("requests_before_first_answer");
  }

  #slowDown(): void {
    this.context.metrics.count("limit_hits_total", { limit: "request_rate" });
    this.call.pause();
    setTimeout(() => this.call.resume(), this.#bucket.waitMs() + 1).unref();
  }

  #start(first: Request): void {
    const { node } = first;
    if (!node || node.id === "" || node.gateway === "")
      return this.#end(
        "error",
        status.INVALID_ARGUMENT,
        "the first request must carry a node with an id and a cluster: the cluster names the gateway",
      );
    if (node.id.length > this.context.limits.maxNodeIdLength || node.gateway.length > this.context.limits.maxNodeIdLength)
      return this.#refuse("node_id_length");
    void this.#whenFresh(NodeStream.revisionIn(first)).then(() =>
      this.#guard(() => {
        if (this.#ended) return;
        this.#open(node);
      }),
    );
  }

  /** Never older after newer (DESIGN §8): what the database had when the stream opened, or what the Envoy has seen of this history. */
  async #whenFresh(seen: number): Promise<void> {
    while (!this.#ended) {
      const isFresh = await this.context.snapshots.whenFresh();
      if (isFresh || this.context.snapshots.revision >= seen) return;
      await new Promise((resolve) => setTimeout(resolve, 250).unref());
    }
  }

  #open(node: NonNullable<Request["node"]>): void {
    const { context } = this;
    const transport = this.kind === "ads-delta" || this.kind === "ads-sotw" ? "ads" : this.kind;
    this.#snapshot = context.snapshots.acquire(node.gateway, transport);
    this.#stream = new NodeStream({
      node,
      kind: this.kind,
      snapshot: this.#snapshot,
      snapshots: context.snapshots,
      times: context.limits.times,
      sink: this,
      refusals: context.refusalsOf(node.id),
      openedAt: this.openedAt,
      ordinal: context.nextOrdinal(),
    });
    context.log.info(
      { node: node.id, gateway: node.gateway, kind: this.kind, revision: context.snapshots.revision },
      "stream opened",
    );
    if (!context.snapshots.isKnown(node.gateway))
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
    context.metrics.count("xds_requests_total", { type });
    if (request.refusal !== undefined) {
      context.metrics.count("xds_nacks_total", { type });
      context.log.warn(
        { node: stream.node.id, type, nonce: request.nonce, detail: request.refusal },
        "an Envoy refused a response",
      );
    } else if (request.nonce !== "") context.metrics.count("xds_acks_total", { type });
    stream.receive(type, request, context.now());
    this.wakeAt = stream.wakeAt(context.now());
    context.answered(this);
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
    this.context.metrics.count("xds_responses_sent_total", { type });
    this.context.metrics.count("xds_bytes_sent_total", { type }, frame.bytes.length);
    this.context.log.debug(
      {
        node: this.#stream?.node.id ?? "",
        type,
        nonce: frame.nonce,
        resources: frame.resources.length,
        removed: frame.removed.length,
        url: typeUrls[type],
      },
      "response",
    );
    this.#writeBytes(frame.bytes);
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
      this.wakeAt = stream.wakeAt(now);
      this.context.answered(this);
    });
  }

  /** Cuts a peer that reads nothing: buffers behind it grow without bound (137 MB in 12 s, measured). */
  cutIfStalled(now: number): void {
    if (this.#unsentFrames > 0 && now - this.#unsentSince > this.context.limits.writeStallMs) {
      this.context.metrics.count("limit_hits_total", { limit: "write_stall" });
      this.#end("stalled", status.RESOURCE_EXHAUSTED, "the stream is not being read");
      this.call.destroy();
    }
  }

  // ---- The end -------------------------------------------------------------------------------------------------------

  giveUp(reason: string): void {
    this.#end("lag", status.UNAVAILABLE, `the stream must be opened again: ${reason}`);
  }
  end(reason: EndReason): void {
    if (reason === "client") this.#end(reason, status.OK, "");
    else
      this.#end(
        reason,
        status.UNAVAILABLE,
        reason === "age" ? "opened long ago; open another, maybe on another replica" : "the replica is going away",
      );
  }

  #refuse(limit: string): void {
    this.context.metrics.count("xds_requests_refused_total", { limit });
    this.context.metrics.count("limit_hits_total", { limit });
    this.#end("limit", status.RESOURCE_EXHAUSTED, `limit met: ${limit}`);
  }

  #end(reason: EndReason, code: number, details: string): void {
    if (this.#ended) return;
    this.#forget(reason);
    if (code === status.OK) this.call.end();
    else this.call.emit("error", { code, details });
  }

  #forget(reason: EndReason): void {
    if (this.#ended) return;
    this.#ended = true;
    this.wakeAt = Number.POSITIVE_INFINITY;
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
      this.context.log[isTheirs ? "warn" : "error"]({ node: this.#stream?.node.id ?? "", err: error }, "a stream failed");
      this.#end(
        "error",
        isTheirs ? status.INVALID_ARGUMENT : status.INTERNAL,
        isTheirs ? "a request could not be read" : "internal error",
      );
    }
  }
}
