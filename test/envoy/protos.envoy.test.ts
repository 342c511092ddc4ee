// Our field numbers against those of the real Envoy, whose binary holds the descriptors of all its messages: the npm tree is
// older than Envoy, the overlay is written by hand, and a wrong number would be an unknown field that nobody complains of.
import { readFileSync } from "node:fs";
import protobuf from "protobufjs";
import descriptor from "protobufjs/ext/descriptor/index.js";
import { expect, test } from "vitest";
import { overlay } from "../../proto/overlay.mjs";
import { root } from "../../src/proto/root.js";
import { findEnvoyBinary } from "../support/envoy.js";

interface FieldDescriptor {
  readonly name: string;
  readonly number: number;
  readonly label: number;
  readonly typeName: string;
}
interface MessageDescriptor {
  readonly name: string;
  readonly field?: readonly FieldDescriptor[];
  readonly nestedType?: readonly MessageDescriptor[];
}
interface FileDescriptor {
  readonly package: string;
  readonly messageType?: readonly MessageDescriptor[];
}

const repeatedLabel = 3;

/** Envoy's messages by full name, out of the read-only data of its binary. */
function messagesOf(binary: Buffer): Map<string, Map<string, FieldDescriptor>> {
  const messages = new Map<string, Map<string, FieldDescriptor>>();
  const add = (prefix: string, message: MessageDescriptor): void => {
    const name = `${prefix}.${message.name}`;
    messages.set(name, new Map((message.field ?? []).map((field) => [field.name, field])));
    for (const nested of message.nestedType ?? []) add(name, nested);
  };
  const marker = Buffer.from(".proto\x12", "latin1"); // End of field 1, the file's name; field 2 follows, its package.
  for (let at = binary.indexOf(marker); at >= 0; at = binary.indexOf(marker, at + 1)) {
    const start = startOf(binary, at + marker.length - 1);
    if (start === undefined) continue;
    const file = decodeFile(binary.subarray(start, endOf(binary, start)));
    for (const message of file?.messageType ?? []) add(file?.package ?? "", message);
  }
  return messages;
}

/** Where the name that ends at `end` has its tag: it is preceded by its length, and that by 0x0a. */
function startOf(binary: Buffer, end: number): number | undefined {
  for (let length = ".proto".length; length < 128; length++) {
    if (binary[end - length - 1] === length && binary[end - length - 2] === 0x0a) return end - length - 2;
  }
  return undefined;
}

/** The end of a run of length-delimited fields 1–12, as a FileDescriptorProto is; what follows is something else. */
function endOf(binary: Buffer, start: number): number {
  const reader = protobuf.Reader.create(binary.subarray(start, start + 4_000_000));
  let end = 0;
  for (;;) {
    const tag = reader.uint32();
    if ((tag & 7) !== 2 || tag >>> 3 < 1 || tag >>> 3 > 12 || (tag >>> 3 === 1 && end > 0)) return start + end;
    reader.skip(reader.uint32());
    end = reader.pos;
    if (tag >>> 3 === 12) return start + end; // syntax is the last.
  }
}

function decodeFile(bytes: Buffer): FileDescriptor | undefined {
  try {
    return descriptor.FileDescriptorProto.decode(bytes) as unknown as FileDescriptor;
  } catch {
    return undefined; // Something in the binary that only looked like one.
  }
}

const ours = (space: protobuf.NamespaceBase): protobuf.Type[] =>
  space.nestedArray.flatMap((child) => [
    ...(child instanceof protobuf.Type ? [child] : []),
    ...(child instanceof protobuf.Namespace ? ours(child) : []),
  ]);

const theirs = messagesOf(readFileSync(findEnvoyBinary()));

test("every field that Envoy has too has the number, form and type that Envoy gives it", () => {
  const differing: string[] = [];
  let compared = 0;
  for (const type of ours(root)) {
    const fields = theirs.get(type.fullName.slice(1));
    for (const field of fields ? type.fieldsArray : []) {
      const real = fields?.get(field.name);
      if (!real || field.map) continue;
      compared++;
      const isSame = real.number === field.id && (real.label === repeatedLabel) === field.repeated;
      const typeName = field.resolvedType?.fullName ?? "";
      if (!isSame || typeName !== real.typeName)
        differing.push(`${type.fullName}.${field.name} = ${field.id} ${typeName}; Envoy: ${real.number} ${real.typeName}`);
    }
  }
  expect(compared).toBeGreaterThan(1_000);
  expect(differing).toEqual([]);
});

test("every field of the overlay is one of Envoy's", () => {
  for (const [typeName, fields] of Object.entries(overlay)) {
    for (const name of Object.keys(fields)) expect(theirs.get(typeName)?.get(name)?.number, `${typeName}.${name}`).toBeDefined();
  }
});
