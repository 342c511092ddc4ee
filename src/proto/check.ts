// The strict check that protobufjs lacks: it drops misspelt fields, unknown enum values and second members of a oneof without a
// word. In: a message in typed form (snake_case, enums as strings). Out: the normal form that protobufjs encodes to the same
// bytes whatever the order of keys: map entries sorted, defaults of fields without presence left out. Called by encode.ts only.
import protobuf from "protobufjs";

/** One fault; `pointer` is a JSON pointer into the message. */
export interface MessageProblem {
  readonly pointer: string;
  readonly detail: string;
}

type Fields = Record<string, unknown>;

/** Collects every fault in `problems`; what it returns then is not to be used. */
export function normalForm(type: protobuf.Type, message: unknown, problems: MessageProblem[]): Fields {
  return new Check(problems).message(type, message, "");
}

const isObject = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);

function step(pointer: string, key: string): string {
  return `${pointer}/${key.includes("/") || key.includes("~") ? key.replaceAll("~", "~0").replaceAll("/", "~1") : key}`;
}

/** A scalar at its default is not written, or equal messages would have unequal bytes. */
function isDefault(field: protobuf.Field, value: unknown): boolean {
  if (
    field.repeated ||
    field.map ||
    field.partOf ||
    field.options?.["proto3_optional"] ||
    field.resolvedType instanceof protobuf.Type
  ) {
    return false;
  }
  if (field.type === "string") return value === "";
  // 64-bit numbers are texts by now.
  return value === 0 || value === "0" || value === false || (value instanceof Uint8Array && value.length === 0);
}

class Check {
  constructor(private readonly problems: MessageProblem[]) {}

  message(type: protobuf.Type, value: unknown, at: string): Fields {
    if (!isObject(value)) {
      this.#report(at, `must be an object (${type.fullName.slice(1)})`);
      return {};
    }
    const out: Fields = {};
    const chosen = new Map<protobuf.OneOf, string>();
    for (const key of Object.keys(value)) {
      const pointer = step(at, key);
      const field = Object.hasOwn(type.fields, key) ? type.fields[key] : undefined;
      const item = value[key];
      if (!field) this.#report(pointer, `unknown field of ${type.fullName.slice(1)}`);
      else if (item === undefined) this.#report(pointer, "is undefined; leave it out");
      else {
        if (field.partOf) this.#choose(chosen, field.partOf, key, pointer);
        const checked = this.#field(field, item, pointer);
        if (!isDefault(field, checked)) out[key] = checked;
      }
    }
    return out;
  }

  #choose(chosen: Map<protobuf.OneOf, string>, oneof: protobuf.OneOf, key: string, at: string): void {
    const other = chosen.get(oneof);
    if (other !== undefined) this.#report(at, `excludes ${other}: both are of the oneof ${oneof.name}`);
    chosen.set(oneof, key);
  }

  #field(field: protobuf.Field, value: unknown, at: string): unknown {
    if (field.map) {
      if (!isObject(value)) return this.#report(at, "must be an object (map)");
      const out: Fields = Object.create(null);
      for (const key of Object.keys(value).sort()) out[key] = this.#single(field, value[key], step(at, key));
      return out;
    }
    if (!field.repeated) return this.#single(field, value, at);
    if (!Array.isArray(value)) return this.#report(at, "must be an array");
    return value.map((item, i) => this.#single(field, item, `${at}/${i}`));
  }

  #single(field: protobuf.Field, value: unknown, at: string): unknown {
    const type = field.resolvedType;
    if (type instanceof protobuf.Type) return this.message(type, value, at);
    if (type instanceof protobuf.Enum) {
      const number = typeof value === "string" ? type.values[value] : value;
      if (typeof number === "number" && type.valuesById[number] !== undefined) return number;
      return this.#report(at, `must be one of ${Object.keys(type.values).join(", ")}`);
    }
    switch (field.type) {
      case "string":
        return typeof value === "string" ? value : this.#report(at, "must be a string");
      case "bool":
        return typeof value === "boolean" ? value : this.#report(at, "must be a boolean");
      case "bytes":
        return value instanceof Uint8Array ? value : this.#report(at, "must be bytes");
      case "double":
      case "float":
        return typeof value === "number" ? value : this.#report(at, "must be a number");
      default:
        return this.#integer(field.type, value, at);
    }
  }

  #integer(type: string, value: unknown, at: string): unknown {
    const bits = type.endsWith("64") ? 64 : 32;
    const unsigned = type.startsWith("u") || type.startsWith("fixed");
    const isWhole =
      typeof value === "number"
        ? Number.isSafeInteger(value)
        : typeof value === "string" && bits === 64 && /^-?\d{1,20}$/.test(value);
    if (!isWhole) return this.#report(at, `must be a whole number (${type})`);
    const whole = BigInt(value as number | string); // Checked in the line before.
    const fitting = unsigned ? BigInt.asUintN(bits, whole) : BigInt.asIntN(bits, whole);
    if (fitting !== whole) return this.#report(at, `is out of range (${type})`);
    return bits === 64 ? String(whole) : Number(whole);
  }

  #report(pointer: string, detail: string): undefined {
    this.problems.push({ pointer, detail });
    return undefined;
  }
}
