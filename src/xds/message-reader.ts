// Messages out of the DATA frames of one call: a frame may hold many, or a piece of one. What is too long or compressed is found by its
// prefix, before any of it is kept. Cost and memory are linear in what has come, also for a message in frames of one byte.
// In: chunks. Out: messages; a whole one in a chunk is a view of it. Owned by: grpc-call.ts.
import { prefixBytes } from "./grpc-status.js";

const nothing: Buffer = Buffer.alloc(0);
/** Room for the first piece of a message that comes in several. */
const leastRoom = 512;

export class MessageReader {
  #chunk = nothing;
  #at = 0;
  /** A message of which a part has come, its prefix included. */
  #partial = nothing;
  #partialBytes = 0;
  /** Why no message can be read any more. */
  fault: { readonly kind: "compressed" } | { readonly kind: "too-long"; readonly bytes: number } | undefined;

  constructor(private readonly maxBytes: number) {}

  feed(chunk: Buffer): void {
    this.#chunk = this.#at === this.#chunk.length ? chunk : Buffer.concat([this.#chunk.subarray(this.#at), chunk]);
    this.#at = 0;
  }

  /** The next whole message; undefined: it has not come yet, or there is a fault. */
  next(): Buffer | undefined {
    while (!this.fault && this.#at < this.#chunk.length) {
      const message = this.#partialBytes === 0 ? this.#whole() : undefined;
      if (message || this.fault) return message;
      const finished = this.#piece();
      if (finished) return finished;
    }
    if (this.#at === this.#chunk.length) this.#release();
    return undefined;
  }

  /** The chunk is a view of the connection's buffer. */
  #release(): void {
    this.#chunk = nothing;
    this.#at = 0;
  }

  #whole(): Buffer | undefined {
    const left = this.#chunk.length - this.#at;
    if (left < prefixBytes) return undefined;
    const end = this.#lengthAt(this.#chunk, this.#at);
    if (end === undefined || left < end) return undefined;
    const message = this.#chunk.subarray(this.#at + prefixBytes, this.#at + end);
    this.#at += end;
    return message;
  }

  /** Takes what the chunk has of the message that has begun, or of its prefix. */
  #piece(): Buffer | undefined {
    const needed = this.#partialBytes < prefixBytes ? prefixBytes : this.#lengthAt(this.#partial, 0);
    if (needed === undefined) return undefined;
    const taken = Math.min(needed - this.#partialBytes, this.#chunk.length - this.#at);
    this.#grow(this.#partialBytes + taken);
    this.#chunk.copy(this.#partial, this.#partialBytes, this.#at, this.#at + taken);
    this.#at += taken;
    this.#partialBytes += taken;
    if (this.#partialBytes < prefixBytes) return undefined;
    const whole = this.#lengthAt(this.#partial, 0);
    if (whole === undefined || this.#partialBytes < whole) return undefined;
    const message = this.#partial.subarray(prefixBytes, whole);
    this.#partial = nothing;
    this.#partialBytes = 0;
    return message;
  }

  #grow(bytes: number): void {
    if (this.#partial.length >= bytes) return;
    const grown = Buffer.allocUnsafe(Math.max(leastRoom, 2 * bytes));
    this.#partial.copy(grown, 0, 0, this.#partialBytes);
    this.#partial = grown;
  }

  /** Length of prefix and message; undefined: not one that is read. */
  #lengthAt(bytes: Buffer, at: number): number | undefined {
    const length = bytes.readUInt32BE(at + 1);
    if (bytes[at] !== 0) this.fault = { kind: "compressed" };
    else if (length > this.maxBytes) this.fault = { kind: "too-long", bytes: length };
    return this.fault ? undefined : prefixBytes + length;
  }
}
