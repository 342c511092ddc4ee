// One stream of an Envoy, seen from the agent: how it is answered and ended in gRPC's words. Used by relay.ts and ads-stream.ts.
import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { type Status, toTrailers } from "../xds/grpc-status.js";

const headers = { ":status": 200, "content-type": "application/grpc" } as const;

/** After the status, an Envoy has so long to end its half, ms. */
const lingerMs = 1_000;

/** Begins the answer. Its end is `endWith`, or the trailers of a control plane. */
export function begin(stream: ServerHttp2Stream, given: OutgoingHttpHeaders = headers): void {
  if (!stream.headersSent && !stream.destroyed) stream.respond(given, { waitForTrailers: true });
}

/** Ends the stream with a status. Nothing is thrown away that was written before. */
export function endWith(stream: ServerHttp2Stream, code: Status, words: string): void {
  const trailers = toTrailers(code, words);
  if (stream.destroyed || stream.closed) return;
  stream.resume(); // What it still says is of no use, and unread it would be an error.
  if (!stream.headersSent) stream.respond({ ...headers, ...trailers }, { endStream: true });
  else endWithTrailers(stream, trailers);
}

/** Ends the stream with a control plane's own trailers. */
export function endWithTrailers(stream: ServerHttp2Stream, trailers: OutgoingHttpHeaders): void {
  if (stream.destroyed || stream.closed || stream.writableEnded) return;
  stream.once("wantTrailers", () => {
    if (stream.destroyed || stream.closed) return;
    stream.sendTrailers(trailers);
    // The Envoy ends its half when it reads them. A reset in this turn would overtake them, and the status with them.
    const linger = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), lingerMs).unref();
    stream.once("close", () => clearTimeout(linger));
  });
  stream.end();
}

/** Headers of one hop that go on to the next: all but those that HTTP/2 makes for each connection. */
export function passedOn(given: IncomingHttpHeaders): OutgoingHttpHeaders {
  return Object.fromEntries(
    Object.entries(given).filter(([name]) => !name.startsWith(":") && name !== "host" && name !== "connection"),
  );
}
