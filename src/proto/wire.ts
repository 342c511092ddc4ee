// Raw protobuf, for bytes that are spliced and not encoded again: routes into virtual hosts, resources into responses.
// https://protobuf.dev/programming-guides/encoding. Writers return pieces, so that a large field is copied once, by the final
// concat.

const varintType = 0;
const lengthDelimitedType = 2;

/** An unsigned integer below 2^53, seven bits to a byte. */
export function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}

function tag(number: number, wireType: number): Buffer {
  return varint(number * 8 + wireType);
}

/** A message, string or bytes field: its head, then `bytes` itself, not copied. */
export function bytesField(number: number, bytes: Buffer): readonly [Buffer, Buffer] {
  return [lengthDelimitedHead(number, bytes.length), bytes];
}

/** The same field for contents in many pieces, whose lengths are summed. */
export function piecesField(number: number, pieces: readonly Buffer[]): readonly Buffer[] {
  let length = 0;
  for (const piece of pieces) length += piece.length;
  return [lengthDelimitedHead(number, length), ...pieces];
}

/** Tag and length of a length-delimited field whose `length` bytes follow. */
export function lengthDelimitedHead(number: number, length: number): Buffer {
  return Buffer.concat([tag(number, lengthDelimitedType), varint(length)]);
}

/** A string field; "" is left out, as proto3 does. */
export function stringField(number: number, text: string): readonly Buffer[] {
  return text === "" ? [] : bytesField(number, Buffer.from(text, "utf8"));
}

/** An unsigned integer, bool or enum field; 0 is left out, as proto3 does. */
export function varintField(number: number, value: number): readonly Buffer[] {
  return value === 0 ? [] : [tag(number, varintType), varint(value)];
}
