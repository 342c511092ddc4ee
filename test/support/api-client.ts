// The admin API as a script would call it, for tests: every answer that was not asked for is an error with all of its text.
// In: the API's address. Out: JSON bodies, with types for what the tests read. Called by the feature tests.
import type { GatewaySync } from "../../src/model/node.js";

/** Answers of a mutating call. */
export interface Mutation {
  readonly revision: number;
  readonly changed: boolean;
  readonly object?: Record<string, unknown>;
  readonly lint?: readonly { readonly code: string; readonly pointer: string; readonly detail: string }[];
  readonly sync?: Sync;
}

export interface Sync {
  readonly revision: number;
  readonly state: "acked" | "pending" | "refused";
  readonly gateways: Readonly<Record<string, GatewaySync>>;
}

/** Problem details, with the facts that the tests read. */
export interface ProblemBody {
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly detail?: string;
  readonly errors?: readonly { readonly pointer: string; readonly code: string; readonly detail: string }[];
  readonly revision?: number;
  readonly sync?: Sync;
  readonly requestId?: string;
}

export interface Refusal {
  readonly type: string;
  readonly resource: string;
  readonly revision: number;
  readonly author?: string;
  readonly requestId?: string;
  readonly detail: string;
}

export interface NodeBody {
  readonly id: string;
  readonly gateway: string;
  readonly gatewayKnown: boolean;
  readonly connected: boolean;
  readonly replica: string;
  readonly streams: readonly string[];
  readonly ackedRevision: number;
  readonly acked: Readonly<Record<string, number>>;
  readonly refused: readonly Refusal[];
  readonly held: readonly Refusal[];
}

/** One answer, whatever it is. `body` is undefined when there was none. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: unknown;
  readonly text: string;
}

export type Json = Readonly<Record<string, unknown>>;

export interface Api {
  readonly url: string;
  /** Any call, any answer. Fails only when there is none within 130 s. */
  call(method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  /** Calls that must give a 2xx. */
  get<T>(path: string): Promise<T>;
  post(path: string, body: unknown): Promise<Mutation>;
  put(path: string, body: unknown): Promise<Mutation>;
  delete(path: string): Promise<Mutation>;
  /** A call that must give exactly `status`, which is not a 2xx. */
  refused(status: number, method: string, path: string, body?: unknown): Promise<ProblemBody>;
  /** One node as GET /v1/nodes shows it; undefined while it is not there. */
  node(id: string): Promise<NodeBody | undefined>;
}

/** Asks a write to answer when every Envoy has it; the longest that a test would want to wait. */
export const acked = "?wait=acked&timeoutMs=20000";

function parse(text: string, contentType: string | null): unknown {
  if (text === "" || !contentType?.includes("json")) return undefined;
  const body: unknown = JSON.parse(text);
  return body;
}

/** A client of the API at `url` (no slash at its end). `author` is kept with every revision that it makes. */
export function createApi(url: string, author = "test"): Api {
  async function call(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        "x-chancery-author": author,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      signal: AbortSignal.timeout(130_000),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: parse(text, response.headers.get("content-type")), text };
  }

  async function expectStatus(wanted: (status: number) => boolean, method: string, path: string, body: unknown): Promise<Answer> {
    const answer = await call(method, path, body);
    if (wanted(answer.status)) return answer;
    throw new Error(`${method} ${path} answered ${answer.status}: ${answer.text}\nto ${JSON.stringify(body) ?? "no body"}`);
  }
  const succeeds = (status: number): boolean => status >= 200 && status < 300;
  const mutate = async (method: string, path: string, body?: unknown): Promise<Mutation> =>
    (await expectStatus(succeeds, method, path, body)).body as Mutation;

  return {
    url,
    call,
    get: async <T>(path: string): Promise<T> => (await expectStatus(succeeds, "GET", path, undefined)).body as T,
    post: (path, body) => mutate("POST", path, body),
    put: (path, body) => mutate("PUT", path, body),
    delete: (path) => mutate("DELETE", path),
    refused: async (status, method, path, body) =>
      (await expectStatus((got) => got === status, method, path, body)).body as ProblemBody,
    node: async (id) => {
      const answer = await expectStatus((status) => status === 200 || status === 404, "GET", `/v1/nodes/${id}`, undefined);
      return answer.status === 200 ? (answer.body as NodeBody) : undefined;
    },
  };
}
