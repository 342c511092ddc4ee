// Report streams over real gRPC: what is damaged, too large or too much ends its own stream, is counted, and leaves the others alone.
// Mutants that it caught: a message that can't be read thrown out of the stream; a node beyond the bound followed; a stream that ended
// still counted as open.
import { Client, type ClientDuplexStream, credentials, status } from "@grpc/grpc-js";
import { beforeEach, describe, expect, test } from "vitest";
import { encode } from "../../../src/proto/encode.js";
import { onCleanup } from "../../support/cleanup.js";
import { type ReportServer, startReportServer } from "../../support/report-server.js";
import { waitFor } from "../../support/wait.js";

const same = (bytes: Buffer): Buffer => bytes;

interface Stream {
  send(bytes: Buffer): void;
  close(): void;
  readonly answers: readonly Buffer[];
  /** How it ended; undefined while it has not. */
  ended(): { readonly code: number; readonly details: string } | undefined;
}

let server: ReportServer;

beforeEach(async () => {
  server = await startReportServer({ maxReportNodes: 3, maxRequestBytes: 10_000, maxNodeIdLength: 20, maxNames: 2 });
});

function open(): Stream {
  const client = new Client(`127.0.0.1:${server.port}`, credentials.createInsecure());
  onCleanup("report client", () => client.close());
  const path = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats";
  const call: ClientDuplexStream<Buffer, Buffer> = client.makeBidiStreamRequest(path, same, same);
  const answers: Buffer[] = [];
  let end: { code: number; details: string } | undefined;
  call.on("data", (bytes: Buffer) => answers.push(bytes));
  call.on("error", () => undefined);
  call.on("status", (ending) => {
    end = ending;
  });
  return { send: (bytes) => call.write(bytes), close: () => call.end(), answers, ended: () => end };
}

const hello = (id: string): Buffer =>
  encode("envoy.service.load_stats.v3.LoadStatsRequest", { node: { id, cluster: "edge" }, cluster_stats: [] });

function report(inFlight: number, endpoints = 1): Buffer {
  const upstream_endpoint_stats = Array.from({ length: endpoints }, (_, index) => ({
    address: { socket_address: { address: "10.0.0.7", port_value: 80 + index } },
    total_requests_in_progress: inFlight,
  }));
  return encode("envoy.service.load_stats.v3.LoadStatsRequest", {
    cluster_stats: [
      { cluster_name: "app", load_report_interval: { seconds: 1 }, upstream_locality_stats: [{ upstream_endpoint_stats }] },
    ],
  });
}

const metric = async (series: string): Promise<number> => {
  const line = (await server.metrics.text()).split("\n").find((candidate) => candidate.startsWith(`chancery_${series} `));
  return Number(line?.split(" ").at(-1) ?? 0);
};
const endsWith = (stream: Stream) => waitFor("the stream ends", stream.ended);
const nodes = (): string[] => [...server.loads.nodes()].sort();

async function openAs(id: string): Promise<Stream> {
  const stream = open();
  stream.send(hello(id));
  await waitFor("it is asked to report", () => stream.answers.length > 0);
  return stream;
}

test("a stream is asked once, followed while it is open, and forgotten after", async () => {
  const stream = await openAs("edge-1");
  stream.send(report(2));
  await waitFor("it is read", async () => (await metric('reports_received_total{service="load"}')) === 2);
  expect([stream.answers.length, nodes()]).toEqual([1, ["edge-1"]]);
  stream.close();
  expect((await endsWith(stream)).code).toBe(status.OK);
  await waitFor("it is forgotten", () => nodes().length === 0);
  expect(await metric('report_streams_open{service="load"}')).toBe(0);
  expect(await metric('report_streams_ended_total{service="load",reason="client"}')).toBe(1);
});

test("all are asked again when the pace changes, and who comes later at that pace", async () => {
  const first = await openAs("edge-1");
  server.streams.setPace("drain");
  server.streams.setPace("drain");
  await waitFor("it is asked again", () => first.answers.length === 2);
  const second = await openAs("edge-2");
  expect([first.answers[1]?.equals(second.answers[0] ?? Buffer.alloc(0)), first.answers.length]).toEqual([true, 2]);
});

describe("a stream ends, and no other,", () => {
  test.each([
    [
      "a message that can't be read",
      Buffer.from([0x0a, 0xff, 0xff, 0xff, 0x7f, 1, 2]),
      status.INVALID_ARGUMENT,
      "error",
      undefined,
    ],
    ["a message that is too large", Buffer.alloc(10_001), status.RESOURCE_EXHAUSTED, "limit", "xds_max_message_bytes"],
    ["a report of too many endpoints", report(1, 3), status.RESOURCE_EXHAUSTED, "limit", "xds_max_names"],
  ] as const)("at %s", async (_what, bytes, code, reason, limit) => {
    const [bad, good] = [await openAs("edge-bad"), await openAs("edge-good")];
    bad.send(bytes);
    expect((await endsWith(bad)).code).toBe(code);
    await waitFor("it is forgotten", () => nodes().join() === "edge-good");
    expect(await metric(`report_streams_ended_total{service="load",reason="${reason}"}`)).toBe(1);
    if (limit) expect(await metric(`limit_hits_total{limit="${limit}"}`)).toBe(1);
    good.send(report(1));
    await waitFor("the other is read", () => server.loads.of("edge-good", Date.now())?.loadStreams[0] !== undefined);
    expect(good.ended()).toBeUndefined();
  });

  test("at a first message that does not say who it is, or says it at too great a length", async () => {
    const [nobody, long] = [open(), open()];
    nobody.send(report(1));
    long.send(hello("x".repeat(21)));
    expect((await endsWith(nobody)).code).toBe(status.INVALID_ARGUMENT);
    expect(await endsWith(long)).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
      details: expect.stringContaining("xds_max_node_id_length"),
    });
    expect(nodes()).toEqual([]);
  });

  test("as one node too many; one more of a node that is followed is none", async () => {
    const streams = [await openAs("edge-1"), await openAs("edge-2"), await openAs("edge-3"), await openAs("edge-3")];
    const beyond = open();
    beyond.send(hello("edge-4"));
    expect(await endsWith(beyond)).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
      details: expect.stringContaining("xds_max_report_nodes"),
    });
    expect([streams.map((stream) => stream.ended()), nodes().length]).toEqual([[undefined, undefined, undefined, undefined], 3]);
    streams[0]?.close();
    await waitFor("one is forgotten", () => nodes().length === 2);
    await openAs("edge-4");
  });
});
