// Every limit on what an Envoy may ask (DESIGN §8): it holds, it is told by its name to the Envoy, to the log and to the metrics, and
// others are not disturbed. Each control plane here has small limits.
import { constants } from "node:http2";
import { status } from "@grpc/grpc-js";
import { beforeAll, describe, expect, test } from "vitest";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { limitHits, scrape } from "../support/metrics.js";
import { databaseProxy } from "../support/postgres.js";
import { type Replica, startReplica } from "../support/replica.js";
import { startTcpProxy } from "../support/tcp-proxy.js";
import { staysTrue, waitFor } from "../support/wait.js";
import { startDatabase } from "../support/world.js";
import {
  openDeafXdsStream,
  openXdsConnection,
  openXdsStream,
  type XdsClientOptions,
  type XdsStream,
} from "../support/xds-client.js";

let databaseUrl = "";
let serial = 0;

beforeAll(async () => {
  databaseUrl = await startDatabase();
});

const start = (id: string, env: Readonly<Record<string, string>>, url = databaseUrl): Promise<Replica> =>
  startReplica({ databaseUrl: url, id, env });

function open(replica: Replica, more: Partial<XdsClientOptions> = {}): XdsStream {
  return openXdsStream({ port: replica.xdsPort, node: `limited-${++serial}`, gateway: "edge", protocol: "delta", ...more });
}

/** The stream ends with RESOURCE_EXHAUSTED and the limit's name, which the metrics and the log have, too. */
async function expectRefused(replica: Replica, stream: XdsStream, limit: string, hits: number): Promise<void> {
  const { code, details } = await stream.ended;
  expect(code).toBe(status.RESOURCE_EXHAUSTED);
  expect(details).toContain(limit);
  expect(await limitHits(replica.api, limit)).toBe(hits);
  await waitFor("it is logged", () => replica.log().includes(`"limit":"${limit}"`)); // Through a pipe.
}

/** The stream is served: an answer comes. */
async function expectServed(stream: XdsStream): Promise<void> {
  stream.request("cluster");
  await stream.next("cluster");
  stream.close();
}

const names = (count: number, from = 0): string[] => Array.from({ length: count }, (_, index) => `name-${from + index}`);

describe("what one request says", () => {
  let replica: Replica;
  beforeAll(async () => {
    replica = await start("small", {
      CHANCERY_XDS_MAX_NODE_METADATA_BYTES: "2000",
      CHANCERY_XDS_MAX_NODE_ID_LENGTH: "100",
      CHANCERY_XDS_MAX_NAMES: "100",
      CHANCERY_XDS_MAX_MESSAGE_BYTES: "65536",
    });
  });

  test("a node's metadata has a largest size", async () => {
    await expectServed(open(replica, { metadata: 1_900 }));
    for (const [index, protocol] of (["delta", "sotw"] as const).entries()) {
      const stream = open(replica, { metadata: 2_000, protocol });
      stream.request("cluster");
      await expectRefused(replica, stream, "xds_max_node_metadata_bytes", index + 1);
    }
  });

  test("a node's id and its gateway have a longest length", async () => {
    await expectServed(open(replica, { node: "n".repeat(100), gateway: "g".repeat(100) }));
    for (const [index, more] of [{ node: "n".repeat(101) }, { gateway: "g".repeat(101) }].entries()) {
      const stream = open(replica, more);
      stream.request("cluster");
      await expectRefused(replica, stream, "xds_max_node_id_length", index + 1);
    }
  });

  test("a subscription has a largest number of names, at once or little by little", async () => {
    const full = open(replica);
    full.request("endpoint", { names: names(100) });
    await full.next("endpoint");
    full.close();
    for (const [index, protocol] of (["delta", "sotw"] as const).entries()) {
      const stream = open(replica, { protocol });
      stream.request("endpoint", { names: names(101) });
      await expectRefused(replica, stream, "xds_max_names", index + 1);
    }
    const growing = open(replica);
    growing.request("endpoint", { names: names(60) });
    growing.ack(await growing.next("endpoint"));
    growing.request("endpoint", { names: names(60, 50) });
    await expectRefused(replica, growing, "xds_max_names", 3);
  });

  test("a message has a largest size", async () => {
    for (const [index, length] of [70_000, 140_000].entries()) {
      const stream = open(replica);
      stream.request("cluster");
      stream.nack(await stream.next("cluster"), "x".repeat(length));
      await expectRefused(replica, stream, "xds_max_message_bytes", index + 1);
    }
  });

  test("a request that can't be read ends its stream, and is no fault of ours", async () => {
    const stream = open(replica);
    stream.request("cluster");
    await stream.next("cluster");
    stream.sendRaw(Buffer.from([0x0a, 0xff]));
    expect((await stream.ended).code).toBe(status.INVALID_ARGUMENT);
  });
});

