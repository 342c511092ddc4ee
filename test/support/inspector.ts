// Garbage of a replica, collected from outside: memory is compared after it. In: the port of its inspector
// (`NODE_OPTIONS=--inspect=127.0.0.1:<port>`). Called by tests that measure memory.
import { WebSocket } from "ws";

/** Resolves when all garbage is gone. */
export async function collectGarbage(port: number): Promise<void> {
  const targets = (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()) as { webSocketDebuggerUrl: string }[];
  const socket = new WebSocket(targets[0]?.webSocketDebuggerUrl ?? "");
  await new Promise((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("error", reject);
  });
  for (const id of [1, 2, 3]) {
    const answered = new Promise((resolve) => socket.once("message", resolve));
    socket.send(JSON.stringify({ id, method: "HeapProfiler.collectGarbage" }));
    await answered;
  }
  socket.close();
}
