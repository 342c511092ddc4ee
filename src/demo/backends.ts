// What the demo's routes lead to: an HTTP service in two versions that can be made to fail or to dawdle, and a TCP echo.
// In: an address and the first of five ports. Out: running servers. Called by up.ts, and by `chancery demo-backends` in docker-compose.yml.
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTcpServer, type Server, type Socket } from "node:net";

/** What each port serves, in the order of the ports. */
export const backendKinds = [
  { name: "checkout v1", cluster: "checkout-v1", protocol: "http" },
  { name: "checkout v1", cluster: "checkout-v1", protocol: "http" },
  { name: "checkout v2", cluster: "checkout-v2", protocol: "http" },
  { name: "checkout v2", cluster: "checkout-v2", protocol: "http" },
  { name: "echo", cluster: "echo", protocol: "tcp" },
] as const;

/** ok: answers. fail: 500 to everything, its health check too. slow: answers after two seconds. */
const modes = ["ok", "fail", "slow"] as const;
type Mode = (typeof modes)[number];
const slowMs = 2000;

function answer(response: ServerResponse, status: number, body: string, version: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8", "x-backend": version });
  response.end(`${body}\n`);
}

/** `POST /mode/<mode>`, only straight to the backend's own port: through an Envoy it would reach any of them. */
function modeAsked(request: IncomingMessage, port: number): Mode | undefined {
  const isDirect = request.method === "POST" && request.headers.host?.endsWith(`:${port}`) === true;
  return isDirect ? modes.find((mode) => request.url === `/mode/${mode}`) : undefined;
}

function httpBackend(version: string, port: number): Server {
  let mode: Mode = "ok";
  return createHttpServer((request, response) => {
    request.resume();
    const asked = modeAsked(request, port);
    if (asked !== undefined) {
      mode = asked;
      return answer(response, 200, `${version} on port ${port} is now ${mode}`, version);
    }
    const body = request.url === "/healthz" ? "status: ok" : `${version} on port ${port}: ${request.method} ${request.url}`;
    if (mode === "fail") return answer(response, 500, `${version} on port ${port} fails`, version);
    if (mode === "slow") setTimeout(() => answer(response, 200, body, version), slowMs);
    else answer(response, 200, body, version);
  });
}

function echoBackend(): Server {
  return createTcpServer((socket) => {
    socket.on("error", () => socket.destroy()); // A client that goes away in the middle is no fault of ours.
    socket.pipe(socket);
  });
}

/** Keeps track of connections, so that closing does not wait for their clients. */
function listen(server: Server, host: string, port: number): Promise<() => Promise<void>> {
  const open = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  });
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of open) socket.destroy();
    });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => resolve(close));
  });
}

/** Starts all of them; resolves with what stops them. @throws what listening fails with */
export async function startBackends(host: string, firstPort: number): Promise<() => Promise<void>> {
  const closes = await Promise.all(
    backendKinds.map(({ name, protocol }, index) =>
      listen(protocol === "http" ? httpBackend(name, firstPort + index) : echoBackend(), host, firstPort + index),
    ),
  );
  return async () => {
    await Promise.all(closes.map((close) => close()));
  };
}
