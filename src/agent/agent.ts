// `chancery agent`: stands between one Envoy and the control planes, keeps what the Envoy has acked on disk, and starts an Envoy from that
// while no control plane answers (ADR 0040). Everything else it passes on. Called by main.ts, in a process of its own.
import { createServer, type Http2Server, type Http2Session, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { SealedFile } from "../disk/sealed-file.js";
import { reasonOf } from "../errors.js";
import type { Logger } from "../telemetry/logger.js";
import { watchProcess } from "../telemetry/process-metrics.js";
import { status } from "../xds/grpc-status.js";
import { AdsStream } from "./ads-stream.js";
import { endWith } from "./downstream.js";
import { type AgentMetrics, createAgentMetrics, type Serving, setNodeGauges } from "./metrics.js";
import { NodeKeeper, type NodeKey } from "./node-keeper.js";
import { relay } from "./relay.js";
import { connectAny, isOpen, nameOf, type Upstream, type UpstreamAddress } from "./upstreams.js";

export interface AgentOptions {
  readonly listen: UpstreamAddress;
  readonly controlPlanes: readonly UpstreamAddress[];
  readonly folder: string;
  /** How long a control plane may say nothing to an Envoy that starts, ms. Default 5,000. */
  readonly patienceMs?: number;
  readonly log: Logger;
}

/** One Envoy, as the status page shows it. */
export interface AgentNode {
  readonly node: string;
  readonly gateway: string;
  readonly serving: Serving;
  readonly controlPlane?: string;
  /** Resources on disk, and since when. */
  readonly kept?: { readonly resources: number; readonly writtenAt: string };
  /** Why the disk can't be written to. */
  readonly trouble?: string;
}

const adsPath = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/** Envoys beside one agent of which something is kept. */
const maxNodes = 64;
/** Between two looks for a control plane while an Envoy is served from disk. */
const probeMs = 1_000;
const defaultPatienceMs = 5_000;
/** As a control plane's own limit: for more, an Envoy opens another connection, and so do we. */
const streamsPerConnection = 8;

export class Agent {
  readonly #server: Http2Server;
  readonly #keepers = new Map<string, Promise<NodeKeeper>>();
  /** An Envoy's connection → the control plane that its streams go to. */
  readonly #upstreams = new WeakMap<Http2Session, Promise<Upstream | undefined>>();
  readonly #sessions = new Set<Http2Session>();
  readonly #streams = new Set<AdsStream>();
  readonly #metrics: AgentMetrics;
  readonly #unwatch: () => void;
  readonly #probe: NodeJS.Timeout;
  #isProbing = false;

  constructor(private readonly options: AgentOptions) {
    this.#metrics = createAgentMetrics(options.controlPlanes.map(nameOf));
    this.#unwatch = watchProcess(this.#metrics);
    this.#server = createServer({ settings: { maxConcurrentStreams: streamsPerConnection } });
    this.#server.on("session", (session) => {
      this.#sessions.add(session);
      session.on("error", (error) => options.log.debug({ err: error }, "an Envoy's connection failed"));
      session.once("close", () => this.#onSessionClosed(session));
    });
    this.#server.on("stream", (stream, headers) => this.#accept(stream, headers));
    this.#probe = setInterval(() => void this.#leaveDisk(), probeMs).unref();
  }

  /** @throws when the address can't be bound */
  async listen(): Promise<{ port: number }> {
    const { host, port } = this.options.listen;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(port, host, () => resolve());
    });
    await this.#checkFolder();
    return { port: (this.#server.address() as AddressInfo).port }; // It listens on a port.
  }

  /** Told at once, and no reason not to start: what the Envoys get from the control planes is worth more than what is kept of it. */
  async #checkFolder(): Promise<void> {
    const { folder, log } = this.options;
    const file = new SealedFile({ folder, name: "none", onReject: () => {} });
    await file
      .check()
      .catch((error: unknown) =>
        log.error({ folder, reason: reasonOf(error) }, "nothing can be kept in this folder: no Envoy will start from it"),
      );
  }

  /** Every Envoy of which something is known. */
  async nodes(): Promise<AgentNode[]> {
    const keepers = await Promise.all(this.#keepers.values());
    return keepers.map((keeper) => {
      const { kept, trouble, serving, upstream } = keeper;
      const resources = [...(kept?.types.values() ?? [])].reduce((sum, { size }) => sum + size, 0);
      return {
        node: keeper.key.id,
        gateway: keeper.key.gateway,
        serving,
        ...(upstream === undefined ? {} : { controlPlane: upstream }),
        ...(kept ? { kept: { resources, writtenAt: new Date(kept.writtenAt).toISOString() } } : {}),
        ...(trouble === undefined ? {} : { trouble }),
      };
    });
  }

  /** Its metrics as Prometheus text. */
  async metrics(): Promise<{ text: string; contentType: string }> {
    setNodeGauges(this.#metrics, await Promise.all(this.#keepers.values()), Date.now());
    return { text: await this.#metrics.text(), contentType: this.#metrics.contentType };
  }

  /** Ends all streams, and keeps what is not on disk yet. */
  async close(): Promise<void> {
    clearInterval(this.#probe);
    this.#unwatch();
    for (const stream of this.#streams) stream.end("the agent is going away");
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const session of this.#sessions) session.close();
    await Promise.all([...this.#keepers.values()].map(async (keeper) => (await keeper).close()));
    for (const session of this.#sessions) session.destroy();
    await closed;
  }

  #accept(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    stream.on("error", (error) => this.options.log.debug({ err: error }, "an Envoy's stream failed"));
    const kind = headers[":path"] === adsPath ? "ads" : "other";
    this.#metrics.add("agent_streams_open", { kind }, 1);
    stream.once("close", () => this.#metrics.add("agent_streams_open", { kind }, -1));
    if (kind === "ads") return this.#acceptAds(stream, headers);
    stream.pause();
    void this.#upstreamOf(stream).then((upstream) => {
      if (stream.destroyed) return;
      if (!upstream || !isOpen(upstream)) return endWith(stream, status.UNAVAILABLE, "no control plane answers");
      relay(upstream.session, stream, headers);
    });
  }

  #acceptAds(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const { patienceMs = defaultPatienceMs, log } = this.options;
    const ads: AdsStream = new AdsStream({
      stream,
      headers,
      upstream: () => this.#upstreamOf(stream),
      keeperOf: (key) => this.#keeperOf(key),
      patienceMs,
      log,
      metrics: this.#metrics,
      onClose: () => this.#streams.delete(ads),
    });
    this.#streams.add(ads);
  }

  /** All streams of an Envoy's connection go to one control plane, for as long as that answers. */
  async #upstreamOf(stream: ServerHttp2Stream): Promise<Upstream | undefined> {
    const { session } = stream;
    if (!session) return undefined;
    const known = await this.#upstreams.get(session);
    if (known && isOpen(known)) return known;
    const connecting = connectAny(this.options.controlPlanes).then((upstream) => this.#counted(upstream));
    this.#upstreams.set(session, connecting);
    return connecting;
  }

  #counted(upstream: Upstream | undefined): Upstream | undefined {
    if (!upstream || upstream.session.destroyed) return upstream;
    const labels = { upstream: upstream.name };
    this.#metrics.add("agent_upstream_connections", labels, 1);
    upstream.session.once("close", () => this.#metrics.add("agent_upstream_connections", labels, -1));
    return upstream;
  }

  #onSessionClosed(session: Http2Session): void {
    this.#sessions.delete(session);
    void this.#upstreams.get(session)?.then((upstream) => upstream?.session.close());
  }

  #keeperOf(key: NodeKey): Promise<NodeKeeper | undefined> {
    const { folder, log } = this.options;
    const mark = `${key.gateway}\n${key.id}`;
    const known = this.#keepers.get(mark);
    if (known) return known;
    if (this.#keepers.size >= maxNodes) {
      this.#metrics.count("agent_nodes_unkept_total", {});
      log.error({ node: key.id, maximum: maxNodes }, "nothing is kept of this Envoy: too many come to this agent");
      return Promise.resolve(undefined);
    }
    const opened = NodeKeeper.open(key, folder, log.child({ node: key.id, gateway: key.gateway }), this.#metrics);
    this.#keepers.set(mark, opened);
    return opened;
  }

  /** As soon as a control plane answers, Envoys that were started from disk come again for what is newer. */
  async #leaveDisk(): Promise<void> {
    const settled = [...this.#streams].filter((stream) => stream.isSettled(Date.now()));
    if (this.#isProbing || settled.length === 0) return;
    this.#isProbing = true;
    const upstream = await connectAny(this.options.controlPlanes);
    this.#isProbing = false;
    if (!upstream) return;
    upstream.session.close();
    this.options.log.info({ controlPlane: upstream.name }, "a control plane answers again");
    for (const stream of settled) stream.end("a control plane answers again: open another stream");
  }
}
