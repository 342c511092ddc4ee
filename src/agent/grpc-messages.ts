// Messages in a gRPC stream's bytes: five bytes of flag and length before each. In: chunks as they come. Out: whole messages.
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md ("Length-Prefixed-Message")

const prefixBytes = 5;

/** A message that is longer than this is not read: the stream ends. */
export const maxMessageBytes = 256 << 20;

/** Collects chunks until a message is whole. A message that came in one chunk is a view of it, not a copy. */
export class MessageReader {
  #chunks: Buffer[] = [];
  #buffered = 0;

  /** @throws RangeError for a compressed or too long message: the rest of the stream can't be read */
  read(chunk: Buffer): Buffer[] {
    this.#chunks.push(chunk);
    this.#buffered += chunk.length;
    const messages: Buffer[] = [];
    for (let length = this.#next(); length !== undefined; length = this.#next()) {
      const all = this.#all();
      messages.push(all.subarray(prefixBytes, prefixBytes + length));
      const rest = all.subarray(prefixBytes + length);
      this.#chunks = rest.length > 0 ? [rest] : [];
      this.#buffered = rest.length;
    }
    return messages;
  }

  /** The length of the first message, if it is here as a whole. */
  #next(): number | undefined {
    if (this.#buffered < prefixBytes) return undefined;
    if ((this.#chunks[0]?.length ?? 0) < prefixBytes) this.#chunks = [this.#all()];
    const [first] = this.#chunks;
    if (!first) return undefined;
    if (first.readUInt8(0) !== 0) throw new RangeError("a compressed message");
    const length = first.readUInt32BE(1);
    if (length > maxMessageBytes) throw new RangeError(`a message of ${length} bytes`);
    return this.#buffered >= prefixBytes + length ? length : undefined;
  }

  #all(): Buffer {
    const [first] = this.#chunks;
    return first && this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks);
  }
}

/** One message as it goes on the wire. */
export function toWire(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(prefixBytes);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}
