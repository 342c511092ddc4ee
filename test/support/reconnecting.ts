// Clients with one TCP connection each, which they make again a moment after it was closed: as message queues and databases have them.
// In: a port and a count. Out: who is where, and when whose connection was closed. Called by the tests of rebalances.
import { connect, type Socket } from "node:net";
import { onCleanup } from "./cleanup.js";
import { waitFor } from "./wait.js";

/** Before a client connects again, at least and at most, ms. */
const backOffMs = [20, 120] as const;

/** One connection that was closed. */
export interface Close {
  readonly backend: string;
  /** ms, of performance.now(). */
  readonly at: number;
}

export interface Reconnecting {
  /** Backend → connections that have its answer. */
  now(): ReadonlyMap<string, number>;
  closes(): readonly Close[];
  close(): void;
}

/** Waits until all have an answer. */
export async function startReconnecting(port: number, count: number): Promise<Reconnecting> {
  const backends = new Map<number, string>();
  const sockets = new Map<number, Socket>();
  const closes: Close[] = [];
  const timers = new Set<NodeJS.Timeout>();
  let isOver = false;
  const open = (client: number): void => {
    if (isOver) return;
    const socket = connect({ host: "127.0.0.1", port });
    sockets.set(client, socket);
    socket.on("connect", () => socket.write("who\n"));
    socket.on("data", (text) => backends.set(client, String(text).split(" ", 1)[0] ?? ""));
    socket.on("error", () => {});
    socket.on("close", () => {
      const backend = backends.get(client);
      if (backend !== undefined && !isOver) closes.push({ backend, at: performance.now() });
      backends.delete(client);
      const [least, most] = backOffMs;
      const timer = setTimeout(
        () => {
          timers.delete(timer);
          open(client);
        },
        least + Math.random() * (most - least),
      );
      timers.add(timer);
    });
  };
  for (let client = 0; client < count; client++) open(client);
  const close = (): void => {
    isOver = true;
    forget();
    for (const timer of timers) clearTimeout(timer);
    for (const socket of sockets.values()) socket.destroy();
  };
  const forget = onCleanup("clients that reconnect", close);
  await waitFor("all clients are connected", () => backends.size === count, { timeoutMs: 10_000 });
  return {
    now: () => {
      const sums = new Map<string, number>();
      for (const backend of backends.values()) sums.set(backend, (sums.get(backend) ?? 0) + 1);
      return sums;
    },
    closes: () => closes,
    close,
  };
}