describe("how much comes", () => {
  test("a stream's requests are read at their rate, not refused", async () => {
    const replica = await start("slow", { CHANCERY_XDS_REQUESTS_PER_SECOND: "50", CHANCERY_XDS_REQUEST_BURST: "100" });
    const stream = open(replica);
    stream.request("cluster");
    await stream.next("cluster");
    const startedAt = performance.now();
    for (let sent = 1; sent < 250; sent++) stream.request("endpoint", { names: ["name"] });
    const read = async (): Promise<number> =>
      (await scrape(replica.api)).get('chancery_xds_requests_total{type="endpoint"}') ?? 0;
    await waitFor("all are read", async () => (await read()) === 249);
    // 100 at once, and 150 at 50 a second.
    expect(performance.now() - startedAt).toBeGreaterThan(2_800);
    expect(performance.now() - startedAt).toBeLessThan(8_000);
    expect(await limitHits(replica.api, "xds_requests_per_second")).toBeGreaterThan(100);
    expect(replica.log().match(/"limit":"xds_requests_per_second"/g)).toHaveLength(1);
    await expectServed(open(replica));
  });

  test("requests that come before a stream can be answered are few", async () => {
    const proxy = await databaseProxy(databaseUrl);
    const replica = await start("early", { CHANCERY_NOTIFY: "off" }, proxy.url);
    proxy.become("silent");
    const stream = open(replica);
    for (let sent = 0; sent < 65; sent++) stream.request("cluster");
    await expectRefused(replica, stream, "xds_early_requests", 1);
    proxy.become("pass");
  });

  test("new streams are accepted at their rate; those turned away may come again", async () => {
    const replica = await start("crowded", { CHANCERY_XDS_NEW_STREAMS_PER_SECOND: "1", CHANCERY_XDS_NEW_STREAM_BURST: "3" });
    const streams = Array.from({ length: 6 }, () => open(replica));
    for (const stream of streams) stream.request("cluster");
    const answered = (): number => streams.filter((stream) => stream.responses.length > 0).length;
    const hits = (): Promise<number> => limitHits(replica.api, "xds_new_streams_per_second");
    await waitFor("each is answered or turned away", async () => answered() + (await hits()) === 6);
    expect(await hits()).toBeGreaterThanOrEqual(2);
    expect(replica.log().match(/"limit":"xds_new_streams_per_second"/g)).toHaveLength(1);
    const away = streams.find((stream) => stream.responses.length === 0);
    expect(await away?.ended).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
    await waitFor("another is accepted", async () => {
      const stream = open(replica);
      stream.request("cluster");
      return stream.next("cluster", 0, 300);
    });
  });

  test("a connection has a largest number of streams: the next one waits until another ends", async () => {
    const replica = await start("narrow", { CHANCERY_XDS_MAX_STREAMS_PER_CONNECTION: "2" });
    const connection = openXdsConnection(replica.xdsPort);
    const first = open(replica, { connection });
    first.request("cluster");
    await first.next("cluster"); // By now the connection's settings have come.
    const [second, third] = [open(replica, { connection }), open(replica, { connection })];
    for (const stream of [second, third]) stream.request("cluster");
    await second.next("cluster");
    await staysTrue("the third one waits", () => third.responses.length === 0, 500);
    await expectServed(open(replica)); // On another connection there is room.
    first.close();
    await third.next("cluster");
  });
});

describe("peers that hang", () => {
  let replica: Replica;
  beforeAll(async () => {
    replica = await start("patient", {
      CHANCERY_XDS_WRITE_STALL_MS: "1000",
      CHANCERY_XDS_KEEPALIVE_MS: "1000",
      CHANCERY_XDS_KEEPALIVE_TIMEOUT_MS: "300",
    });
    await replica.api.post("/v1/listeners", listenerBody("web", 80));
    const ports = Array.from({ length: 5_000 }, (_, index) => ({ port: 10_000 + index }));
    await replica.api.post("/v1/clusters", clusterBody("large", ports));
    await replica.api.post("/v1/routes", routeBody("large", "web", "large"));
  });
  const isConnected = async (node: string): Promise<boolean> => (await replica.api.node(node))?.connected === true;

  test("an Envoy that does not read is cut in about the time set, and knows it", async () => {
    const node = "deaf";
    const stream = openDeafXdsStream({ port: replica.xdsPort, node, gateway: "edge" }, "large");
    await waitFor("it is known", () => isConnected(node));
    expect(await stream.cut).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    const lineWith = (text: string): string | undefined =>
      replica
        .log()
        .split("\n")
        .find((line) => line.includes('"node":"deaf"') && line.includes(text));
    const timeOf = (line: string): number => Date.parse(/"time":"([^"]+)"/.exec(line)?.[1] ?? "");
    const cutAt = timeOf(await waitFor("the cut is logged", () => lineWith('"limit":"xds_write_stall_ms"')));
    const tookMs = cutAt - timeOf(lineWith('"type":"endpoint"') ?? "");
    expect(tookMs).toBeGreaterThanOrEqual(990);
    expect(tookMs).toBeLessThan(2_000);
    expect(await limitHits(replica.api, "xds_write_stall_ms")).toBe(1);
    await waitFor("it is known as gone", async () => !(await isConnected(node)));
  });

  test("an Envoy from which nothing comes back is given up by keepalive", async () => {
    const proxy = await startTcpProxy("between", { host: "127.0.0.1", port: replica.xdsPort });
    const node = `limited-${serial + 1}`;
    const stream = open(replica, { port: proxy.port });
    stream.request("cluster");
    await stream.next("cluster");
    await waitFor("it is known", () => isConnected(node));
    await staysTrue("it stays while it answers pings", () => isConnected(node), 2_500);
    const startedAt = performance.now();
    proxy.become("silent");
    await waitFor("it is known as gone", async () => !(await isConnected(node)));
    expect(performance.now() - startedAt).toBeLessThan(4_000);
  });

  test("an idle stream ends at about its age, so that a fleet spreads over new replicas", async () => {
    const aging = await start("aging", { CHANCERY_XDS_STREAM_AGE_MS: "1000" });
    const stream = open(aging);
    const startedAt = performance.now();
    stream.ackAll();
    stream.request("cluster");
    expect((await stream.ended).code).toBe(status.UNAVAILABLE);
    expect(performance.now() - startedAt).toBeGreaterThan(750);
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });
});
