// The xDS port before and at gRPC's door, from raw sockets: connections are bounded in number, in the time that they take to begin, and in the
// time that they are there for nothing; streams that want their first configuration, in how many there are at once.
// Mutants that were tried, and are caught: no timeout for the preface (the test waits for ever); bytes that were read and not put back; connections
// that are counted for ever.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { status } from "@grpc/grpc-js";
import { beforeAll, expect, test } from "vitest";
import { onCleanup } from "../support/cleanup.js";
import { limitHits } from "../support/metrics.js";
import { type Replica, startReplica } from "../support/replica.js";
import { staysTrue, waitFor } from "../support/wait.js";
import { startDatabase } from "../support/world.js";
import { openXdsStream, type XdsStream } from "../support/xds-client.js";

let databaseUrl = "";
beforeAll(async () => {
  databaseUrl = await startDatabase();
});

interface Raw {
  readonly socket: Socket;
  /** Resolves when the server has closed it, with how long that took, in ms. */
  readonly closed: Promise<number>;
  isOpen(): boolean;
}

/** Everything that an HTTP/2 client sends first: its preface and empty settings. */
const begun = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]);

async function open({ xdsPort }: Replica, first: Buffer | string = ""): Promise<Raw> {
  const startedAt = performance.now();
  const socket = connect(xdsPort, "127.0.0.1");
  onCleanup("raw connection", () => void socket.destroy());
  socket.on("error", () => {});
  socket.on("data", () => {});
  const closed = new Promise<number>((resolve) => socket.on("close", () => resolve(performance.now() - startedAt)));
  let isOpen = true;
  void closed.then(() => {
    isOpen = false;
  });
  await once(socket, "connect");
  if (first.length > 0) socket.write(first);
  return { socket, closed, isOpen: () => isOpen };
}

let serial = 0;
function stream(replica: Replica): XdsStream {
  const opened = openXdsStream({ port: replica.xdsPort, node: `door-${++serial}`, gateway: "edge", protocol: "delta" });
  opened.request("cluster");
  return opened;
}

test("a connection begins as HTTP/2 does and in time, in however many pieces, or it is closed", async () => {
  const replica = await startReplica({ databaseUrl, id: "punctual", env: { CHANCERY_XDS_PREFACE_TIMEOUT_MS: "1000" } });
  const [silent, half, ...wrong] = await Promise.all([
    open(replica),
    open(replica, begun.subarray(0, 20)),
    open(replica, "GET / HTTP/1.1\r\n\r\n"),
    open(replica, Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00])),
    open(replica, "PRI * HTTP/1.1"),
  ]);
  for (const raw of [silent, half]) {
    const ms = await raw.closed;
    expect(ms).toBeGreaterThan(900);
    expect(ms).toBeLessThan(5_000);
  }
  for (const raw of wrong) expect(await raw.closed).toBeLessThan(900);
  expect(await limitHits(replica.api, "xds_preface_timeout_ms")).toBe(2);
  const slow = await open(replica);
  const answer = once(slow.socket, "data");
  for (const byte of begun) {
    slow.socket.write(Buffer.from([byte]));
    await new Promise((done) => setTimeout(done, 5));
  }
  const [bytes] = (await answer) as [Buffer];
  expect(bytes[3]).toBe(4); // The server's settings: nothing was lost on the way.
});

test("connections are bounded in number, in all and from one address, and each that goes makes room", async () => {
  for (const limit of ["xds_max_connections", "xds_max_connections_per_address"]) {
    const replica = await startReplica({ databaseUrl, id: limit, env: { [`CHANCERY_${limit.toUpperCase()}`]: "3" } });
    const raws = [await open(replica, begun), await open(replica, begun), await open(replica, begun)];
    const fourth = await open(replica, begun);
    expect(await fourth.closed).toBeLessThan(2_000);
    expect(await limitHits(replica.api, limit)).toBe(1);
    await waitFor("it is logged", () => replica.log().includes(`"limit":"${limit}"`));
    expect(raws.every((raw) => raw.isOpen())).toBe(true);
    raws[0]?.socket.destroy();
    await waitFor("there is room", async () => {
      const next = stream(replica);
      return next.next("cluster", 0, 300);
    });
  }
});

test("a connection without a stream is closed after a while; one with a stream, a report's too, stays", async () => {
  const replica = await startReplica({ databaseUrl, id: "tidy", env: { CHANCERY_XDS_IDLE_CONNECTION_MS: "1000" } });
  const served = stream(replica);
  await served.next("cluster");
  const { connect: connectHttp2 } = await import("node:http2");
  const reporting = connectHttp2(`http://127.0.0.1:${replica.xdsPort}`);
  onCleanup("reporting connection", () => reporting.destroy());
  let isReporting = true;
  reporting.on("error", () => {});
  reporting.on("close", () => {
    isReporting = false;
  });
  const report = reporting.request({
    ":method": "POST",
    ":path": "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats",
    "content-type": "application/grpc",
    te: "trailers",
  });
  report.on("error", () => {});
  const idle = await open(replica, begun);
  const ms = await idle.closed;
  expect(ms).toBeGreaterThan(900);
  expect(ms).toBeLessThan(5_000);
  expect(await limitHits(replica.api, "xds_idle_connection_ms")).toBe(1);
  await staysTrue("the others stay", () => isReporting, 1_500);
  served.request("endpoint", { names: ["any"] });
  await served.next("endpoint");
  served.close();
});

test("so many streams are on their first configuration at once; one more is told when to come again", async () => {
  const replica = await startReplica({ databaseUrl, id: "patient", env: { CHANCERY_XDS_MAX_FIRST_PUSHES: "2" } });
  const [first, second] = [stream(replica), stream(replica)];
  const answer = await first.next("cluster");
  await second.next("cluster");
  const { code, details, metadata } = await stream(replica).ended;
  expect(code).toBe(status.UNAVAILABLE);
  expect(details).toMatch(/^limit met: xds_max_first_pushes; try again in \d+ ms$/);
  expect(Number(metadata.get("grpc-retry-pushback-ms")[0])).toBeGreaterThanOrEqual(500);
  expect(await limitHits(replica.api, "xds_max_first_pushes")).toBe(1);
  first.ack(answer);
  await waitFor("there is room for another", () => stream(replica).next("cluster", 0, 300));
});
