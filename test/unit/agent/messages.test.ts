// The wire, as an agent reads and writes it. Mutants that were tried, and are caught: a message that spans chunks is cut; the flag of a
// compressed one is not looked at; all versions are unknown; the revision is dropped from an unknown one.
import fc from "fast-check";
import protobuf from "protobufjs";
import { expect, test } from "vitest";
import { readDeltaResponse, toDeltaResponse, withUnknownVersions } from "../../../src/agent/delta-messages.js";
import { MessageReader, maxMessageBytes, toWire } from "../../../src/agent/grpc-messages.js";
import { KeptStream } from "../../../src/agent/kept-stream.js";
import { type Request, readDeltaRequest } from "../../../src/xds/request.js";

const tag = (field: number): number => (field << 3) | 2;

test("messages are whole, however their bytes come", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), fc.array(fc.nat({ max: 60 })), (messages, cuts) => {
      const wire = Buffer.concat(messages.map(toWire));
      const at = [...new Set(cuts.map((cut) => Math.min(cut, wire.length)))].sort((one, other) => one - other);
      const reader = new MessageReader();
      const read = [...at, wire.length].flatMap((end, index) => reader.read(wire.subarray(at[index - 1] ?? 0, end)));
      expect(read.map((message) => message.toString("hex"))).toEqual(
        messages.map((message) => Buffer.from(message).toString("hex")),
      );
    }),
  );
});

test("a compressed message, or one beyond the bound, ends the stream", () => {
  const compressed = toWire(Buffer.from("x"));
  compressed.writeUInt8(1, 0);
  expect(() => new MessageReader().read(compressed)).toThrow(RangeError);
  const endless = Buffer.alloc(5);
  endless.writeUInt32BE(maxMessageBytes + 1, 1);
  expect(() => new MessageReader().read(endless)).toThrow(RangeError);
});

test("a request in which some versions are unknown is the same request otherwise", () => {
  const writer = protobuf.Writer.create();
  for (const [name, version] of [
    ["app", "aa.7"],
    ["other", "bb.9"],
  ] as const) {
    const entry = protobuf.Writer.create().uint32(tag(1)).string(name).uint32(tag(2)).string(version).finish();
    writer.uint32(tag(5)).bytes(entry);
  }
  const request = Buffer.from(writer.uint32(tag(2)).string("some.type").uint32(tag(3)).string("app").finish());
  const before = readDeltaRequest(request);
  const after = readDeltaRequest(withUnknownVersions(request, before.initialVersions, new Set(["other"])));
  expect([...after.initialVersions]).toEqual([
    ["app", "aa.7"],
    ["other", "unknown.9"],
  ]);
  expect({ ...after, initialVersions: before.initialVersions }).toEqual(before);
});

test("a response is read as it was written", () => {
  const bytes = Buffer.from(protobuf.Writer.create().uint32(tag(1)).string("aa.7").uint32(tag(3)).string("app").finish());
  const response = { typeUrl: "some.type", nonce: "3", resources: [{ name: "app", version: "aa.7", bytes }], removed: ["old"] };
  expect(readDeltaResponse(Buffer.from(toDeltaResponse(response)))).toEqual(response);
});

test("from disk every name gets an answer, a wildcard all, and an ack none", () => {
  const one = { name: "one", version: "a.1", bytes: Buffer.from("1") };
  const stream = new KeptStream(new Map([["some.type", new Map([["one", one]])]]));
  const names = (...all: string[]) => ({
    bytes: Buffer.concat(all.map((name) => Buffer.from([tag(3), name.length, ...Buffer.from(name)]))),
    count: all.length,
  });
  const request = (given: Partial<Request>): Request => ({
    ...{
      typeUrl: "some.type",
      node: undefined,
      nonce: "",
      refusal: undefined,
      names: names(),
      unsubscribe: names(),
      version: "",
    },
    ...{ initialVersions: new Map() },
    ...given,
  });
  expect(stream.receive(request({}))).toEqual({ typeUrl: "some.type", nonce: "kept.1", resources: [one], removed: [] });
  expect(stream.receive(request({ nonce: "kept.1" }))).toBeUndefined();
  expect(stream.receive(request({ names: names("one", "two") }))).toMatchObject({ resources: [one], removed: ["two"] });
  expect(stream.receive(request({ typeUrl: "unknown.type" }))).toMatchObject({ resources: [], removed: [] });
});
