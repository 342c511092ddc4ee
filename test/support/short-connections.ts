// Connections that ask once and go: who answers a new TCP connection, a TLS name, a datagram. Called by the tests of splits.
import { createSocket } from "node:dgram";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

export interface ConnectOptions {
  /** The loopback address to come from, e.g. 127.0.0.9. */
  readonly from?: string;
  readonly timeoutMs?: number;
}

function askSocket(socket: Socket, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let heard = "";
    const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    socket.setNoDelay(true).setEncoding("utf8").write("who\n");
    socket.on("data", (text: string) => {
      heard += text;
      if (!heard.includes("\n")) return;
      resolve(heard.split(" ", 1)[0] ?? "");
      socket.destroy();
    });
    socket.on("error", reject);
    socket.on("close", () => {
      clearTimeout(timer);
      reject(new Error("closed without an answer"));
    });
  });
}

/** The backend that answers a new TCP connection. @throws the connection's error. */
export function askTcp(port: number, { from, timeoutMs = 5_000 }: ConnectOptions = {}): Promise<string> {
  return askSocket(connect({ host: "127.0.0.1", port, ...(from === undefined ? {} : { localAddress: from }) }), timeoutMs);
}

/** The backend that answers a new TLS connection to `servername`. @throws the connection's error. */
export function askTls(port: number, servername: string, timeoutMs = 5_000): Promise<string> {
  return askSocket(connectTls({ host: "127.0.0.1", port, servername, rejectUnauthorized: false }), timeoutMs);
}

/** The backend that answers a datagram from a new socket. @throws when none answers in time. */
export function askUdp(port: number, timeoutMs = 2_000): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createSocket("udp4");
    const timer = setTimeout(() => {
      socket.close();
      reject(new Error(`no datagram came back within ${timeoutMs} ms`));
    }, timeoutMs);
    socket.on("message", (message) => {
      clearTimeout(timer);
      socket.close();
      resolve(message.toString().split(" ", 1)[0] ?? "");
    });
    socket.send("who", port, "127.0.0.1");
  });
}

/** Backend → how many of `count` new TCP connections it answered, `width` at a time. Any that fails is an error. */
export async function countTcp(port: number, count: number, width = 16): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  let started = 0;
  const work = async (): Promise<void> => {
    while (started < count) {
      started++;
      const backend = await askTcp(port);
      counts.set(backend, (counts.get(backend) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: width }, work));
  return counts;
}
