// A port for a GrpcServer of a test, without the door. In: the server. Out: its port. Closed when the test file ends.
import { createServer } from "node:net";
import type { GrpcServer } from "../../src/xds/grpc-server.js";
import { onCleanup } from "./cleanup.js";

export async function listenFor(server: Pick<GrpcServer, "admit">): Promise<number> {
  const listener = createServer((socket) => server.admit(socket));
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  onCleanup("listener", () => void listener.close());
  const address = listener.address();
  if (address === null || typeof address === "string") throw new Error("a port was asked for");
  return address.port;
}
