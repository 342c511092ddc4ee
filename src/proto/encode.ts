// Messages of Envoy's API to bytes and back: typed by the generated types, checked at run time, deterministic.
// Called by translate/ for every resource, once per version of it; the bytes are then passed around, never the message.
import type { Any } from "../../gen/google/protobuf/Any.js";
import type { Types } from "../../gen/types.js";
import { type MessageProblem, normalForm } from "./check.js";
import { messageType, type TypeName } from "./root.js";

const typeUrlPrefix = "type.googleapis.com/";

/** A message that breaks its type in ways the compiler can't see. It is a fault of ours, never of a caller: nothing is sent. */
export class InvalidMessage extends Error {
  constructor(
    readonly typeName: string,
    readonly problems: readonly MessageProblem[],
  ) {
    super(`${typeName}: ${problems.map((problem) => `${problem.pointer || "/"} ${problem.detail}`).join("; ")}`);
    this.name = "InvalidMessage";
  }
}

/**
 * The same message gives the same bytes, whatever the order of its keys.
 * @throws InvalidMessage with every fault in it
 */
export function encode<N extends TypeName>(typeName: N, message: Types[N]): Buffer {
  const type = messageType(typeName);
  const problems: MessageProblem[] = [];
  const checked = normalForm(type, message, problems);
  if (problems.length > 0) throw new InvalidMessage(typeName, problems);
  const bytes = type.encode(checked).finish(); // Needs no fromObject: it is in normal form already.
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Packs a message, as every `typed_config` of Envoy wants it. @throws InvalidMessage */
export function any<N extends TypeName>(typeName: N, message: Types[N]): Any {
  return { type_url: typeUrl(typeName), value: encode(typeName, message) } as Any; // The one place that makes the brand.
}

/** `type.googleapis.com/<full name>`, as Any and xDS requests name a type. */
export function typeUrl(typeName: TypeName): string {
  return typeUrlPrefix + typeName;
}

/** Enums are strings, 64-bit numbers are strings, lists are always there; unset fields are left out. @throws on damaged bytes */
export function decode<N extends TypeName>(typeName: N, bytes: Uint8Array): Types[N] {
  const type = messageType(typeName);
  // Made from the same JSON.
  return type.toObject(type.decode(bytes), { enums: String, longs: String, arrays: true }) as Types[N];
}
