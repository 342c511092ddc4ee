// The admin API: Fastify with its limits set, every failure as problem details, and the calls of all nouns.
// In: the rooms that the calls reach (ApiOptions). Out: a server to listen with and to close. Called by app.ts.
import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { setTimeout } from "node:timers/promises";
import fastifySwagger from "@fastify/swagger";
import fastifySwaggerUi from "@fastify/swagger-ui";
import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import fastify, { type FastifyReply, type FastifyRequest, type FastifySchema, type FastifyServerOptions } from "fastify";
import { AppError, errorCodes } from "../errors.js";
import { failureFacts } from "../telemetry/logger.js";
import { auditCalls } from "./audit.js";
import { requestIdOf } from "./author.js";
import { CallerWaits } from "./caller-waits.js";
import { changeCalls } from "./changes.js";
import { clusterCalls } from "./clusters.js";
import { type Api, type ApiContext, type ApiLimits, type ApiOptions, defaultApiLimits } from "./context.js";
import { drainCalls } from "./drains.js";
import { EndWaits } from "./end-waits.js";
import { endpointCalls } from "./endpoints.js";
import { formatFault, formats } from "./formats.js";
import { documented } from "./header-docs.js";
import { InFlight } from "./in-flight.js";
import { leaseCalls } from "./leases.js";
import { listenerCalls } from "./listeners.js";
import { nodeDrainCalls } from "./node-drains.js";
import { nodeCalls } from "./nodes.js";
import { objectStatusCalls } from "./object-status.js";
import { operationCalls } from "./operations.js";
import { Paths } from "./paths.js";
import { toAppError, toProblemDetails } from "./problem-details.js";
import { rebalanceCalls } from "./rebalances.js";
import { revisionCalls } from "./revisions.js";
import { rollbackCalls } from "./rollback.js";
import { rolloutCalls } from "./rollouts.js";
import { routeCalls } from "./routes.js";
import { parseStrictJson } from "./strict-json.js";
import { Writes } from "./writes.js";

/** The admin API, ready to listen. */
export interface ApiServer {
  /** Resolves with the port that was taken (`port` 0: any). @throws the socket's error, EADDRINUSE for one */
  listen(address: { readonly host: string; readonly port: number }): Promise<number>;
  /** Takes no new requests, ends waits for Envoys with what they have, lets the rest finish, for `closeTimeoutMs` at most. */
  close(): Promise<void>;
}

const maxParamLength = 255;
/** Server and proxies look for slow clients this often. */
const connectionsCheckingIntervalMs = 1000;

/** Limits that are met before a call begins, as metrics name them: their settings, without CHANCERY_. */
type LimitName =
  | "api_max_body_bytes"
  | "api_max_endpoints_body_bytes"
  | "api_max_connections"
  | "api_max_in_flight"
  | "api_request_timeout_ms";
/** What watches the process is answered however much it has to do. */
const watchmen: readonly string[] = ["/healthz", "/readyz", "/metrics"];

/** `exactlyOneOf: [keys]`: JSON Schema could only say it by a `oneOf` whose problems nobody understands. */
function exactlyOneOf(keys: readonly string[], value: object): boolean {
  const given = keys.filter((key) => Object.hasOwn(value, key));
  exactlyOneOf.errors = [{ keyword: "exactlyOneOf", params: { keys, given } }];
  return given.length === 1;
}
exactlyOneOf.errors = [] as { keyword: string; params: { keys: readonly string[]; given: readonly string[] } }[];

const ajvOptions: NonNullable<NonNullable<FastifyServerOptions["ajv"]>["customOptions"]> = {
  allErrors: true, // All problems at once; strict-json.ts bounds how many there can be.
  removeAdditional: false,
  coerceTypes: false,
  useDefaults: false, // fromBody fills them in, where the types can see it.
  discriminator: true,
  verbose: true,
  code: { optimize: false }, // Shorter text, no faster checks (measured): and a sixth of a start's CPU.
  formats: Object.fromEntries(
    Object.keys(formats).map((format) => [format, (text: string) => formatFault(format, text) === undefined]),
  ),
  keywords: [{ keyword: "exactlyOneOf", type: "object", schemaType: "array", validate: exactlyOneOf, errors: true }],
};

