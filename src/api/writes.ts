// The one way of every mutating call: author, transaction, and, with `?wait=acked`, the Envoys' answers.
// In: the work to be done in the transaction. Out: `{ revision, changed, object, lint, sync? }` with the object's ETag.
// Called by the noun files.
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { type Static, Type } from "typebox";
import { AppError } from "../errors.js";
import type { Lint } from "../model/lint.js";
import { problem } from "../model/problem-codes.js";
import type { Author, Change, Revision } from "../model/revision.js";
import type { RolloutPolicy } from "../model/rollout.js";
import type { Plan, Planner } from "../plan/plan.js";
import type { Validator } from "../plan/validate.js";
import type { Fleet } from "../status/fleet.js";
import type { Sync } from "../status/sync.js";
import { MayBeStaged, type Store, type WriteChoices, type WriteTx } from "../store/store.js";
import { failureFacts, type Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import { readAuthor } from "./author.js";
import { type CallerWaits, whileConnected } from "./caller-waits.js";
import type { EndWaits } from "./end-waits.js";
import { milliseconds, object } from "./fields.js";
import type { Outcome } from "./outcome.js";
import { etag } from "./preconditions.js";
import type { PlannedRebalance, RebalanceBody } from "./rebalance-body.js";
import { toPolicyBody, toRolloutBody } from "./rollout-body.js";
import { whenEnded } from "./rollout-wait.js";
import { showObject } from "./shown-object.js";
import { plannedPolicy, type StagedWrite, stagedRebalance, stageWrite } from "./staging.js";
import { type Undone, undo } from "./undo.js";
import { type ObjectName, pointedOut, writeValidated } from "./validated-write.js";
import {
  dryRunField,
  idempotencyOf,
  maxWaitMs,
  type Override,
  onRefusalField,
  overrideField,
  overridesOf,
  quorumPercentOf,
  waitField,
} from "./write-choices.js";

const standardWaitMs = 10_000;
/** How long a rollback is waited for, at least, however late the refusal came. */
const leastRollbackWaitMs = 2_000;

/** Query of every mutating call. */
export const mutationQuery = object({
  wait: Type.Optional(waitField),
  timeoutMs: Type.Optional(milliseconds(0, maxWaitMs, "Longest wait.", standardWaitMs)),
  onRefusal: Type.Optional(onRefusalField),
  dryRun: Type.Optional(dryRunField),
  override: Type.Optional(overrideField),
});
/** The same, read. */
export type MutationQuery = Static<typeof mutationQuery>;

/** The parts of a request that are looked at. */
export interface MutatingRequest {
  readonly id: string;
  readonly headers: IncomingHttpHeaders;
  readonly query: MutationQuery;
  readonly raw: IncomingMessage;
  readonly method: string;
  readonly url: string;
  readonly body: unknown;
}

/** What the body of a call says of how it is to be done. */
export interface BodyChoices {
  readonly override?: Partial<Record<Override, boolean>> | undefined;
  readonly baseRevision?: Revision | undefined;
  /** Some Envoys first; left out: as the gateways' policies say. */
  readonly rollout?: RolloutPolicy | undefined;
  /** The call writes nothing but endpoints, which are never staged: policies need not be looked at. */
  readonly isOfEndpoints?: boolean;
  /** Where in the body an object is that Envoy refuses; undefined: nowhere. Left out: the body is of one object, and is not at fault by a part. */
  readonly pointerTo?: ((object: ObjectName) => string | undefined) | undefined;
  /** Recorded where the caller gives no reason. */
  readonly reason?: string | undefined;
  /** The drain whose end this is. */
  readonly drain?: string | undefined;
}

interface ReplyHead {
  code(status: number): unknown;
  header(name: string, value: string): unknown;
}

/** What a write is answered with. */
export interface MutationAnswer {
  readonly revision: Revision;
  readonly changed: boolean;
  readonly object?: unknown;
  readonly objects?: unknown;
  readonly lint: readonly Lint[];
  readonly sync?: Sync;
  /** Of a shift of weights that asked for one. */
  readonly rebalance?: RebalanceBody;
  /** The change is staged: it is not the configuration yet. */
  readonly rollout?: ReturnType<typeof toRolloutBody>;
}

/** The rooms that a write goes through. */
export interface WritesOptions {
  readonly store: Pick<Store, "write" | "rollouts">;
  readonly fleet: Pick<Fleet, "waitSync" | "nodes">;
  readonly planner: Pick<Planner, "plan" | "gatewaysOf">;
  /** Asks a real Envoy before each commit; left out: nobody is asked. */
  readonly validator?: Validator | undefined;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly callerWaits: CallerWaits;
  readonly rolloutEnds: EndWaits;
  /** Aborts when the server closes: waits end, and tell how far things are. */
  readonly closing: AbortSignal;
}

/** Carries out a write. */
export class Writes {
  constructor(private readonly options: WritesOptions) {}

  /**
   * With `?dryRun=true` the answer is the plan, and nothing is waited for.
   * @throws refused_by_envoy (the revision stays), too_many_requests, invalid_header, and what the store and `work` throw
   */
  async carryOut(
    request: MutatingRequest,
    reply: ReplyHead,
    work: (tx: WriteTx) => Promise<Outcome>,
    { override, baseRevision, reason, drain, pointerTo, rollout, isOfEndpoints = false }: BodyChoices = {},
  ): Promise<MutationAnswer | Plan> {
    const given = readAuthor(request.headers, request.id);
    const author = { ...given, reason: given.reason ?? reason };
    const { query } = request;
    const choices = { overrides: overridesOf(query.override, override), baseRevision, drain };
    if (query.dryRun === "true") return this.#plan(author, work, choices, rollout);
    const pointed = (error: unknown): never => {
      throw pointerTo ? pointedOut(error, pointerTo) : error;
    };
    const keyed = { ...choices, idempotency: idempotencyOf(request) };
    const mayStage = !isOfEndpoints && !choices.overrides.includes("rollout");
    const carryOut = async (): Promise<MutationAnswer> => {
      if (query.wait === undefined && query.onRefusal === "rollback") throw refusalWithoutWait();
      const done = await this.#writeOrStage(request, author, reply, work, keyed, mayStage, rollout).catch(pointed);
      if ("outcome" in done) return this.#answerStaged(request, reply, author, done);
      return query.wait === undefined ? done.answer : this.#answerSynced(request, reply, author, done);
    };
    return query.wait === undefined ? carryOut() : this.options.callerWaits.hold(carryOut);
  }

  /** @throws refused_by_envoy */
  async #answerSynced(
    request: MutatingRequest,
    reply: ReplyHead,
    author: Author,
    { answer, changes }: WrittenAnswer,
  ): Promise<MutationAnswer> {
    const deadline = performance.now() + (request.query.timeoutMs ?? standardWaitMs);
    const sync = await this.#wait(answer.revision, request, deadline);
    if (sync.state === "refused") throw refusal(answer, sync, await this.#rollBack(author, request, answer, changes, deadline));
    reply.code(sync.state === "acked" ? 200 : 202);
    return { ...answer, sync };
  }

  /** With `wait`, the answer comes when the rollout has ended, or the time is over. @throws rollout_aborted */
  async #answerStaged(
    request: MutatingRequest,
    reply: ReplyHead,
    author: Author,
    { outcome, rollout: name, revision, replayed }: StagedWrite,
  ): Promise<MutationAnswer> {
    const { closing, log, rolloutEnds, store } = this.options;
    const { query, raw } = request;
    if (!replayed)
      log.info({ ...author, call: `${raw.method} ${raw.url?.split("?")[0]}`, revision, rollout: name }, "staged write");
    if (replayed) reply.header("idempotent-replayed", "true");
    const timeoutMs = query.wait === undefined ? 0 : (query.timeoutMs ?? standardWaitMs);
    const until = (signal: AbortSignal) => whenEnded(store.rollouts, rolloutEnds, name, timeoutMs, signal);
    const found = await whileConnected(raw, closing, until);
    reply.code(found?.rollout.state === "done" ? 200 : 202);
    const shown = found && { rollout: toRolloutBody(found.rollout) };
    return { revision, changed: true, [outcome.as ?? "object"]: outcome.object, lint: outcome.lint, ...shown };
  }

  /** The same transaction, rolled back at its end. */
  async #plan(
    author: Author,
    work: (tx: WriteTx) => Promise<Outcome>,
    choices: WriteChoices & { readonly overrides: readonly Override[] },
    rollout: RolloutPolicy | undefined,
  ): Promise<Plan & { readonly rollout?: ReturnType<typeof toPolicyBody>; readonly rebalance?: PlannedRebalance }> {
    const { planner, store } = this.options;
    let planned: Outcome["rebalance"];
    const plan = await planner.plan(async () => {
      const { value, changes } = await store.write(author, work, { ...choices, dryRun: true });
      planned = value.rebalance;
      return { changes, lint: value.lint };
    }, showObject);
    const policy = await plannedPolicy(this.options, plan, choices.overrides, rollout);
    if (policy && planned) throw stagedRebalance();
    return { ...plan, ...(planned ? { rebalance: planned.planned } : {}), ...(policy ? { rollout: toPolicyBody(policy) } : {}) };
  }

  /** Where no gateway has a policy, which is told with the write's own BEGIN, staging costs nothing. */
  async #writeOrStage(
    request: MutatingRequest,
    author: Author,
    reply: ReplyHead,
    work: (tx: WriteTx) => Promise<Outcome>,
    choices: WriteChoices,
    mayStage: boolean,
    rollout: RolloutPolicy | undefined,
  ): Promise<StagedWrite | WrittenAnswer> {
    const write = (unlessStaged: boolean) => this.#write(request, author, reply, work, { ...choices, unlessStaged });
    if (!mayStage) return write(false);
    if (!rollout) {
      try {
        return await write(true);
      } catch (error) {
        if (!(error instanceof MayBeStaged)) throw error;
      }
    }
    return (await stageWrite(this.options, author, work, choices, rollout)) ?? write(false);
  }

  async #write(
    { raw }: MutatingRequest,
    author: Author,
    reply: ReplyHead,
    work: (tx: WriteTx) => Promise<Outcome>,
    choices: WriteChoices,
  ): Promise<WrittenAnswer> {
    const { store, validator } = this.options;
    const { value, committed, replayed, changes } = await writeValidated(store, validator, author, work, choices);
    const revision = committed?.revision ?? value.revision;
    if (value.tagged) reply.header("etag", etag(revision));
    reply.code(value.created ? 201 : 200);
    if (replayed) reply.header("idempotent-replayed", "true");
    const call = `${raw.method} ${raw.url?.split("?")[0]}`;
    this.options.log.info({ ...author, call, revision, changed: committed !== undefined, replayed }, "write");
    const begun = value.rebalance && { rebalance: value.rebalance.begun };
    const answer = {
      revision,
      changed: committed !== undefined,
      [value.as ?? "object"]: value.object,
      ...begun,
      lint: value.lint,
    };
    return { answer, changes };
  }

  /** What was there before, put back; undefined: not asked for, or nothing was changed by this call. */
  async #rollBack(
    author: Author,
    request: MutatingRequest,
    { revision }: MutationAnswer,
    changes: readonly Change[],
    deadline: number,
  ): Promise<Rollback | undefined> {
    if (request.query.onRefusal !== "rollback" || changes.length === 0) return undefined;
    const { log, metrics, store } = this.options;
    const undone = await undo(store, author, revision, changes);
    metrics.count("refusal_rollbacks_total", { outcome: undone.state });
    log.warn({ ...author, refused: revision, ...undone }, "an Envoy refused a write that asked to be rolled back then");
    if (undone.state === "left") return undone;
    const sync = await this.#wait(undone.revision, request, Math.max(deadline, performance.now() + leastRollbackWaitMs));
    return { ...undone, sync };
  }

  /** Ends early when the client has gone or the server closes. What is committed is never told as a failure. */
  async #wait(revision: Revision, request: MutatingRequest, deadline: number): Promise<Sync> {
    const { closing, fleet, log } = this.options;
    const { onRefusal, wait } = request.query;
    const startedAt = performance.now();
    const until = (signal: AbortSignal): Promise<Sync> => {
      const timeoutMs = Math.max(0, Math.round(deadline - performance.now()));
      return fleet.waitSync(revision, timeoutMs, signal, quorumPercentOf(wait ?? ""));
    };
    try {
      // Whoever asked for a rollback wants it also when he is not there any more to see it.
      const sync = onRefusal === "rollback" ? await until(closing) : await whileConnected(request.raw, closing, until);
      const ms = Math.round(performance.now() - startedAt);
      log.info({ requestId: request.id, revision, state: sync.state, ms }, "waited for the Envoys");
      return sync;
    } catch (error) {
      log.warn({ ...failureFacts(error), revision, requestId: request.id }, "the wait for Envoys was cut short");
      return { revision, state: "pending", gateways: {}, replicasBehind: [""] };
    }
  }
}

interface WrittenAnswer {
  readonly answer: MutationAnswer;
  readonly changes: readonly Change[];
}

/** What became of a rollback that was asked for. */
type Rollback = Undone & { readonly sync?: Sync };

function refusalWithoutWait(): AppError {
  const detail = "onRefusal is about what Envoys answer, so it needs wait=acked";
  return new AppError("invalid_query", {}, [problem("/onRefusal", "contradiction", detail)]);
}

function refusal({ revision, ...answer }: MutationAnswer, sync: Sync, rollback: Rollback | undefined): AppError {
  const all = Object.values(sync.gateways).flatMap(({ refused }) => refused);
  const [first] = all;
  const why = first
    ? `${first.node} refused ${first.type} ${first.resource}: ${first.detail}${all.length > 1 ? ` (and ${all.length - 1} more)` : ""}`
    : "an Envoy refused it";
  const end =
    rollback?.state === "restored"
      ? `; what was there before is back, as revision ${rollback.revision}`
      : rollback
        ? `; ${rollback.detail}`
        : "";
  const facts = { revision, ...answer, sync, ...(rollback ? { rollback } : {}) };
  return new AppError("refused_by_envoy", { detail: `revision ${revision} is committed, and ${why}${end}`, ...facts });
}
