// The one logger: JSON lines to stdout (12-factor: the platform keeps and routes them). Values that may be secrets never leave.
// Every room takes a `Logger` and adds the facts it knows by `log.child({ replica, node, … })`: one field, one name, everywhere.
import { type DestinationStream, pino, stdTimeFunctions } from "pino";
import { AppError, reasonOf } from "../errors.js";

/** `silent` writes nothing: for tests. */
export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
/** As CHANCERY_LOG_LEVEL takes it. */
export type LogLevel = (typeof logLevels)[number];

/** Fields that a child logger may carry: whoever searches the log for one node or one revision finds all rooms. */
export interface LogFields {
  /** The room that speaks: store, snapshot, xds, status, api, app. */
  readonly room?: string;
  readonly replica?: string;
  readonly revision?: number;
  /** Id of an Envoy. */
  readonly node?: string;
  readonly gateway?: string;
  /** Resource type: cluster, endpoint, listener, route. */
  readonly type?: string;
  readonly nonce?: string;
  readonly requestId?: string;
}

type Write = (facts: object, message: string) => void;

/** `log.info({ revision }, "sentence")`: facts first, then one sentence without values in it. Errors go under `err`. */
export interface Logger {
  readonly trace: Write;
  readonly debug: Write;
  readonly info: Write;
  readonly warn: Write;
  readonly error: Write;
  readonly fatal: Write;
  /** Whether a line of this level is written: to be asked first where lines are many and their facts cost something to put together. */
  isLevelEnabled(level: "debug" | "info"): boolean;
  child(fields: LogFields): Logger;
}

/** A failure for the log: an expected one as its code and what began it; anything else whole, with its stack. */
export function failureFacts(error: unknown): object {
  if (!(error instanceof AppError)) return { err: error };
  const { detail } = error.facts;
  return { code: error.code, ...(detail === undefined ? {} : { detail }), reason: reasonOf(error) };
}

/** Keys whose values are never written, at the top and up to two levels down. A database URL holds a password. */
const secretKeys = ["authorization", "cookie", "password", "token", "secret", "databaseUrl", "migrationUrl", "connectionString"];
const secretHeaders = ["set-cookie", "x-api-key", "proxy-authorization"].map((header) => `["${header}"]`);
const secretPaths = [...secretKeys.map((key) => `.${key}`), ...secretHeaders].flatMap((path) => [
  path.replace(/^\./, ""),
  `*${path}`,
  `*.*${path}`,
]);

/**
 * The process's logger. `destination` is stdout unless a test reads the lines.
 * Times are ISO 8601 in UTC, under `time`; levels are words, under `level`.
 */
export function createLogger(level: LogLevel, destination?: DestinationStream): Logger {
  const options = {
    level,
    base: null, // No pid and host name: the platform adds what it needs; the replica is a field of ours.
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: secretPaths, censor: "[redacted]" },
  };
  return destination ? pino(options, destination) : pino(options);
}