function createFastify(
  limits: ApiLimits,
  onBadUrl: (error: unknown, request: FastifyRequest, reply: FastifyReply) => void,
  onLimit: (limit: LimitName) => void,
): Api {
  return fastify({
    logger: false, // Requests are logged by what they did (writes.ts) and where they failed.
    bodyLimit: limits.maxBodyBytes,
    requestTimeout: limits.requestTimeoutMs,
    connectionTimeout: limits.connectionTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    http: {
      headersTimeout: limits.headersTimeoutMs,
      connectionsCheckingInterval: connectionsCheckingIntervalMs,
      maxHeaderSize: 16_384,
    },
    routerOptions: { maxParamLength },
    forceCloseConnections: "idle",
    return503OnClosing: false,
    genReqId: (request: IncomingMessage) => requestIdOf(request.headers) ?? randomUUID(),
    ajv: { customOptions: ajvOptions },
    frameworkErrors: onBadUrl,
    clientErrorHandler(error, socket) {
      if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") onLimit("api_request_timeout_ms");
      answerBrokenRequest(error, socket);
    },
  }).withTypeProvider<TypeBoxTypeProvider>();
}

/** Bytes that are no HTTP request, or one that took too long: there is no request to answer, only a socket. */
function answerBrokenRequest(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) return void socket.destroy();
  const status =
    error.code === "ERR_HTTP_REQUEST_TIMEOUT"
      ? "408 Request Timeout"
      : error.code === "HPE_HEADER_OVERFLOW"
        ? "431 Request Header Fields Too Large"
        : "400 Bad Request";
  const [number = "400", ...words] = status.split(" ");
  const body = JSON.stringify({ type: "about:blank", title: words.join(" "), status: Number(number) });
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

/** Query parameters are text; where the schema wants an integer, one that is written as such becomes it. Bodies are never coerced. */
function readQueryIntegers(request: FastifyRequest): void {
  const schema: FastifySchema | undefined = request.routeOptions.schema;
  const { query } = request;
  if (typeof query !== "object" || query === null) return;
  for (const [key, value] of Object.entries(query)) {
    if (typeof value === "string" && /^\d{1,15}$/.test(value) && isInteger(schema?.querystring, key))
      Reflect.set(query, key, Number(value));
  }
}

function isInteger(schema: unknown, key: string): boolean {
  const step = (value: unknown, name: string): unknown =>
    typeof value === "object" && value !== null && Object.hasOwn(value, name) ? Reflect.get(value, name) : undefined;
  return step(step(step(schema, "properties"), key), "type") === "integer";
}

function setHooks(
  api: Api,
  { metrics, log, limits, closing }: ApiContext,
  paths: Paths,
  onLimit: (limit: LimitName) => void,
): InFlight {
  const inFlight = new InFlight((count) => metrics.set("api_requests_in_flight", {}, count));
  api.addHook("onRoute", ({ url, method }) => paths.add(url, method));
  api.addHook("onRequest", async (request, reply) => {
    reply.raw.once("close", inFlight.begin()); // Not in onResponse: a client that is cut off gets no response.
    reply.header("x-request-id", request.id);
    reply.header("cache-control", "no-store");
    const { maxInFlight } = limits;
    // One connection may bring any number (HTTP/1.1 pipelining): connections are no bound on requests.
    if (inFlight.count > maxInFlight && !watchmen.includes(request.routeOptions.url ?? "")) {
      onLimit("api_max_in_flight");
      throw new AppError("too_many_requests", { maxInFlight, detail: `${maxInFlight} requests are being answered already` });
    }
    if (!request.is404) return;
    const allow = paths.methodsOf(request.url);
    throw allow.length > 0
      ? new AppError("method_not_allowed", { allow: allow.join(", ") })
      : new AppError("not_found", { detail: "there is no such path; /docs shows those that there are" });
  });
  api.addHook("preValidation", async (request) => readQueryIntegers(request));
  api.addHook("onSend", async (_, reply) => {
    // A connection that was busy when the server began to close would stay open, idle.
    if (closing.aborted) reply.header("connection", "close");
  });
  api.addHook("onResponse", async (request, reply) => {
    const labels = { method: request.method, route: request.routeOptions.url ?? "none", status: reply.statusCode };
    metrics.observe("api_request_seconds", labels, reply.elapsedTime / 1000);
    log.debug({ requestId: request.id, ...labels, ms: Math.round(reply.elapsedTime) }, "request");
  });
  return inFlight;
}

