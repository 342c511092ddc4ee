// A small HTTP service for Envoy to send traffic to: it names itself in every answer, and can be made to fail, lie or dawdle.
// WebSockets on the same port. In: a name. Out: its port, its counts, its switches. Called by the feature tests.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { onCleanup } from "./cleanup.js";

export interface HttpBackend {
  readonly name: string;
  readonly port: number;
  /** `127.0.0.1:port`, the key of its endpoint. */
  readonly address: string;
  /** Switches, for the requests to come. `status` and `body` hold for health checks too. */
  status: number;
  body: string;
  delayMs: number;
  /** Requests that were no health checks, and health checks, since the start. */
  readonly requests: number;
  readonly checks: number;
  /** Times by performance.now(), 0 before the first. */
  readonly lastRequestAt: number;
  /** Path → when health checks of it came, by performance.now(). */
  readonly checkTimes: ReadonlyMap<string, readonly number[]>;
  openWebSockets(): number;
  close(): Promise<void>;
}

/** What the backend saw, in the answer's headers: the tests of rewrites and matches read it there. */
function describe(request: IncomingMessage, name: string): Record<string, string> {
  return {
    "x-backend": name,
    "x-seen-path": request.url ?? "",
    "x-seen-host": request.headers.host ?? "",
    "x-seen-method": request.method ?? "",
    "x-seen-attempt": String(request.headers["x-envoy-attempt-count"] ?? ""),
  };
}

const isHealthCheck = (request: IncomingMessage): boolean => request.headers["user-agent"]?.startsWith("Envoy/HC") ?? false;

function echoWebSocket(socket: WebSocket, name: string): void {
  socket.on("error", () => {});
  socket.on("message", (message) => socket.send(`${name} ${String(message)}`));
}

/** Starts one on a port of the system's choice. It closes when the test file ends. */
export async function startHttpBackend(name: string): Promise<HttpBackend> {
  const counts = { requests: 0, checks: 0, lastRequestAt: 0 };
  const checkTimes = new Map<string, number[]>();
  const switches = { status: 200, body: `hello from ${name}\n`, delayMs: 0 };
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(switches.status, describe(request, name));
    response.end(request.method === "HEAD" ? undefined : switches.body);
  };
  const server = createServer((request, response) => {
    request.resume();
    if (isHealthCheck(request)) {
      counts.checks++;
      const path = request.url ?? "";
      checkTimes.set(path, [...(checkTimes.get(path) ?? []), performance.now()]);
      answer(request, response);
      return;
    }
    counts.requests++;
    counts.lastRequestAt = performance.now();
    if (switches.delayMs > 0) setTimeout(answer, switches.delayMs, request, response);
    else answer(request, response);
  });
  // Longer than any test keeps a connection idle: a close by the backend would race with a request of Envoy's.
  server.keepAliveTimeout = 300_000;
  const webSockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request, socket, head) => {
    webSockets.handleUpgrade(request, socket, head, (webSocket) => echoWebSocket(webSocket, name));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    forget();
    for (const client of webSockets.clients) client.terminate();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  const forget = onCleanup(`HTTP backend ${name}`, close);
  const fixed = { name, port, address: `127.0.0.1:${port}`, checkTimes, openWebSockets: () => webSockets.clients.size, close };
  const live = {
    get requests() {
      return counts.requests;
    },
    get checks() {
      return counts.checks;
    },
    get lastRequestAt() {
      return counts.lastRequestAt;
    },
  };
  // Getters and switches on one object: reading a count gives the count of that moment.
  return Object.defineProperties(switches, {
    ...Object.getOwnPropertyDescriptors(fixed),
    ...Object.getOwnPropertyDescriptors(live),
  }) as typeof switches & typeof fixed & typeof live;
}
