// Tells a server of the operator's what Envoys newly refuse: one POST for each resource and revision, with the Envoys that refused it.
// In: new refusals. Out: calls, one after the other, tried again with back-off. Bounded; nothing waits for it, and a refusal that can't
// be told is in GET /v1/nodes all the same. At least once: the receiver tells repeats by `id`. Made by app.ts.
import { randomUUID } from "node:crypto";
import type { Revision } from "../model/revision.js";
import { backOffMs, type Clock, systemClock } from "../telemetry/clock.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import { type Posted, postJson } from "./json-post.js";
import type { RevisionAuthor } from "./node-view.js";
import type { NewRefusal } from "./refusal-log.js";
import { sign, signatureHeader } from "./signature.js";
import { maxNamed } from "./tracked-revision.js";

/** Where to, and the limits of it. */
export interface RefusalWebhookOptions {
  /** May hold a secret: never logged. */
  readonly url: string;
  /** Signs each post; undefined: none is signed. Never logged. */
  readonly secret?: string | undefined;
  readonly allowLinkLocal: boolean;
  /** Refusals that wait; one more is dropped. */
  readonly maxQueue: number;
  readonly replica: string;
  readonly authorOf: (revision: Revision) => Promise<RevisionAuthor | undefined>;
  /** The objects that a resource is made of. */
  readonly objectsOf: (refusal: NewRefusal) => readonly { readonly kind: string; readonly name: string }[];
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly clock?: Clock;
}

/** A fleet refuses one thing within moments: those who do by then are told together. */
const gatherMs = 250;
const callTimeoutMs = 5_000;
const maxTries = 6;
const firstBackOffMs = 500;
const maxBackOffMs = 30_000;

interface Told {
  readonly id: string;
  readonly first: NewRefusal;
  readonly nodes: Set<string>;
}

/** One per replica. */
export class RefusalWebhook {
  readonly #url: URL;
  readonly #clock: Clock;
  readonly #abort = new AbortController();
  /** `<gateway> <type> <resource> <parts> <revision>` → what is being gathered. */
  readonly #gathering = new Map<string, Told>();
  readonly #queue: Told[] = [];
  #sending: Promise<void> | undefined;

  constructor(private readonly options: RefusalWebhookOptions) {
    this.#url = new URL(options.url);
    this.#clock = options.clock ?? systemClock;
  }

  /** Never waits, never throws. */
  tell(refusal: NewRefusal): void {
    if (this.#abort.signal.aborted) return;
    const { gateway, type, resource, parts, revision } = refusal;
    const key = JSON.stringify([gateway, type, resource, parts ?? [], revision]);
    const known = this.#gathering.get(key);
    if (known) {
      known.nodes.add(refusal.node);
      return;
    }
    if (this.#gathering.size + this.#queue.length >= this.options.maxQueue) return this.#drop();
    this.#gathering.set(key, { id: randomUUID(), first: refusal, nodes: new Set([refusal.node]) });
    this.#clock.after(gatherMs, () => this.#enqueue(key));
    this.#measure();
  }

  /** What waits is given up: it is seen in /v1/nodes, and told by the replica that the Envoys go to. */
  async close(): Promise<void> {
    this.#abort.abort();
    this.#gathering.clear();
    this.#queue.length = 0;
    await this.#sending;
  }

  #drop(): void {
    this.options.metrics.count("webhook_deliveries_total", { outcome: "dropped" });
    this.options.metrics.count("limit_hits_total", { limit: "webhookQueue" });
  }

  #enqueue(key: string): void {
    const told = this.#gathering.get(key);
    this.#gathering.delete(key);
    if (!told) return;
    this.#queue.push(told);
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
    });
  }

  #measure(): void {
    this.options.metrics.set("webhook_queue", {}, this.#gathering.size + this.#queue.length);
  }

  async #send(): Promise<void> {
    for (let told = this.#queue[0]; told && !this.#abort.signal.aborted; told = this.#queue[0]) {
      const outcome = await this.#deliver(told);
      this.#queue.shift();
      this.#measure();
      if (outcome) this.options.metrics.count("webhook_deliveries_total", { outcome });
    }
  }

  /** undefined: the process stops. */
  async #deliver(told: Told): Promise<"delivered" | "rejected" | "given up" | undefined> {
    const { allowLinkLocal, log, secret } = this.options;
    const body = await this.#body(told);
    const facts = { host: this.#url.host, id: told.id, revision: told.first.revision };
    for (let tried = 1; ; tried++) {
      const posted = await postJson(this.#url, body, {
        timeoutMs: callTimeoutMs,
        allowLinkLocal,
        headers: { "idempotency-key": told.id },
        sign: (text) => (secret === undefined ? {} : { [signatureHeader]: sign(text, secret, this.#clock.now()) }),
        signal: this.#abort.signal,
      });
      if (this.#abort.signal.aborted) return undefined;
      if (posted.kind === "answered" && posted.status >= 200 && posted.status < 300) return "delivered";
      if (isFinal(posted) || tried >= maxTries) {
        log.warn({ ...facts, ...posted, tried }, "a refusal could not be posted to the webhook");
        return isFinal(posted) ? "rejected" : "given up";
      }
      log.debug({ ...facts, ...posted, tried }, "the webhook did not take a refusal; it is tried again");
      await this.#pause(backOffMs(tried, firstBackOffMs, maxBackOffMs));
    }
  }

  async #body({ id, first, nodes }: Told): Promise<Readonly<Record<string, unknown>>> {
    const { authorOf, objectsOf, replica } = this.options;
    const author = await authorOf(first.revision).catch(() => undefined); // Told without; the store has logged why.
    return {
      event: "refused",
      id,
      at: new Date(first.at).toISOString(),
      replica,
      gateway: first.gateway,
      type: first.type,
      resource: first.resource,
      objects: objectsOf(first),
      revision: first.revision,
      ...(author ? { author: author.author, requestId: author.requestId } : {}),
      detail: first.detail,
      nodes: [...nodes].sort().slice(0, maxNamed),
      nodesTotal: nodes.size,
    };
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const { signal } = this.#abort;
      const done = (): void => {
        stop();
        signal.removeEventListener("abort", done);
        resolve();
      };
      const stop = this.#clock.after(delayMs, done);
      signal.addEventListener("abort", done, { once: true });
    });
  }
}

/** An answer, or an address, that will be the same the next time. */
function isFinal(posted: Posted): boolean {
  if (posted.kind !== "answered") return posted.kind === "denied";
  return posted.status < 500 && ![408, 425, 429].includes(posted.status);
}
