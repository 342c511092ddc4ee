// A control plane that goes in the middle of a message. Real HTTP/2 on both sides of an agent.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { Agent } from "../../../src/agent/agent.js";
import { createLogger } from "../../../src/telemetry/logger.js";
import { toFramed } from "../../../src/xds/grpc-status.js";
import { onCleanup } from "../../support/cleanup.js";

/** DeltaDiscoveryRequest { node { id: "e" } }. */
const request = Buffer.from([0x0a, 0x03, 0x0a, 0x01, 0x65]);
const path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

// Mutant: a reset of the stream in the turn of its trailers, which overtakes them.
test("a control plane that goes in the middle of a response: the Envoy's stream ends as UNAVAILABLE, and nothing is kept", async () => {
  const half = toFramed([Buffer.alloc(1_000)]).subarray(0, 300);
  let session: ServerHttp2Session | undefined;
  const upstream = createServer().on("stream", (stream) => {
    session = stream.session as ServerHttp2Session; // A stream that is open has one.
    stream.on("error", () => undefined);
    stream.respond({ ":status": 200, "content-type": "application/grpc" });
    stream.write(half);
  });
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  const folder = mkdtempSync(join(tmpdir(), "agent-"));
  const agent = new Agent({
    listen: { host: "127.0.0.1", port: 0 },
    controlPlanes: [{ host: "127.0.0.1", port: (upstream.address() as AddressInfo).port }], // It listens on a port.
    folder,
    log: createLogger("silent"),
  });
  const { port } = await agent.listen();
  const client = connect(`http://127.0.0.1:${port}`);
  onCleanup("the agent and its ends", async () => {
    client.destroy();
    await agent.close();
    upstream.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const call = client.request({ ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" });
  const trailers = new Promise<unknown>((resolve) => call.on("trailers", (given) => resolve(given["grpc-status"])));
  const got: Buffer[] = [];
  const ended = new Promise<void>((resolve) => call.on("close", resolve));
  call.on("data", (chunk: Buffer) => {
    got.push(chunk);
    if (Buffer.concat(got).length === half.length) session?.destroy();
  });
  call.write(toFramed([request]));
  expect(await trailers).toBe("14");
  await ended;
  expect(Buffer.concat(got)).toEqual(half);
  expect(await agent.nodes()).toEqual([{ node: "e", gateway: "", serving: "nobody" }]);
  expect((await agent.metrics()).text).toMatch(/^chancery_agent_messages_total\{direction="response"\} 0$/m);
});

// Mutant: the folder is not looked at before the first save.
test("a folder that can't be written to is told at the start, and the agent serves all the same", async () => {
  const folder = join(mkdtempSync(join(tmpdir(), "agent-")), "file");
  writeFileSync(folder, "");
  const lines: string[] = [];
  const log = createLogger("error", { write: (line) => void lines.push(line) });
  const agent = new Agent({ listen: { host: "127.0.0.1", port: 0 }, controlPlanes: [], folder, log });
  onCleanup("the agent", async () => {
    await agent.close();
    rmSync(dirname(folder), { recursive: true, force: true });
  });
  expect((await agent.listen()).port).toBeGreaterThan(0);
  expect(lines.join("")).toContain("nothing can be kept in this folder");
});
