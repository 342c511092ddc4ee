// gRPC over HTTP/2 by our own server, spoken to over real sockets: by hand, and by the gRPC client that others wrote.
// Mutants that it caught: a message read only when it comes in one frame; a length that is not looked at before the message is kept; the
// compressed flag ignored; any path served; a status written without percent-encoding; messages delivered while paused; a cut that
// waits for the peer; no ping; no GOAWAY; no limit on what follows our status.
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from "node:http2";
import { Client, credentials, type StatusObject } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { createLogger } from "../../../src/telemetry/logger.js";
import type { CallReader, GrpcCall } from "../../../src/xds/grpc-call.js";
import { GrpcServer, type GrpcServerOptions } from "../../../src/xds/grpc-server.js";
import { status, toFramed } from "../../../src/xds/grpc-status.js";
import { onCleanup } from "../../support/cleanup.js";
import { listenFor } from "../../support/grpc-listener.js";
import { startTcpProxy } from "../../support/tcp-proxy.js";
import { waitFor } from "../../support/wait.js";

const same = (bytes: Buffer): Buffer => bytes;
const path = "/test.Service/Talk";

/** What the service was told of one call. */
class Told implements CallReader {
  readonly messages: string[] = [];
  tooLong: number | undefined;
  halfClosed = false;
  closed = 0;
  constructor(
    readonly call: GrpcCall,
    private readonly onEach: (told: Told, text: string) => void,
  ) {}
  onMessage(bytes: Buffer): void {
    this.messages.push(bytes.toString());
    this.onEach(this, bytes.toString());
  }
  onTooLong(bytes: number): void {
    this.tooLong = bytes;
    this.call.end(status.RESOURCE_EXHAUSTED, "too long");
  }
  onHalfClose(): void {
    this.halfClosed = true;
    this.call.end(status.OK, "");
  }
  onClosed(): void {
    this.closed += 1;
  }
}

interface World {
  readonly port: number;
  readonly server: GrpcServer;
  readonly calls: readonly Told[];
}

async function start(
  onEach: (told: Told, text: string) => void = () => {},
  more: Partial<GrpcServerOptions> = {},
): Promise<World> {
  const calls: Told[] = [];
  const serve = (call: GrpcCall): CallReader => {
    const told = new Told(call, onEach);
    calls.push(told);
    return told;
  };
  const server = new GrpcServer({
    services: new Map([[path, serve]]),
    streamsPerConnection: 10,
    maxMessageBytes: 100_000,
    keepaliveMs: 30_000,
    keepaliveTimeoutMs: 10_000,
    lingerMs: 30_000,
    log: createLogger("silent"),
    ...more,
  });
  const port = await listenFor(server);
  onCleanup("gRPC server", () => server.close(0));
  return { port, server, calls };
}

