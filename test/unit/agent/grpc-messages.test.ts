// Messages are whole, however their bytes come. Mutants that were tried, and are caught: a message that spans chunks is cut; the flag of a
// compressed one is not looked at.
import fc from "fast-check";
import { expect, test } from "vitest";
import { MessageReader, maxMessageBytes, toWire } from "../../../src/agent/grpc-messages.js";

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