function createErrorHandler(
  { log, limits }: ApiContext,
  onLimit: (limit: LimitName) => void,
): (thrown: unknown, request: FastifyRequest, reply: FastifyReply) => void {
  return (thrown, request, reply) => {
    const error = toAppError(thrown);
    const facts = { requestId: request.id, method: request.method, url: request.url, code: error.code };
    if (error.code === "too_large") {
      const isLarger = request.routeOptions.bodyLimit === limits.maxEndpointsBodyBytes;
      onLimit(isLarger ? "api_max_endpoints_body_bytes" : "api_max_body_bytes");
    }
    if (error.code === "internal") log.error({ ...facts, err: error.cause ?? error }, "a request failed for a reason of ours");
    // Who asks whether it is ready is told, as often as they ask; that is no news for the log.
    else if (errorCodes[error.code].status >= 500 && error.code !== "starting")
      log.warn({ ...facts, ...failureFacts(error) }, "a request could not be answered");
    const { status, headers, body } = toProblemDetails(error, request.id, request.url);
    reply
      .code(status)
      .headers({ ...headers, "x-request-id": request.id })
      .serializer(JSON.stringify)
      .send(body);
  };
}

async function addDocs(api: Api): Promise<void> {
  await api.register(fastifySwagger, {
    transform: ({ schema, url, route }) => ({ schema: documented(schema, route.method, url), url }),
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "Chancery admin API",
        version: "1",
        description: "Configuration of an Envoy fleet. Every failure is problem details (RFC 9457) with a stable `code`.",
      },
      tags: ["clusters", "endpoints", "listeners", "routes", "changes", "drains", "revisions", "nodes", "operations"].map(
        (name) => ({
          name,
        }),
      ),
    },
  });
  await api.register(fastifySwaggerUi, { routePrefix: "/docs", staticCSP: true });
}

/** Nothing is reached until `listen`; the database need not be up. */
export async function createApi(options: ApiOptions): Promise<ApiServer> {
  const limits = { ...defaultApiLimits, ...options.limits };
  const log = options.log.child({ room: "api" });
  const closing = new AbortController();
  const waiting = {
    callerWaits: new CallerWaits(limits.maxWaits, options.metrics),
    rolloutEnds: new EndWaits((names) => options.store.rollouts.ended(names)),
    closing: closing.signal,
  };
  const writes = new Writes({ ...options, ...waiting, log });
  const context: ApiContext = { ...options, ...waiting, limits, log, writes };
  const onLimit = (limit: LimitName): void => options.metrics.count("limit_hits_total", { limit });
  const onError = createErrorHandler(context, onLimit);
  const api = createFastify(limits, onError, onLimit);
  const paths = new Paths();
  api.removeAllContentTypeParsers();
  api.addContentTypeParser("application/json", { parseAs: "buffer" }, async (request: FastifyRequest, body: Buffer) =>
    body.length === 0 && request.method === "DELETE" ? undefined : parseStrictJson(body),
  );
  api.setSerializerCompiler(() => (answer) => JSON.stringify(answer));
  api.setErrorHandler(onError);
  const inFlight = setHooks(api, context, paths, onLimit);
  await addDocs(api);
  for (const add of [
    clusterCalls,
    endpointCalls,
    leaseCalls,
    listenerCalls,
    routeCalls,
    changeCalls,
    revisionCalls,
    rollbackCalls,
    rolloutCalls,
    auditCalls,
    drainCalls,
    rebalanceCalls,
    nodeDrainCalls,
    nodeCalls,
    objectStatusCalls,
    operationCalls,
  ])
    add(api, context);
  await api.ready();
  api.server.maxConnections = limits.maxConnections;
  api.server.on("drop", () => onLimit("api_max_connections"));
  return {
    async listen({ host, port }) {
      await api.listen({ host, port });
      const address = api.server.address();
      return typeof address === "object" && address !== null ? address.port : port;
    },
    async close() {
      closing.abort();
      const closed = api.close();
      const timer = new AbortController();
      await Promise.race([
        inFlight.none(),
        setTimeout(limits.closeTimeoutMs, undefined, { signal: timer.signal }).catch(() => {}),
      ]);
      timer.abort();
      // Also those that never sent a request, which Node does not count as idle.
      api.server.closeAllConnections();
      await closed;
    },
  };
}
