// One stream of incremental ADS: relayed to a control plane and listened to, or served from disk while none answers.
// In: the Envoy's stream. Out: the same stream at a control plane, and NodeKeeper told of what passes. Called by agent.ts.
//
// What is on disk is for an Envoy that has nothing: one that says in its first requests what it has keeps that, waits, and comes again.
import type { ClientHttp2Stream, IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { Logger } from "../telemetry/logger.js";
import { status, toFramed } from "../xds/grpc-status.js";
import { MessageReader } from "../xds/message-reader.js";
import { type Request, readDeltaRequest } from "../xds/request.js";
import { readDeltaResponse, toDeltaResponse, withUnknownVersions } from "./delta-messages.js";
import { begin, endWith } from "./downstream.js";
import { KeptStream } from "./kept-stream.js";
import type { AgentMetrics, Serving } from "./metrics.js";
import type { NodeKeeper, NodeKey, NodeStream } from "./node-keeper.js";
import { openCall } from "./relay.js";
import { isOpen, type Upstream } from "./upstreams.js";

export interface AdsStreamOptions {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  /** A control plane that answers; undefined: none. */
  readonly upstream: () => Promise<Upstream | undefined>;
  readonly keeperOf: (key: NodeKey) => Promise<NodeKeeper | undefined>;
  /** How long a control plane may say nothing to an Envoy that has nothing, ms. */
  readonly patienceMs: number;
  readonly log: Logger;
  readonly metrics: AgentMetrics;
  readonly onClose: (stream: AdsStream) => void;
}

/** A message that is longer than this is not read: the stream ends. */
const maxMessageBytes = 256 << 20;
/** A stream from disk on which nothing has been asked for so long has given all that it has. */
const settledMs = 2_000;

export class AdsStream implements NodeStream {
  #serving: Serving = "nobody";
  #upstream: Upstream | undefined;
  #keeper: NodeKeeper | undefined;
  #call: ClientHttp2Stream | undefined;
  #kept: KeptStream | undefined;
  /** Requests that nobody has answered yet; undefined: somebody has. */
  #waiting: Buffer[] | undefined = [];
  #hasStarted = false;
  /** It has named something that it has. */
  #isWarm = false;
  #patience: NodeJS.Timeout | undefined;
  #askedAt = 0;
  readonly #requests = new MessageReader(maxMessageBytes);

  constructor(private readonly options: AdsStreamOptions) {
    const { stream } = options;
    stream.on("data", (chunk: Buffer) => this.#guard(() => this.#onChunk(chunk)));
    stream.on("end", () => this.#call?.end());
    stream.on("close", () => this.#onClose());
  }

  get serving(): Serving {
    return this.#serving;
  }
  /** The control plane that serves it. */
  get upstream(): string | undefined {
    return this.#serving === "live" ? this.#upstream?.name : undefined;
  }
  /** It is served from disk and has all of it: it may come again for what is newer. */
  isSettled(now: number): boolean {
    return this.#serving === "last-known-good" && now - this.#askedAt >= settledMs;
  }
  end(words: string): void {
    endWith(this.options.stream, status.UNAVAILABLE, words);
  }

  #onChunk(chunk: Buffer): void {
    for (const message of messagesIn(this.#requests, chunk)) {
      const request = readDeltaRequest(message);
      this.#askedAt = Date.now();
      this.#isWarm ||= request.initialVersions.size > 0;
      if (this.#kept) this.#answerFromDisk(request);
      else if (this.#call) {
        this.#waiting?.push(message);
        this.#passOn(this.#call, message, request);
      } else this.#wait(message, request);
    }
  }

  /** The first request names the node; the others that come before a control plane is found wait. */
  #wait(message: Buffer, request: Request): void {
    this.#waiting?.push(message);
    if (this.#hasStarted) return;
    this.#hasStarted = true;
    const { node } = request;
    if (!node || node.id === "") return this.end("the first request must carry a node with an id");
    void this.#start({ id: node.id, gateway: node.gateway }).catch((error: unknown) => this.#fail(error));
  }

  async #start(key: NodeKey): Promise<void> {
    const { options } = this;
    const [keeper, upstream] = await Promise.all([options.keeperOf(key), options.upstream()]);
    if (options.stream.destroyed) return;
    this.#keeper = keeper;
    keeper?.opened(this);
    if (upstream && isOpen(upstream)) this.#serveLive(upstream);
    else this.#serveKept("no control plane answers");
  }

  // ---- Live ----------------------------------------------------------------------------------------------------------

  #serveLive(upstream: Upstream): void {
    const { stream, headers, patienceMs } = this.options;
    const call: ClientHttp2Stream = openCall(upstream.session, stream, headers, () => this.#call === call);
    [this.#upstream, this.#call, this.#serving] = [upstream, call, "live"];
    const responses = new MessageReader(maxMessageBytes);
    call.on("data", (chunk: Buffer) => this.#guard(() => this.#passBack(call, chunk, responses)));
    for (const message of this.#waiting ?? []) this.#passOn(call, message, readDeltaRequest(message));
    if (this.#isWarm || !this.#keeper?.kept) this.#waiting = undefined;
    else this.#patience = setTimeout(() => this.#guard(() => this.#losePatience(call)), patienceMs);
  }

  #passOn(call: ClientHttp2Stream, message: Buffer, request: Request): void {
    this.options.metrics.count("agent_messages_total", { direction: "request" });
    const unknown = this.#keeper?.request(this, request) ?? nothing;
    const passed = unknown.size > 0 ? withUnknownVersions(message, request.initialVersions, unknown) : message;
    if (call.destroyed || call.closed || call.write(toFramed([passed]))) return;
    this.options.stream.pause();
    call.once("drain", () => this.options.stream.resume());
  }

  #passBack(call: ClientHttp2Stream, chunk: Buffer, responses: MessageReader): void {
    if (this.#call !== call) return;
    this.#waiting = undefined;
    clearTimeout(this.#patience);
    const { stream } = this.options;
    for (const message of messagesIn(responses, chunk)) {
      this.options.metrics.count("agent_messages_total", { direction: "response" });
      this.#keeper?.response(this, readDeltaResponse(message));
    }
    if (stream.destroyed || stream.writableEnded || stream.write(chunk)) return;
    call.pause();
    stream.once("drain", () => call.resume());
  }

  /** A control plane that takes streams and says nothing is away, for an Envoy that has nothing yet. */
  #losePatience(call: ClientHttp2Stream): void {
    if (this.#isWarm || !this.#waiting) return;
    this.#call = undefined;
    call.close();
    this.#keeper?.opened(this);
    this.#serveKept("the control plane says nothing");
  }

  // ---- From disk -----------------------------------------------------------------------------------------------------

  #serveKept(why: string): void {
    const kept = this.#keeper?.kept;
    if (!kept || this.#isWarm) return this.end(why);
    const { log, stream } = this.options;
    const ageMs = Date.now() - kept.writtenAt;
    log.warn({ node: this.#keeper?.key.id ?? "", why, ageMs }, "an Envoy starts with what was kept");
    this.options.metrics.count("agent_starts_from_disk_total", {});
    this.#serving = "last-known-good";
    this.#kept = new KeptStream(kept.types);
    begin(stream);
    for (const message of this.#waiting?.splice(0) ?? []) this.#answerFromDisk(readDeltaRequest(message));
  }

  #answerFromDisk(request: Request): void {
    const { log, stream } = this.options;
    if (this.#isWarm) return this.end("no control plane answers");
    if (request.refusal !== undefined) {
      this.options.metrics.count("agent_kept_refused_total", {});
      log.error(
        { node: this.#keeper?.key.id ?? "", type: request.typeUrl, detail: request.refusal },
        "an Envoy refused what was kept",
      );
    }
    this.#keeper?.request(this, request);
    const response = this.#kept?.receive(request);
    if (!response) return;
    this.#keeper?.response(this, response);
    // No regard for a slow reader: each resource goes out once, and is in memory anyway.
    if (!stream.destroyed && !stream.writableEnded) stream.write(toFramed([toDeltaResponse(response)]));
  }

  // ---- The end -------------------------------------------------------------------------------------------------------

  #onClose(): void {
    clearTimeout(this.#patience);
    this.#serving = "nobody";
    this.options.onClose(this);
  }

  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.options.log.error({ node: this.#keeper?.key.id ?? "", err: error }, "a stream failed");
    endWith(this.options.stream, status.RESOURCE_EXHAUSTED, "a message could not be read");
  }
}

const nothing: ReadonlySet<string> = new Set();

/** The messages that are whole with this chunk. @throws RangeError when nothing more of the stream can be read */
function* messagesIn(reader: MessageReader, chunk: Buffer): Generator<Buffer> {
  reader.feed(chunk);
  for (let message = reader.next(); message; message = reader.next()) yield message;
  if (reader.fault) throw new RangeError(`a message is ${reader.fault.kind}`);
}
