// A stream that an agent has no part in (load reports, metrics, discovery other than incremental ADS): bytes both ways, as they come.
// In: the Envoy's stream and a control plane's session. Called by agent.ts and ads-stream.ts.
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import { status } from "../xds/grpc-status.js";
import { begin, endWith, endWithTrailers, passedOn } from "./downstream.js";

/**
 * Opens the same call at the control plane. What it answers goes to the Envoy, as long as `isWanted`; what the Envoy sends is the caller's
 * to write, and the messages that come are the caller's to pass.
 */
export function openCall(
  session: ClientHttp2Session,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  isWanted: () => boolean = () => true,
): ClientHttp2Stream {
  const call = session.request(
    { ...passedOn(headers), ":method": "POST", ":path": headers[":path"] ?? "" },
    { endStream: false },
  );
  let trailers: IncomingHttpHeaders | undefined;
  call.on("response", (given, flags) => {
    if (!isWanted()) return;
    const answered = { ...passedOn(given), ":status": given[":status"] ?? 200 };
    if (flags & constants.NGHTTP2_FLAG_END_STREAM) {
      if (!stream.headersSent && !stream.destroyed) stream.respond(answered, { endStream: true });
    } else begin(stream, answered);
  });
  call.on("trailers", (given) => {
    trailers = given;
  });
  // An error is always followed by close, which tells all that the Envoy needs.
  call.on("error", () => undefined);
  const finish = (): void => {
    if (!call.closed) call.close(constants.NGHTTP2_NO_ERROR); // Its own half is over; ours would stay open.
    if (!isWanted()) return;
    if (trailers) endWithTrailers(stream, passedOn(trailers));
    else endWith(stream, status.UNAVAILABLE, "the control plane is gone");
  };
  call.on("end", finish);
  call.on("close", finish);
  stream.on("close", () => {
    if (!call.closed) call.close(constants.NGHTTP2_CANCEL);
  });
  return call;
}

export function relay(session: ClientHttp2Session, stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
  const call = openCall(session, stream, headers);
  stream.pipe(call);
  call.on("data", (chunk: Buffer) => {
    if (stream.destroyed || stream.writableEnded || stream.write(chunk)) return;
    call.pause();
    stream.once("drain", () => call.resume());
  });
}
