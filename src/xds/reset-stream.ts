// Cutting a stream whose peer does not read. gRPC knows no way: a status is written behind the data, and waits with it for a peer that
// takes neither; the HTTP/2 stream and what it buffers would stay as long as the connection. So the stream below is reset.
// In: a call of grpc-js, of which this file alone knows what is inside. Called by stream-call.ts.
import { constants } from "node:http2";
import { Duplex } from "node:stream";

const inside = (value: unknown, key: string): unknown =>
  typeof value === "object" && value !== null ? Reflect.get(value, key) : undefined;

/** The peer sees RESOURCE_EXHAUSTED. False when the stream could not be found: another version of grpc-js. */
export function resetStream(call: object): boolean {
  const stream = inside(inside(call, "call"), "stream");
  if (!(stream instanceof Duplex) || !("close" in stream) || typeof stream.close !== "function") return false;
  stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  return true;
}
