// The one list of failures that a caller may meet, and how each is told over HTTP.
// In: thrown anywhere as `AppError(code, facts)`. Out: api/ turns it into problem details (RFC 9457).
// docs/errors.md describes every code; a house test compares the two lists.

/** code → HTTP status, a sentence for people, and whether the same call may succeed later by itself. */
export const errorCodes = {
  invalid_body: { status: 422, title: "The body breaks one or more rules.", retryable: false },
  malformed_body: { status: 400, title: "The body is not the JSON that this call takes.", retryable: false },
  invalid_query: { status: 400, title: "A query parameter is not what this call takes.", retryable: false },
  invalid_header: { status: 400, title: "A request header is not what this call takes.", retryable: false },
  invalid_path: { status: 400, title: "The path can't be decoded.", retryable: false },
  invalid_reference: {
    status: 422,
    title: "The object names another one that does not exist or does not fit.",
    retryable: false,
  },
  not_found: { status: 404, title: "There is no such object.", retryable: false },
  already_exists: { status: 409, title: "An object of this name exists already.", retryable: false },
  in_use: { status: 409, title: "Other objects still use this one.", retryable: false },
  conflict: { status: 409, title: "The change contradicts another object.", retryable: false },
  endpoint_location_fixed: {
    status: 409,
    title: "Region and zone of an endpoint can't be edited: remove it and add it.",
    retryable: false,
  },
  guard_refused: {
    status: 409,
    title: "The change takes away, or makes, more at once than a guard lets pass; nothing was changed.",
    retryable: false,
  },
  held_by_rollout: {
    status: 409,
    title: "A staged rollout is trying out another change of this object; nothing was changed.",
    retryable: false,
  },
  rollout_in_progress: {
    status: 409,
    title: "A gateway has one staged rollout at a time, and one is under way; nothing was changed.",
    retryable: false,
  },
  rollout_aborted: { status: 409, title: "The staged rollout was stopped, and its Envoys were put back.", retryable: false },
  draining: {
    status: 409,
    title: "It is being drained, and stays until that drain has ended; nothing was changed.",
    retryable: false,
  },
  rebalance_ended: { status: 409, title: "The rebalance has ended: there is nothing left to cancel.", retryable: false },
  drain_ended: { status: 409, title: "The drain has ended: there is nothing left to cancel.", retryable: false },
  beyond_history: { status: 410, title: "The history is not looked through that far.", retryable: false },
  refused_by_validation: {
    status: 422,
    title: "A real Envoy, asked before the commit, refuses what this would make of the configuration.",
    retryable: false,
  },
  refused_by_envoy: { status: 409, title: "An Envoy refused the change.", retryable: false },
  idempotency_key_reused: {
    status: 409,
    title: "The Idempotency-Key was used for another request before.",
    retryable: false,
  },
  precondition_failed: { status: 412, title: "The object has changed since the version that If-Match names.", retryable: false },
  too_large: { status: 413, title: "The body is larger than this call takes.", retryable: false },
  unsupported_media_type: { status: 415, title: "The body must be application/json.", retryable: false },
  method_not_allowed: { status: 405, title: "This path does not take that method.", retryable: false },
  too_many_requests: { status: 429, title: "Too many requests at once.", retryable: true },
  internal: { status: 500, title: "An internal error; the log has it under the request id.", retryable: false },
  database_unavailable: {
    status: 503,
    title: "The database can't be reached; nothing was changed, or the outcome is unknown if `outcome` says so.",
    retryable: true,
  },
  validation_unavailable: {
    status: 503,
    title: "The change could not be validated by a real Envoy, which is required here; nothing was changed.",
    retryable: true,
  },
  schema_too_new: {
    status: 503,
    title: "The database's schema is newer than this control plane can work with; nothing was changed.",
    retryable: false,
  },
  write_contention: { status: 503, title: "Too many writers at once; nothing was changed.", retryable: true },
  starting: { status: 503, title: "The control plane is still loading its state.", retryable: true },
} as const satisfies Record<string, { status: number; title: string; retryable: boolean }>;

export type ErrorCode = keyof typeof errorCodes;

/** One fault in what the client sent. `pointer` is a JSON pointer (RFC 6901) into the body, or "" for all of it. */
export interface Problem {
  readonly pointer: string;
  readonly code: string;
  readonly detail: string;
}

/** A failure that the caller is told. `facts` are shown to the client; `cause` goes to the log only. */
export class AppError extends Error {
  constructor(
    readonly code: ErrorCode,
    readonly facts: Readonly<Record<string, unknown>> = {},
    readonly problems: readonly Problem[] = [],
    cause?: unknown,
  ) {
    super(`${code}: ${errorCodes[code].title}`, cause === undefined ? undefined : { cause });
    this.name = "AppError";
  }
}

/** What began a failure, in one line: the codes on top are for programs, and the stack of a connection that was refused tells nothing. */
export function reasonOf(error: unknown): string {
  let reason = error;
  for (let depth = 0; depth < 10 && reason instanceof Error && reason.cause !== undefined; depth++) reason = reason.cause;
  if (reason instanceof AggregateError && reason.errors.length > 0) return reasonOf(reason.errors[0]);
  return reason instanceof Error ? reason.message || reason.name : String(reason);
}

/** Thrown to leave a piece of work on purpose, by whoever catches it again: no failure, and not counted as one. */
export class Interruption extends Error {}
