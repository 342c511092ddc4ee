// Free ports for Envoy's listeners, its admin page and Chancery's two servers.
// Below the range that the system takes for outgoing connections: a load of new connections must not take a listener's port.
// Probed exclusively: Envoy shares its ports by reuse_port, and so would find a leftover Envoy's port free.
import { createSocket } from "node:dgram";
import { createServer } from "node:net";

const first = 12_000;
const last = 31_999;
const given = new Set<number>();

const tcpIsFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: "0.0.0.0", port, exclusive: true }, () => server.close(() => resolve(true)));
  });

const udpIsFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = createSocket("udp4");
    socket.once("error", () => resolve(false));
    socket.bind({ address: "0.0.0.0", port, exclusive: true }, () => socket.close(() => resolve(true)));
  });

/** A port that nobody has, TCP and UDP alike; never the same twice in one process. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = first + Math.floor(Math.random() * (last - first + 1));
    if (given.has(port)) continue;
    given.add(port);
    if ((await tcpIsFree(port)) && (await udpIsFree(port))) return port;
  }
  throw new Error("no free port found in 200 tries");
}

/** `count` free ports. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) ports.push(await freePort());
  return ports;
}
