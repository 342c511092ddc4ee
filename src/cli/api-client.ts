// The one way in which commands and the demo talk to the admin API. In: a call. Out: its answer, or an error that says in plain
// words what went wrong and whether trying again may help. Called by every command but `bootstrap`, and by demo/.
import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { CommandError, type ExitCode, exitCodes } from "./exit-codes.js";
import { field, isObject, type JsonObject, list, text } from "./json.js";

/** Where the control plane is, and as whom to ask. */
export interface ApiAccess {
  /** Without a trailing slash, e.g. http://127.0.0.1:8080. */
  readonly url: string;
  /** Recorded with every revision that a call makes. */
  readonly author: string;
  readonly reason?: string | undefined;
}

/** One request to the admin API. */
export interface ApiCall {
  readonly method: "GET" | "PUT" | "POST" | "PATCH" | "DELETE";
  /** Already encoded, beginning with `/`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly body?: unknown;
  /** Of a write: asked again under the same key, it is not done twice. */
  readonly idempotencyKey?: string;
  /** Of a stream of events that broke: the last one that was seen. */
  readonly lastEventId?: string | undefined;
  /** How long the whole call may take. */
  readonly timeoutMs?: number;
}

/** What came back, when the API did not say no. */
export interface ApiAnswer {
  readonly status: number;
  readonly body: JsonObject;
}

/** One fault of what was sent, as the API points at it. */
export interface ApiProblem {
  readonly pointer: string;
  readonly code: string;
  readonly detail: string;
}

/** The API said no. `problems` point into the body that was sent. */
export class ApiRefusal extends CommandError {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly problems: readonly ApiProblem[],
    readonly body: JsonObject,
    message: string,
  ) {
    super(exitCodeOf(status, body), message);
    this.name = "ApiRefusal";
  }
}

function exitCodeOf(status: number, body: JsonObject): ExitCode {
  if (status === 503) return exitCodes.away;
  return field(body["rollback"], "state") === "restored" ? exitCodes.restored : exitCodes.failed;
}

const defaultTimeoutMs = 30_000;

/** @throws CommandError (usage) for what is no http URL */
export function toApiUrl(given: string): string {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (url?.protocol !== "http:" && url?.protocol !== "https:") {
    throw new CommandError(
      exitCodes.usage,
      `The admin API's address must be a URL like http://127.0.0.1:8080, and is ${JSON.stringify(given)}.`,
    );
  }
  return url.href.replace(/\/+$/, "");
}

/** A header holds bytes; the API reads them as UTF-8. Control characters would make fetch throw. */
function headerText(value: string, maxLength: number): string {
  const line = value
    .replace(/\p{Cc}/gu, " ")
    .trim()
    .slice(0, maxLength);
  return Buffer.from(line, "utf8").toString("latin1");
}

function headersOf(access: ApiAccess, call: ApiCall): Record<string, string> {
  return {
    accept: "application/json",
    "x-chancery-author": headerText(access.author, 128),
    ...(access.reason === undefined ? {} : { "x-chancery-reason": headerText(access.reason, 512) }),
    ...(call.idempotencyKey === undefined ? {} : { "idempotency-key": call.idempotencyKey }),
    ...(call.lastEventId === undefined ? {} : { "last-event-id": call.lastEventId }),
    ...(call.body === undefined ? {} : { "content-type": "application/json" }),
  };
}

function addressOf(access: ApiAccess, call: ApiCall): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(call.query ?? {})) if (value !== undefined) query.set(name, String(value));
  return `${access.url}${call.path}${query.size > 0 ? `?${query}` : ""}`;
}

