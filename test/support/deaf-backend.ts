// An HTTP backend whose connections can be made to wait: stopped, with a full queue of connections, its kernel answers no further SYN.
// In: nothing. Out: its port, and how to make it deaf and hear again. Called by the tests of requests that wait for a connection.
import { connect, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { onCleanup } from "./cleanup.js";
import { startChild } from "./processes.js";
import { waitFor } from "./wait.js";

export interface DeafBackend {
  readonly port: number;
  readonly address: string;
  /** Connections made from now on wait, until it hears again. */
  deafen(): Promise<void>;
  hear(): void;
}

/** Linux keeps one more than the backlog. */
const queued = 3;

export async function startDeafBackend(): Promise<DeafBackend> {
  const child = startChild("deaf", process.execPath, [fileURLToPath(new URL("deaf-server.mjs", import.meta.url))], {});
  const port = await waitFor("the deaf backend listens", () => Number(/port (\d+)/.exec(child.log())?.[1]));
  const fillers: Socket[] = [];
  onCleanup("fillers", () => {
    for (const socket of fillers) socket.destroy();
  });
  return {
    port,
    address: `127.0.0.1:${port}`,
    deafen: async () => {
      child.signal("SIGSTOP");
      for (let count = 0; count < queued; count++) {
        const socket = connect({ host: "127.0.0.1", port });
        socket.on("error", () => undefined);
        fillers.push(socket);
      }
      await waitFor(
        "its queue is full",
        async () => fillers.filter((socket) => socket.readyState === "open").length >= queued - 1,
      );
    },
    hear: () => child.signal("SIGCONT"),
  };
}
