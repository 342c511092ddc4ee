// Every failure as problem details (RFC 9457). In: whatever was thrown. Out: status, headers and body, and a log line for ours.
// The only place where a code becomes a status. Called by server.ts.
import { AppError, errorCodes, type Problem } from "../errors.js";
import { errorOf, problem } from "../model/problem-codes.js";
import { maxProblems, type SchemaError, schemaProblems } from "./schema-problems.js";

/** What a client that may try again is told to wait for. */
const retryAfterSeconds = 1;

/** An answer that tells a failure. */
export interface ProblemAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, unknown>>;
}

/** @throws nothing; an unknown error becomes `internal`, without its text. */
export function toProblemDetails(error: AppError, requestId: string, instance: string): ProblemAnswer {
  const { status, title, retryable } = errorCodes[error.code];
  const { allow, detail, ...facts } = error.facts;
  const headers: Record<string, string> = { "content-type": "application/problem+json; charset=utf-8" };
  if (retryable) headers["retry-after"] = String(retryAfterSeconds);
  if (typeof allow === "string") headers["allow"] = allow;
  const errors = error.problems.slice(0, maxProblems);
  return {
    status,
    headers,
    body: {
      ...facts,
      type: `urn:chancery:error:${error.code}`,
      title,
      status,
      code: error.code,
      detail: typeof detail === "string" ? detail : detailOf(error, errors),
      instance,
      requestId,
      errors,
      ...(error.problems.length > errors.length ? { problemsTotal: error.problems.length } : {}),
    },
  };
}

function detailOf({ code, facts }: AppError, [first, ...others]: readonly Problem[]): string {
  const { kind, name, routes } = facts;
  if (code === "in_use" && Array.isArray(routes))
    return `${kind} ${name} is named by ${routes.length === 1 ? "route" : "routes"} ${routes.slice(0, 10).join(", ")}`;
  if (code === "already_exists" && kind !== undefined) return `there is a ${kind} ${name} already`;
  if (!first) return errorCodes[code].title;
  const where = first.pointer === "" ? "the body" : first.pointer;
  return `${where}: ${first.detail}${others.length > 0 ? ` (and ${others.length} more)` : ""}`;
}

/** The one error that tells all of them. */
export function invalid(problems: readonly Problem[]): AppError {
  return new AppError(errorOf(problems), {}, problems);
}

/** Throws all of them as one error, if there are any. */
export function refuse(problems: readonly Problem[]): void {
  if (problems.length > 0) throw invalid(problems);
}

interface FrameworkError {
  readonly code?: unknown;
  readonly statusCode?: unknown;
  readonly message?: unknown;
  readonly validation?: readonly SchemaError[];
  readonly validationContext?: string;
}

function isFrameworkError(error: unknown): error is FrameworkError {
  return typeof error === "object" && error !== null;
}

/** Fastify's own failures, by their codes, in our words. */
export function toAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  if (!isFrameworkError(error)) return new AppError("internal", {}, [], error);
  if (error.validation) return validationError(error.validation, error.validationContext);
  switch (error.code) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return new AppError("too_large", {}, [], error);
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return new AppError("unsupported_media_type", {}, [], error);
    case "FST_ERR_CTP_INVALID_CONTENT_LENGTH":
    case "FST_ERR_CTP_EMPTY_JSON_BODY":
      return new AppError("malformed_body", { detail: String(error.message) }, [], error);
    case "FST_ERR_BAD_URL":
      return new AppError("invalid_path", {}, [], error);
    case "FST_ERR_MAX_PARAM_LENGTH":
      return new AppError("not_found", { detail: "no object has so long a name" }, [], error);
    default:
      return new AppError(isClientsFault(error) ? "malformed_body" : "internal", {}, [], error);
  }
}

/** Fastify marks what the client did: a body cut off, a length that is not the body's. */
function isClientsFault({ statusCode }: FrameworkError): boolean {
  return typeof statusCode === "number" && statusCode >= 400 && statusCode < 500;
}

function validationError(errors: readonly SchemaError[], context: string | undefined): AppError {
  const [first] = errors;
  if (context === "body" && first?.instancePath === "" && (first.data === undefined || first.data === null)) {
    return new AppError("malformed_body", {}, [problem("", "missing_field", "the body is missing")]);
  }
  const problems = schemaProblems(errors);
  return new AppError(
    context === "querystring" ? "invalid_query" : context === "headers" ? "invalid_header" : "invalid_body",
    {},
    problems,
  );
}
