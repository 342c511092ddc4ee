// Encoded messages as people read them: protobuf's JSON form in snake_case, with every Any unpacked. Test only.
import protobuf from "protobufjs";
import { root } from "../../src/proto/root.js";

/** Bytes of the message → plain object for YAML; unset fields and empty lists are left out. */
export function readable(typeName: string, bytes: Uint8Array): unknown {
  const type = root.lookupType(typeName);
  return ofMessage(type, type.decode(bytes) as unknown as Record<string, unknown>);
}

const nanosDigits = 9;

function ofMessage(type: protobuf.Type, message: Record<string, unknown>): unknown {
  switch (type.fullName) {
    case ".google.protobuf.Any":
      return ofAny(message);
    case ".google.protobuf.Duration": {
      const nanos = String(message["nanos"] ?? 0)
        .padStart(nanosDigits, "0")
        .replace(/0+$/, "");
      return `${String(message["seconds"] ?? 0)}${nanos ? `.${nanos}` : ""}s`;
    }
  }
  const isWrapper = type.fullName.startsWith(".google.protobuf.") && type.fullName.endsWith("Value") && type.fields["value"];
  if (isWrapper) return ofSingle(isWrapper, message["value"]);
  const out: Record<string, unknown> = {};
  for (const field of type.fieldsArray) {
    if (!Object.hasOwn(message, field.name)) continue;
    const value = message[field.name];
    if (field.repeated && Array.isArray(value)) {
      if (value.length > 0) out[field.name] = value.map((item: unknown) => ofSingle(field, item));
    } else if (field.map) {
      const entries = Object.entries(value as Record<string, unknown>);
      if (entries.length > 0) out[field.name] = Object.fromEntries(entries.map(([key, item]) => [key, ofSingle(field, item)]));
    } else out[field.name] = ofSingle(field, value);
  }
  return out;
}

function ofAny(message: Record<string, unknown>): unknown {
  const url = String(message["type_url"]);
  const inner = readable(url.slice(url.indexOf("/") + 1), (message["value"] as Uint8Array | undefined) ?? new Uint8Array());
  return { "@type": url, ...(inner as object) };
}

function ofSingle(field: protobuf.Field, value: unknown): unknown {
  if (field.resolvedType instanceof protobuf.Type) return ofMessage(field.resolvedType, value as Record<string, unknown>);
  if (field.resolvedType instanceof protobuf.Enum) return field.resolvedType.valuesById[Number(value)] ?? value;
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (typeof value === "object") return Number(String(value)); // A 64-bit number.
  return value ?? (field.type === "bool" ? false : 0);
}