function dial(port: number): ClientHttp2Session {
  const session = connect(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  onCleanup("HTTP/2 session", () => session.destroy());
  return session;
}

interface Answer {
  readonly stream: ClientHttp2Stream;
  /** Headers and trailers, as they have come so far. */
  readonly headers: Record<string, unknown>;
  /** DATA so far. */
  bytes(): Buffer;
  readonly closed: Promise<number>;
}

function ask(session: ClientHttp2Session, more: Readonly<Record<string, string>> = {}): Answer {
  const usual = { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" };
  const stream = session.request({ ...usual, ...more });
  const headers: Record<string, unknown> = {};
  const chunks: Buffer[] = [];
  stream.on("response", (came) => Object.assign(headers, came));
  stream.on("trailers", (came) => Object.assign(headers, came));
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.on("error", () => {});
  const closed = new Promise<number>((resolve) => stream.once("close", () => resolve(stream.rstCode ?? 0)));
  return { stream, headers, bytes: () => Buffer.concat(chunks), closed };
}

const message = (text: string): Buffer => toFramed([Buffer.from(text)]);

describe("messages", () => {
  test("are read whole, however the frames cut them", async () => {
    const { port, calls } = await start();
    const { stream } = ask(dial(port));
    const texts = ["one", "", "x".repeat(5_000), "two"];
    const bytes = Buffer.concat(texts.map(message));
    // One byte in a frame at first, then pieces that begin and end anywhere, then the rest, with several messages in it.
    for (let at = 0; at < 12; at++) {
      await new Promise((resolve) => stream.write(bytes.subarray(at, at + 1), resolve));
      await new Promise(setImmediate);
    }
    await new Promise((resolve) => stream.write(bytes.subarray(12, 700), resolve));
    stream.write(Buffer.concat([bytes.subarray(700), ...["three", "four"].map(message)]));
    await waitFor("all", () => calls[0]?.messages.length === 6);
    expect(calls[0]?.messages).toEqual([...texts, "three", "four"]);
  });

  test("that are too long are told of by their prefix, and nothing of them is kept", async () => {
    const { port, calls } = await start();
    const answer = ask(dial(port));
    answer.stream.write(Buffer.from([0, 0x7f, 0xff, 0xff, 0xff])); // 2 GiB, of which nothing ever comes.
    await waitFor("told", () => calls[0]?.tooLong === 0x7fffffff);
    await waitFor("ended", () => answer.headers["grpc-status"] === String(status.RESOURCE_EXHAUSTED));
  });

  test("that are compressed are refused: nothing says that we could read them", async () => {
    const { port, calls } = await start();
    const answer = ask(dial(port));
    answer.stream.write(Buffer.concat([message("plain"), Buffer.from([1, 0, 0, 0, 1, 0])]));
    await waitFor("ended", () => answer.headers["grpc-status"] === String(status.UNIMPLEMENTED));
    expect(calls[0]?.messages).toEqual(["plain"]);
  });

  test("wait while the call is paused, also those that have come, and come in order after it", async () => {
    const { port, calls } = await start((told) => told.call.pause());
    const { stream } = ask(dial(port));
    stream.end(Buffer.concat(["a", "b", "c"].map(message)));
    await waitFor("the first", () => calls[0]?.messages.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(calls[0]).toMatchObject({ messages: ["a"], halfClosed: false });
    calls[0]?.call.resume();
    expect(calls[0]?.messages).toEqual(["a", "b"]);
    calls[0]?.call.resume();
    calls[0]?.call.resume();
    await waitFor("the end", () => calls[0]?.halfClosed);
    expect(calls[0]?.messages).toEqual(["a", "b", "c"]);
  });
});

describe("the end of a call", () => {
  test("tells gRPC's own client code and details, of any letters", async () => {
    const details = "100 % of \u{1f600}\n";
    const { port, calls } = await start((told, text) => {
      told.call.write(message(text));
      told.call.end(status.UNAVAILABLE, details);
    });
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    onCleanup("client", () => client.close());
    const call = client.makeBidiStreamRequest<Buffer, Buffer>(path, same, same);
    const answers: string[] = [];
    call.on("data", (bytes: Buffer) => answers.push(bytes.toString()));
    call.on("error", () => {});
    call.write(Buffer.from("hello"));
    const ending = await new Promise<StatusObject>((resolve) => call.on("status", resolve));
    expect(ending).toMatchObject({ code: status.UNAVAILABLE, details });
    expect(answers).toEqual(["hello"]);
    await waitFor("closed, once", () => calls[0]?.closed === 1);
  });

  test("is a status of its own when nothing was sent before, and OK after the peer's end", async () => {
    const { port } = await start();
    const answer = ask(dial(port));
    answer.stream.end();
    expect(await answer.closed).toBe(constants.NGHTTP2_NO_ERROR);
    expect(answer.headers).toMatchObject({ ":status": 200, "content-type": "application/grpc", "grpc-status": "0" });
    expect(answer.bytes()).toHaveLength(0);
  });

  test("comes after all that was written, whatever its size", async () => {
    const big = "x".repeat(1 << 20);
    const { port } = await start((told) => {
      told.call.write(message(big));
      told.call.end(status.OK, "");
    });
    const answer = ask(dial(port));
    answer.stream.end(message("go"));
    await answer.closed;
    expect(answer.headers["grpc-status"]).toBe("0");
    expect(answer.bytes().equals(message(big))).toBe(true);
  });

  test("is a cut for a peer that does not read", async () => {
    const { port, calls } = await start((told) => told.call.write(message("x".repeat(1 << 20))));
    const answer = ask(dial(port));
    answer.stream.pause();
    answer.stream.write(message("go"));
    await waitFor("written", () => calls[0]?.messages.length === 1);
    calls[0]?.call.reset();
    await waitFor("told", () => calls[0]?.closed === 1);
    answer.stream.resume();
    expect(await answer.closed).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  });

  test("does not stay half open for a peer that never ends its side", async () => {
    const { port, calls } = await start((told) => told.call.end(status.OK, ""), { lingerMs: 100 });
    const answer = ask(dial(port));
    answer.stream.write(message("go"));
    await answer.closed;
    expect(answer.headers["grpc-status"]).toBe("0");
    await waitFor("closed", () => calls[0]?.closed === 1);
  });

  test("of the peer, by a reset or with its connection, is told once; what is written then is lost quietly", async () => {
    const { port, calls } = await start();
    const session = dial(port);
    const answers = [ask(session), ask(session)];
    for (const { stream } of answers) stream.write(message("hello"));
    await waitFor("both", () => calls.filter(({ messages }) => messages.length === 1).length === 2);
    answers[0]?.stream.close(constants.NGHTTP2_CANCEL);
    await waitFor("the first", () => calls[0]?.closed === 1);
    session.destroy();
    await waitFor("the second", () => calls[1]?.closed === 1);
    for (const { call } of calls) {
      call.write(message("late"));
      call.end(status.OK, "");
      call.reset();
      call.resume();
    }
    expect(calls.map(({ closed }) => closed)).toEqual([1, 1]);
  });
});

describe("what is no call of ours", () => {
  test.each([
    ["an unknown path", { ":path": "/test.Service/Other" }, { ":status": 200, "grpc-status": String(status.UNIMPLEMENTED) }],
    ["another content type", { "content-type": "application/json" }, { ":status": 415 }],
    ["one that only begins like gRPC's", { "content-type": "application/grpc-web" }, { ":status": 415 }],
    ["another method", { ":method": "GET" }, { ":status": 405 }],
  ])("%s is told so, and reaches no service", async (_, headers, expected) => {
    const { port, calls } = await start();
    const answer = ask(dial(port), headers);
    answer.stream.end();
    await answer.closed;
    expect(answer.headers).toMatchObject(expected);
    expect(calls).toEqual([]);
  });

  test("who comes with a browser is told in words what this port is", async () => {
    const { port } = await start();
    const answer = ask(dial(port), { ":method": "GET" });
    answer.stream.setEncoding("utf8");
    let text = "";
    answer.stream.on("data", (part: string) => {
      text += part;
    });
    answer.stream.end();
    await answer.closed;
    expect(text).toContain("speaks gRPC");
  });

  test("a content type with a format is gRPC", async () => {
    const { port, calls } = await start();
    ask(dial(port), { "content-type": "application/grpc+proto" });
    await waitFor("a call", () => calls.length === 1);
  });
});

describe("connections", () => {
  test("have a largest number of streams", async () => {
    const { port, calls } = await start(() => {}, { streamsPerConnection: 2 });
    const session = dial(port);
    await new Promise((resolve) => session.once("remoteSettings", resolve));
    const answers = [ask(session), ask(session), ask(session)];
    await waitFor("two", () => calls.length === 2);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(calls).toHaveLength(2);
    answers[0]?.stream.close();
    await waitFor("the third", () => calls.length === 3);
  });

  test("from which nothing comes back are cut, others are not", async () => {
    const { port, calls } = await start(() => {}, { keepaliveMs: 100, keepaliveTimeoutMs: 200 });
    const proxy = await startTcpProxy("lost connection", { host: "127.0.0.1", port });
    ask(dial(port)).stream.write(message("alive"));
    ask(dial(proxy.port)).stream.write(message("lost"));
    await waitFor("both", () => calls.filter(({ messages }) => messages.length === 1).length === 2);
    const lost = calls.find(({ messages }) => messages[0] === "lost");
    proxy.become("silent");
    await waitFor("cut", () => lost?.closed === 1);
    expect(calls.find((told) => told !== lost)?.closed).toBe(0);
  });

  test("are told of a stop, keep what they have, and are cut at its end", async () => {
    const { port, server, calls } = await start();
    const session = dial(port);
    let goaway = 0;
    session.on("goaway", () => {
      goaway += 1;
    });
    const answers = [ask(session), ask(session)];
    await waitFor("both", () => calls.length === 2);
    const isDown = server.close(300);
    await waitFor("told", () => goaway > 0);
    calls[0]?.call.end(status.UNAVAILABLE, "going");
    await waitFor("a status", () => answers[0]?.headers["grpc-status"] === String(status.UNAVAILABLE));
    expect(calls[1]?.closed).toBe(0);
    await isDown;
    expect(calls[1]?.closed).toBe(1);
  });
});
