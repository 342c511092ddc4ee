// The one way of every mutating call: author, transaction, and, with `?wait=acked`, the Envoys' answers.
// In: the work to be done in the transaction. Out: `{ revision, changed, object, lint, sync? }` with the object's ETag.
// Called by the noun files.
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { type Static, Type } from "typebox";
import { AppError } from "../errors.js";
import type { Lint } from "../model/lint.js";
import type { Revision } from "../model/revision.js";
import type { Fleet } from "../status/fleet.js";
import type { Sync } from "../status/sync.js";
import type { Store, WriteTx } from "../store/store.js";
import { failureFacts, type Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import { readAuthor } from "./author.js";
import { object, word } from "./fields.js";
import { etag } from "./preconditions.js";

const standardWaitMs = 10_000;
/** Longest wait that a caller may ask for. */
export const maxWaitMs = 120_000;

/** Query of every mutating call. */
export const mutationQuery = object({
  wait: Type.Optional(
    word(["acked"], "Answer when every Envoy has the change (200), one has refused it (409), or the time is over (202)."),
  ),
  timeoutMs: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: maxWaitMs,
      default: standardWaitMs,
      description: `Longest wait. In ms, 0–${maxWaitMs}. Default ${standardWaitMs}.`,
    }),
  ),
});
/** The same, read. */
export type MutationQuery = Static<typeof mutationQuery>;

/** What the work leaves behind. */
export interface Outcome {
  /** As the answer shows it: after a removal, as it was. */
  readonly object: unknown;
  /** In which it last changed before this write; 0 when it is new. Told when this write changes nothing. */
  readonly revision: Revision;
  readonly created: boolean;
  /** False: the answer has no ETag (sets, removals). */
  readonly tagged: boolean;
  readonly lint: readonly Lint[];
}

/** The parts of a request that are looked at. */
export interface MutatingRequest {
  readonly id: string;
  readonly headers: IncomingHttpHeaders;
  readonly query: MutationQuery;
  readonly raw: IncomingMessage;
}

interface ReplyHead {
  code(status: number): unknown;
  header(name: string, value: string): unknown;
}

/** What a write is answered with. */
export interface MutationAnswer {
  readonly revision: Revision;
  readonly changed: boolean;
  readonly object: unknown;
  readonly lint: readonly Lint[];
  readonly sync?: Sync;
}

/** The rooms that a write goes through. */
export interface WritesOptions {
  readonly store: Pick<Store, "write">;
  readonly fleet: Pick<Fleet, "waitSync">;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly limits: { readonly maxWaits: number };
  /** Aborts when the server closes: waits end, and tell how far things are. */
  readonly closing: AbortSignal;
}

/** Carries out a write. One per API server: it counts who waits. */
export class Writes {
  #waits = 0;

  constructor(private readonly options: WritesOptions) {}

  /** @throws refused_by_envoy (the revision stays), too_many_requests, invalid_header, and what the store and `work` throw */
  async carryOut(request: MutatingRequest, reply: ReplyHead, work: (tx: WriteTx) => Promise<Outcome>): Promise<MutationAnswer> {
    const author = readAuthor(request.headers, request.id);
    if (request.query.wait === undefined) return this.#write(request, author, reply, work);
    const { maxWaits } = this.options.limits;
    if (this.#waits >= maxWaits) {
      this.options.metrics.count("limit_hits_total", { limit: "api_max_waits" });
      throw new AppError("too_many_requests", {
        maxWaits,
        detail: `${maxWaits} callers wait for Envoys already; nothing was changed`,
      });
    }
    this.#waits++;
    try {
      const answer = await this.#write(request, author, reply, work);
      const sync = await this.#wait(answer.revision, request);
      if (sync.state === "refused") throw refusal(answer, sync);
      reply.code(sync.state === "acked" ? 200 : 202);
      return { ...answer, sync };
    } finally {
      this.#waits--;
    }
  }

  async #write(
    { raw }: MutatingRequest,
    author: ReturnType<typeof readAuthor>,
    reply: ReplyHead,
    work: (tx: WriteTx) => Promise<Outcome>,
  ): Promise<MutationAnswer> {
    const { value, committed } = await this.options.store.write(author, work);
    const revision = committed?.revision ?? value.revision;
    if (value.tagged) reply.header("etag", etag(revision));
    reply.code(value.created ? 201 : 200);
    const call = `${raw.method} ${raw.url?.split("?")[0]}`;
    this.options.log.info({ ...author, call, revision, changed: committed !== undefined }, "write");
    return { revision, changed: committed !== undefined, object: value.object, lint: value.lint };
  }

  /** Ends early when the client has gone or the server closes. What is committed is never told as a failure. */
  async #wait(revision: Revision, request: MutatingRequest): Promise<Sync> {
    const { closing, fleet, log } = this.options;
    const gone = new AbortController();
    const onClose = (): void => gone.abort();
    request.raw.socket.once("close", onClose);
    const startedAt = performance.now();
    try {
      const timeoutMs = request.query.timeoutMs ?? standardWaitMs;
      const sync = await fleet.waitSync(revision, timeoutMs, AbortSignal.any([closing, gone.signal]));
      const ms = Math.round(performance.now() - startedAt);
      log.info({ requestId: request.id, revision, state: sync.state, ms }, "waited for the Envoys");
      return sync;
    } catch (error) {
      log.warn({ ...failureFacts(error), revision, requestId: request.id }, "the wait for Envoys was cut short");
      return { revision, state: "pending", gateways: {}, replicasBehind: [""] };
    } finally {
      request.raw.socket.off("close", onClose);
    }
  }
}

function refusal({ revision, changed, object: shown, lint }: MutationAnswer, sync: Sync): AppError {
  const all = Object.values(sync.gateways).flatMap(({ refused }) => refused);
  const [first] = all;
  const detail = first
    ? `revision ${revision} is committed, and ${first.node} refused ${first.type} ${first.resource}: ${first.detail}${all.length > 1 ? ` (and ${all.length - 1} more)` : ""}`
    : `revision ${revision} is committed, and an Envoy refused it`;
  return new AppError("refused_by_envoy", { detail, revision, changed, object: shown, lint, sync });
}
