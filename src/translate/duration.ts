// Our whole milliseconds as protobuf's Duration. Pure.
import type { DurationProto } from "../proto/messages.js";

/** 0 is an empty Duration, which Envoy reads as "0s": mostly "never" or "no limit". */
export function toDuration(ms: number): DurationProto {
  return { seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1_000_000 };
}
