// One Envoy's configuration: what it has acked, and what of that is on disk. In: the messages of its streams. Out: a sealed file, written
// when what is acked belongs together; and what an Envoy may start with. Called by ads-stream.ts. Owned by agent.ts.
import { createHash } from "node:crypto";
import { SealedFile, type Unfit } from "../disk/sealed-file.js";
import { reasonOf } from "../errors.js";
import type { Logger } from "../telemetry/logger.js";
import type { Request } from "../xds/request.js";
import { Acked, type AckedTypes } from "./acked.js";
import { type AckedResource, type DeltaResponse, readResource } from "./delta-messages.js";
import type { AgentMetrics, Serving } from "./metrics.js";

/** The Envoy that a file is of: another gateway gets other listeners. */
export interface NodeKey {
  readonly id: string;
  readonly gateway: string;
}

/** An Envoy's stream, as far as its keeper asks. */
export interface NodeStream {
  readonly serving: Serving;
  /** The control plane that serves it. */
  readonly upstream: string | undefined;
}

/** What is on disk. */
export interface Kept {
  readonly types: AckedTypes;
  /** ms since 1970, by the clock of the machine. */
  readonly writtenAt: number;
}

/** Goes up when an older agent could not read what a newer one writes, or the other way round. */
const format = "chancery-agent-1";
/** After a failed write. */
const retryMs = 10_000;

interface Header {
  readonly format: string;
  readonly node: string;
  readonly gateway: string;
  readonly writtenAt: number;
}

export class NodeKeeper {
  #acked = new Acked();
  /** The Envoy's newest stream: an older one, whose end is not noticed yet, has nothing to say any more. */
  #stream: NodeStream | undefined;
  readonly #file: SealedFile<"format" | "node">;
  #kept: Kept | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #trouble: string | undefined;
  #isClosed = false;

  private constructor(
    readonly key: NodeKey,
    folder: string,
    private readonly log: Logger,
    private readonly metrics: AgentMetrics,
  ) {
    const mark = createHash("sha256").update(`${key.gateway}\n${key.id}`).digest("hex").slice(0, 16);
    const onReject = (file: string, reason: Unfit<"format" | "node">, error?: unknown): void => {
      metrics.count("agent_files_rejected_total", { reason });
      log.error(
        { file, reason, ...(error === undefined ? {} : { detail: reasonOf(error) }) },
        "a kept configuration is not served",
      );
    };
    this.#file = new SealedFile({ folder, name: `node-${mark}`, onReject });
  }

  /** Reads what is on disk of this Envoy. */
  static async open(key: NodeKey, folder: string, log: Logger, metrics: AgentMetrics): Promise<NodeKeeper> {
    const keeper = new NodeKeeper(key, folder, log, metrics);
    keeper.#kept = await keeper.#file.read((lines) => fromLines(lines, key));
    if (keeper.#kept) keeper.#acked = new Acked(keeper.#kept.types);
    return keeper;
  }

  /** Undefined: nothing was ever kept of this Envoy, or what was is damaged. */
  get kept(): Kept | undefined {
    return this.#kept;
  }

  /** Why the disk can't be written to. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Who serves the Envoy's newest stream. */
  get serving(): Serving {
    return this.#stream?.serving ?? "nobody";
  }
  /** The control plane that does. */
  get upstream(): string | undefined {
    return this.#stream?.upstream;
  }

  /** The Envoy opens a stream. */
  opened(stream: NodeStream): void {
    this.#stream = stream;
    this.#acked.opened();
  }

  /** What the Envoy says. Names of which it has a form that is not known here. */
  request(stream: NodeStream, request: Request): ReadonlySet<string> {
    if (stream !== this.#stream) return nothing;
    const unknown = this.#acked.request(request, Date.now());
    this.#schedule();
    return unknown;
  }

  /** What it is told. @throws RangeError when it answers nothing any more */
  response(stream: NodeStream, response: DeltaResponse): void {
    if (stream === this.#stream) this.#acked.response(response, Date.now());
  }

  #schedule(): void {
    const dueAt = this.#acked.dueAt();
    if (this.#isClosed || this.#writing || dueAt === Number.POSITIVE_INFINITY) return;
    clearTimeout(this.#timer); // It may be due sooner than it was.
    this.#timer = setTimeout(() => this.#take(), Math.max(50, dueAt - Date.now())).unref();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#writing;
    this.#take();
    await this.#writing;
  }

  #take(): void {
    const types = this.#acked.take(Date.now());
    if (!types) return this.#schedule();
    this.#writing = this.#write({ types, writtenAt: Date.now() }).finally(() => {
      this.#writing = undefined;
      this.#schedule();
    });
  }

  async #write(next: Kept): Promise<void> {
    try {
      const bytes = await this.#file.write(toLines(next, this.key));
      this.metrics.count("agent_saves_total", { outcome: "written" });
      this.#kept = next;
      if (this.#trouble !== undefined) this.log.info({}, "the configuration can be kept on disk again");
      this.#trouble = undefined;
      this.log.debug({ bytes }, "the configuration was kept on disk");
    } catch (error) {
      this.metrics.count("agent_saves_total", { outcome: "failed" });
      const reason = reasonOf(error);
      if (reason !== this.#trouble)
        this.log.error({ reason }, "can't keep the configuration on disk: an Envoy that starts now would get an older one");
      this.#trouble = reason;
      if (this.#isClosed) return;
      await new Promise((resolve) => setTimeout(resolve, retryMs).unref());
      if (!this.#isClosed) await this.#write({ types: this.#acked.take(Date.now()) ?? next.types, writtenAt: Date.now() });
    }
  }
}

/** The header, then one line per resource: its type, and its bytes in base64. */
function* toLines({ types, writtenAt }: Kept, { id, gateway }: NodeKey): Generator<string> {
  const header: Header = { format, node: id, gateway, writtenAt };
  yield `${JSON.stringify(header)}\n`;
  for (const [type, resources] of types) {
    for (const { bytes } of resources.values()) yield `${type} ${bytes.toString("base64")}\n`;
  }
}

function fromLines([first = "", ...lines]: readonly string[], key: NodeKey): Kept | "format" | "node" {
  try {
    const header = JSON.parse(first) as Partial<Header>; // Of a file whose checksum is right: `format` says what else is there.
    if (header.format !== format || header.writtenAt === undefined) return "format";
    if (header.node !== key.id || header.gateway !== key.gateway) return "node";
    const types = new Map<string, Map<string, AckedResource>>();
    for (const line of lines) {
      const [type = "", text = ""] = line.split(" ");
      const resource = readResource(Buffer.from(text, "base64"));
      const ofType = types.get(type) ?? new Map<string, AckedResource>();
      types.set(type, ofType.set(resource.name, resource));
    }
    return { types, writtenAt: header.writtenAt };
  } catch {
    return "format";
  }
}

const nothing: ReadonlySet<string> = new Set();