/** Connection failures hide their reason in a chain of causes. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "TimeoutError") return "no answer in time";
  const { cause } = error;
  if (cause instanceof AggregateError && cause.errors.length > 0) return reasonOf(cause.errors[0]);
  return cause instanceof Error ? reasonOf(cause) : error.message;
}

function awayText(access: ApiAccess, call: ApiCall, error: unknown): string {
  const unknown = call.method === "GET" ? "" : "\nWhether it did what was asked is not known: look before you ask again.";
  const refused = reasonOf(error).includes("ECONNREFUSED");
  const hint = "Is it running there? --api or CHANCERY_API says where to look.";
  return `The control plane at ${access.url} did not answer: ${reasonOf(error)}.${refused ? `\n${hint}` : unknown}`;
}

async function readBody(response: Response): Promise<JsonObject> {
  const raw = await response.text();
  try {
    const value: unknown = JSON.parse(raw);
    return isObject(value) ? value : { value };
  } catch {
    return { detail: raw.slice(0, 200) }; // Not JSON: a proxy in between, or no Chancery at all. Its status says enough.
  }
}

function readProblems(body: JsonObject): readonly ApiProblem[] {
  return list(body["errors"]).map((each) => ({
    pointer: text(field(each, "pointer")),
    code: text(field(each, "code")),
    detail: text(field(each, "detail")),
  }));
}

/** One line for the refusal, and one for each problem. (`detail` repeats the first problem.) */
function refusalText(status: number, body: JsonObject): string {
  const problems = readProblems(body).map(({ pointer, detail }) => `  ${pointer === "" ? "" : `${pointer}: `}${detail}`);
  const detail = text(body["detail"]);
  const title = text(body["title"]) || `The control plane answered ${status}.`;
  return problems.length > 0 ? [title, ...problems].join("\n") : detail || title;
}

/**
 * @throws ApiRefusal when the API said no
 * @throws CommandError (away) when there was no answer
 */
export async function callApi(access: ApiAccess, call: ApiCall): Promise<ApiAnswer> {
  let response: Response;
  let body: JsonObject;
  try {
    response = await fetch(addressOf(access, call), {
      method: call.method,
      headers: headersOf(access, call),
      signal: AbortSignal.timeout(call.timeoutMs ?? defaultTimeoutMs),
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
    });
    body = await readBody(response);
  } catch (error) {
    throw new CommandError(exitCodes.away, awayText(access, call, error), error);
  }
  if (response.ok) return { status: response.status, body };
  throw toRefusal(response.status, body);
}

function toRefusal(status: number, body: JsonObject): ApiRefusal {
  return new ApiRefusal(status, text(body["code"]), readProblems(body), body, refusalText(status, body));
}

/**
 * An answer that goes on for as long as the caller reads it, or until `signal`.
 * @throws ApiRefusal when the API said no
 * @throws CommandError (away) when there was no answer
 */
export async function openApi(access: ApiAccess, call: ApiCall, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
  let response: Response;
  try {
    const headers = { ...headersOf(access, call), accept: "text/event-stream" };
    response = await fetch(addressOf(access, call), { method: call.method, headers, signal });
  } catch (error) {
    throw new CommandError(exitCodes.away, awayText(access, call, error), error);
  }
  if (!response.ok) throw toRefusal(response.status, await readBody(response));
  return response.body ?? new Blob([]).stream();
}

/** Waits before a write is asked for again; with them it survives the restart of a replica behind a load balancer. */
const retryAfterMs = [200, 800];

/** A write whose answer may get lost: asked for again under one key, it is done once, and the first answer is found. @throws as callApi */
export async function callOnce(access: ApiAccess, call: ApiCall): Promise<ApiAnswer> {
  const keyed = { ...call, idempotencyKey: randomUUID() };
  for (const pauseMs of retryAfterMs) {
    try {
      return await callApi(access, keyed);
    } catch (error) {
      if (!(error instanceof CommandError) || error.exitCode !== exitCodes.away) throw error;
      await setTimeout(pauseMs);
    }
  }
  return callApi(access, keyed);
}

/** All items of a list, page after page. */
export async function listAll(access: ApiAccess, path: string, query: ApiCall["query"] = {}): Promise<readonly JsonObject[]> {
  const items: JsonObject[] = [];
  let after: string | undefined;
  do {
    const { body } = await callApi(access, { method: "GET", path, query: { ...query, limit: 1000, after } });
    items.push(...list(body["items"]).filter(isObject));
    after = typeof body["next"] === "string" ? body["next"] : undefined;
  } while (after !== undefined);
  return items;
}
