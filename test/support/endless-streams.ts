// Responses that never end: backends that send a line every 100 ms, over HTTP/1 or as a gRPC stream over HTTP/2, and who holds them.
// In: a name or a port. Out: a backend, or streams with their backend and their end. Called by the tests of drains.
import { createServer, get } from "node:http";
import { connect, createServer as createServer2 } from "node:http2";
import type { AddressInfo, Server, Socket } from "node:net";
import { onCleanup } from "./cleanup.js";
import { waitFor } from "./wait.js";

const everyMs = 100;

export type StreamProtocol = "http" | "grpc";

export interface EndlessBackend {
  readonly name: string;
  readonly port: number;
  readonly address: string;
}

export interface EndlessStream {
  /** The backend that answered; "" before that. */
  backend: string;
  lines: number;
  ended: boolean;
  /** From the client's side. */
  close(): void;
}

interface Writable {
  write(text: string): unknown;
  on(event: "close", listener: () => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
}

function sayForEver(to: Writable): void {
  const timer = setInterval(() => to.write("line\n"), everyMs);
  to.on("close", () => clearInterval(timer));
  to.on("error", () => clearInterval(timer));
}

function serverOf(name: string, protocol: StreamProtocol): Server {
  if (protocol === "http") {
    return createServer((_request, response) => {
      response.writeHead(200, { "x-backend": name });
      sayForEver(response);
    });
  }
  const server = createServer2();
  server.on("stream", (stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc", "x-backend": name });
    sayForEver(stream);
  });
  server.on("sessionError", () => {});
  return server;
}

/** Starts one on a port of the system's choice. It closes when the test file ends. */
export async function startEndlessBackend(name: string, protocol: StreamProtocol): Promise<EndlessBackend> {
  const server = serverOf(name, protocol);
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onCleanup(`endless backend ${name}`, () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { name, port, address: `127.0.0.1:${port}` };
}

const hear = (stream: EndlessStream, chunk: string): void => {
  stream.lines += chunk.split("line").length - 1;
};

function overHttp1(port: number, path: string): EndlessStream {
  const stream: EndlessStream = { backend: "", lines: 0, ended: false, close: () => request.destroy() };
  const end = (): void => {
    stream.ended = true;
  };
  const request = get({ host: "127.0.0.1", port, path, agent: false }, (response) => {
    stream.backend = String(response.headers["x-backend"] ?? `status ${response.statusCode}`);
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => hear(stream, chunk));
    response.on("error", end).on("close", end);
  });
  request.on("error", end);
  onCleanup("an endless stream", stream.close);
  return stream;
}

function overHttp2(port: number, path: string): EndlessStream {
  const stream: EndlessStream = { backend: "", lines: 0, ended: false, close: () => session.destroy() };
  const end = (): void => {
    stream.ended = true;
  };
  const session = connect(`http://127.0.0.1:${port}`);
  session.on("error", end);
  const request = session.request({ ":path": path, ":method": "POST", "content-type": "application/grpc", te: "trailers" });
  request.setEncoding("utf8");
  request.on("response", (headers) => {
    stream.backend = String(headers["x-backend"] ?? `status ${headers[":status"]}`);
  });
  request.on("data", (chunk: string) => hear(stream, chunk));
  request.on("error", end).on("close", end);
  request.end();
  onCleanup("an endless stream", stream.close);
  return stream;
}

/** Opens `count` of them, each on a connection of its own, and waits until each has its first line. */
export async function openEndless(
  port: number,
  count: number,
  protocol: StreamProtocol,
  path: string,
): Promise<readonly EndlessStream[]> {
  const open = protocol === "http" ? overHttp1 : overHttp2;
  const streams = Array.from({ length: count }, () => open(port, path));
  await waitFor(`${count} endless streams`, () => streams.every(({ lines }) => lines > 0), { timeoutMs: 10_000 });
  return streams;
}
