// gRPC's words on the wire: status codes, trailers, and the five bytes before each message.
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
import type { OutgoingHttpHeaders } from "node:http2";

/** The status codes that we give. https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
export const status = {
  OK: 0,
  CANCELLED: 1,
  INVALID_ARGUMENT: 3,
  RESOURCE_EXHAUSTED: 8,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
} as const;
export type Status = (typeof status)[keyof typeof status];

/** A flag (1: compressed) and the length. */
export const prefixBytes = 5;

/** A message as it goes into DATA frames: its prefix, and the parts one after the other. */
export function toFramed(parts: readonly Uint8Array[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const framed = Buffer.allocUnsafe(prefixBytes + length);
  framed[0] = 0;
  framed.writeUInt32BE(length, 1);
  let at = prefixBytes;
  for (const part of parts) {
    framed.set(part, at);
    at += part.length;
  }
  return framed;
}

/** The trailers that end a call. `retryMs`: when to come again (https://github.com/grpc/proposal/blob/master/A6-client-retries.md). */
export function toTrailers(code: Status, details: string, retryMs?: number): OutgoingHttpHeaders {
  return {
    "grpc-status": String(code),
    ...(details === "" ? {} : { "grpc-message": percentEncoded(details) }),
    ...(retryMs === undefined ? {} : { "grpc-retry-pushback-ms": String(retryMs) }),
  };
}

/** Printable ASCII but for "%" as it is, all other bytes of the UTF-8 as %XX: a header can't hold them. */
function percentEncoded(text: string): string {
  return text.replace(/[^\x20-\x24\x26-\x7e]+/g, (part) =>
    [...Buffer.from(part)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
  );
}
