// Backends below HTTP: a TCP echo that also answers PING, a TLS server for passthrough, and a UDP echo. Each names itself.
// The protocol over TCP and TLS: one line in, `<name> <line>` out; the line `PING` gives `PONG` while `healthy`.
import { createSocket } from "node:dgram";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { onCleanup } from "./cleanup.js";
import { selfSigned } from "./self-signed.js";

export interface StreamBackend {
  readonly name: string;
  readonly port: number;
  readonly address: string;
  /** false: PING gets no answer, everything else goes on. */
  healthy: boolean;
  /** Connections that sent at least one line other than PING. */
  served(): number;
  open(): number;
  close(): Promise<void>;
}

function serveLines(backend: { name: string; healthy: boolean }, onFirstLine: () => void, socket: Socket): void {
  let rest = "";
  let first = true;
  socket.on("error", () => {});
  socket.setNoDelay(true).setEncoding("utf8");
  socket.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "PING") {
        if (backend.healthy) socket.write("PONG\n");
        continue;
      }
      if (first) onFirstLine();
      first = false;
      socket.write(`${backend.name} ${line}\n`);
    }
  });
}

async function startLines(name: string, create: (serve: (socket: Socket) => void) => Server): Promise<StreamBackend> {
  const sockets = new Set<Socket>();
  let served = 0;
  const state = { name, healthy: true };
  const server = create((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    serveLines(state, () => served++, socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    forget();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  const forget = onCleanup(`stream backend ${name}`, close);
  return Object.assign(state, { port, address: `127.0.0.1:${port}`, served: () => served, open: () => sockets.size, close });
}

/** A TCP server; also the one for `tcp` health checks with `send: "PING\n"`. */
export const startTcpBackend = (name: string): Promise<StreamBackend> => startLines(name, (serve) => createServer(serve));

/** A TLS server with a certificate of its own making; clients must not verify it. */
export const startTlsBackend = (name: string): Promise<StreamBackend> =>
  startLines(name, (serve) => createTlsServer(selfSigned(name), serve));

export interface UdpBackend {
  readonly name: string;
  readonly port: number;
  readonly address: string;
  datagrams(): number;
}

/** Sends every datagram back as `<name> <text>`. */
export async function startUdpBackend(name: string): Promise<UdpBackend> {
  const socket = createSocket("udp4");
  let datagrams = 0;
  socket.on("message", (message, from) => {
    datagrams++;
    socket.send(`${name} ${message.toString()}`, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  onCleanup(`UDP backend ${name}`, () => new Promise<void>((resolve) => socket.close(resolve)));
  const { port } = socket.address();
  return { name, port, address: `127.0.0.1:${port}`, datagrams: () => datagrams };
}
