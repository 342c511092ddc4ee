// What Postgres refused, by the five characters that its manual names, and what that means for the caller.
// In: an error thrown by `pg`. Out: a QueryFailure, later an AppError. The only place that looks at SQLSTATEs.
// https://www.postgresql.org/docs/current/errcodes-appendix.html
import pg from "pg";
import { AppError } from "../errors.js";

/** The states that this program knows by name. */
export const sqlState = {
  foreignKeyViolation: "23503",
  uniqueViolation: "23505",
  characterNotInRepertoire: "22021",
  untranslatableCharacter: "22P05",
  invalidTextRepresentation: "22P02",
  numericValueOutOfRange: "22003",
  readOnlyTransaction: "25006",
  idleInTransactionTimeout: "25P03",
  transactionTimeout: "25P04",
  invalidCatalogName: "3D000",
  serializationFailure: "40001",
  deadlockDetected: "40P01",
  undefinedTable: "42P01",
  undefinedFunction: "42883",
  lockNotAvailable: "55P03",
  queryCanceled: "57014",
  /** Of our own: commit_revision found a kind emptied that was not when the guards looked. */
  emptied: "CH001",
  /** Of our own: commit_revision found an object that a staged rollout holds. */
  heldByRollout: "CH002",
} as const;

/**
 * contention: the transaction lost against another one; run again, the same work sees what that one did, and may succeed at once.
 * held: a rollout holds an object that it would change (0007_rollouts.sql).
 * reference: it names a row that is not there.
 * unavailable: there is no database to speak of now. unmigrated: its schema is missing or older than this binary.
 * value: the database can't hold the value (a NUL in a string). other: our mistake.
 */
export type FailureKind = "contention" | "held" | "reference" | "unavailable" | "unmigrated" | "value" | "other";

/** state → meaning. Classes (two characters) are in `failureClasses`. */
const failureStates: ReadonlyMap<string, FailureKind> = new Map([
  [sqlState.foreignKeyViolation, "reference"],
  [sqlState.uniqueViolation, "contention"], // Rows are looked for before they are made: another writer made it in between.
  [sqlState.characterNotInRepertoire, "value"],
  [sqlState.untranslatableCharacter, "value"],
  [sqlState.invalidTextRepresentation, "value"],
  [sqlState.numericValueOutOfRange, "value"],
  [sqlState.readOnlyTransaction, "unavailable"], // The server became a standby: the pool will find the primary again.
  [sqlState.idleInTransactionTimeout, "unavailable"],
  [sqlState.transactionTimeout, "unavailable"],
  [sqlState.invalidCatalogName, "unavailable"],
  [sqlState.serializationFailure, "contention"],
  [sqlState.deadlockDetected, "contention"],
  [sqlState.lockNotAvailable, "contention"],
  [sqlState.emptied, "contention"], // Run again, the guards see what the other writer left, and say so with figures.
  [sqlState.heldByRollout, "held"],
  [sqlState.undefinedTable, "unmigrated"],
  [sqlState.undefinedFunction, "unmigrated"],
]);

/** 08: connection. 28: not let in. 53: out of disk, memory or connections. 57: shut down, starting, or too slow. */
const failureClasses: ReadonlyMap<string, FailureKind> = new Map([
  ["08", "unavailable"],
  ["28", "unavailable"],
  ["53", "unavailable"],
  ["57", "unavailable"],
]);

/**
 * What was asked is a standby: its reads succeed, and are as old as it lags. Told as the server itself tells it to a writer (25006), so that
 * it counts as a database that is away. @throws QueryFailure
 */
export function refuseStandby(isStandby: boolean | undefined): void {
  if (!isStandby) return;
  const error = new pg.DatabaseError("the server is a standby in recovery, and reads go to the primary", 0, "error");
  error.code = sqlState.readOnlyTransaction;
  throw new QueryFailure(error);
}

/** A statement that failed. `state` is undefined when the server did not answer: connection or client-side timeout. */
export class QueryFailure extends Error {
  readonly kind: FailureKind;
  readonly state: string | undefined;
  readonly constraint: string | undefined;
  /** What the server adds to its message. */
  readonly detail: string | undefined;

  constructor(cause: unknown) {
    super("the database did not do what it was asked", { cause: cause instanceof QueryFailure ? cause.cause : cause });
    this.name = "QueryFailure";
    const answered = this.cause instanceof pg.DatabaseError ? this.cause : undefined;
    this.state = answered?.code;
    this.constraint = answered?.constraint;
    this.detail = answered?.detail;
    // Whatever pg throws without a server's answer is the connection's: refused, reset, timed out. It has no code of its own.
    this.kind = answered ? kindOf(answered.code ?? "") : "unavailable";
  }

  /** False when the server said what it did not do; true when it may or may not have done it. */
  get isUnanswered(): boolean {
    return this.state === undefined;
  }
}

function kindOf(state: string): FailureKind {
  return failureStates.get(state) ?? failureClasses.get(state.slice(0, 2)) ?? "other";
}

/** The failure as callers of the store meet it; what is our own mistake stays as it is. */
export function toAppError(failure: unknown, facts: Readonly<Record<string, unknown>> = {}): unknown {
  if (!(failure instanceof QueryFailure)) return failure;
  switch (failure.kind) {
    case "contention":
      return new AppError("write_contention", facts, [], failure);
    case "unavailable":
      return new AppError("database_unavailable", facts, [], failure);
    case "unmigrated":
      return new AppError(
        "database_unavailable",
        { ...facts, detail: "its schema is older than this program: run `chancery migrate`" },
        [],
        failure,
      );
    case "value": {
      const problem = {
        pointer: "",
        code: "not_storable",
        detail: "A text holds a character that can't be stored (NUL or half a surrogate pair).",
      };
      return new AppError("invalid_body", facts, [problem], failure);
    }
    case "held":
      return heldByRollout(failure, facts);
    case "reference":
      return new AppError("invalid_reference", { ...facts, constraint: failure.constraint }, [], failure);
    case "other":
      return failure;
  }
}

/** The SQL function's detail is JSON of ours: which rollout, and which object. */
function heldByRollout(failure: QueryFailure, facts: Readonly<Record<string, unknown>>): AppError {
  const held: { readonly rollout: string; readonly kind: string; readonly name: string } = JSON.parse(failure.detail ?? "{}");
  const detail = `rollout ${held.rollout} is trying out a change that needs ${held.kind} ${held.name} as it is: wait for its end, or abort it`;
  return new AppError("held_by_rollout", { ...facts, ...held, detail }, [], failure);
}
