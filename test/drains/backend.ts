// A backend of each kind that can be stopped as a process is: all its sockets at once, whatever is on them. It knows what is in use on it,
// which nobody else is asked. In: a kind, a name, a port. Out: Backend. Called by fleet.ts and the tests of drains.
import { createServer } from "node:http";
import { createServer as createServer2, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { createServer as createTcpServer, type Server, type Socket } from "node:net";
import { WebSocketServer } from "ws";
import { onCleanup } from "../support/cleanup.js";
import type { Kind } from "./kinds.js";
import { plainAnswer, serveRequests } from "./plain-http.js";

export interface Backend {
  readonly kind: Kind;
  readonly name: string;
  readonly port: number;
  readonly address: string;
  /** Requests that have no answer yet, or sessions that are open. */
  inUse(): number;
  /** Requests or sessions that ever began. */
  begun(): number;
  /** As a process that ends: every socket is destroyed at once. */
  stop(): Promise<void>;
  isStopped(): boolean;
}

class Use {
  begun = 0;
  now = 0;

  /** Something begins; the result is to be called when it is over, once or more. */
  begin(): () => void {
    this.begun++;
    this.now++;
    let isOver = false;
    return () => {
      if (!isOver) this.now--;
      isOver = true;
    };
  }
}

/** How long a request asks to take: `/?ms=200`. */
const delayOf = (path = ""): number => Number(/ms=(\d+)/.exec(path)?.[1] ?? 0);

function serveHttp(name: string, use: Use): Server {
  const answer = plainAnswer(name);
  return createTcpServer((socket) => {
    serveRequests(socket, (path, send) => {
      const over = use.begin();
      const end = (): void => {
        over();
        if (!socket.destroyed) send(answer);
      };
      const ms = delayOf(path);
      if (ms > 0) setTimeout(end, ms);
      else end();
    });
  });
}

function serveWebSockets(name: string, use: Use): Server {
  const server = createServer();
  const webSockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request, socket, head) => {
    socket.on("close", use.begin()).on("error", () => {});
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on("error", () => {});
      webSocket.on("message", (message) => webSocket.send(`${name} ${String(message)}`));
    });
  });
  return server;
}

/** Its bytes are sent back as they come: whole messages, as gRPC frames them. */
function echo(stream: ServerHttp2Stream, name: string): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc", "x-backend": name }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.pipe(stream);
}

function serveHttp2(name: string, use: Use): Server {
  const server = createServer2();
  server.on("sessionError", () => {});
  server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    stream.on("close", use.begin()).on("error", () => {});
    if (headers["content-type"]?.startsWith("application/grpc")) return echo(stream, name);
    stream.resume();
    const answer = (): void => {
      if (stream.destroyed) return;
      stream.respond({ ":status": 200, "x-backend": name });
      stream.end("ok\n");
    };
    setTimeout(answer, delayOf(headers[":path"] as string | undefined));
  });
  return server;
}

function serveTcp(name: string, use: Use): Server {
  return createTcpServer((socket) => {
    socket.on("close", use.begin());
    let rest = "";
    socket.setNoDelay(true).setEncoding("utf8");
    socket.on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) socket.write(`${name} ${line}\n`);
    });
  });
}

const serve = { http1: serveHttp, websocket: serveWebSockets, http2: serveHttp2, grpc: serveHttp2, tcp: serveTcp } as const;

/** Starts one. It is stopped when the test file ends. */
export async function startBackend(kind: Kind, name: string, port: number): Promise<Backend> {
  const use = new Use();
  const sockets = new Set<Socket>();
  const server = serve[kind](name, use);
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  let isStopped = false;
  const stop = async (): Promise<void> => {
    forget();
    isStopped = true;
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  const forget = onCleanup(`backend ${name}`, stop);
  return {
    kind,
    name,
    port,
    address: `127.0.0.1:${port}`,
    inUse: () => use.now,
    begun: () => use.begun,
    stop,
    isStopped: () => isStopped,
  };
}
