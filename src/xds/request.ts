// The wire, read at the door: one DiscoveryRequest or DeltaDiscoveryRequest in, our words out.
// The only place that knows the fields of requests. Name lists stay raw bytes until somebody needs them: a state-of-the-world ack
// repeats all names (31 KB at 1,000 clusters) and is nearly always the list that the stream has named before.
import protobuf from "protobufjs";
import type { NodeIdentity } from "../model/node.js";
import { decode } from "../proto/encode.js";

/** A list of names as it came. */
export interface RawNames {
  /** The repeated field as it is on the wire, tags included; equal bytes, equal list. */
  readonly bytes: Buffer;
  readonly count: number;
}

/** An Envoy as it names itself, and how much it says: what we don't use is measured, not read. */
export interface RequestNode extends NodeIdentity {
  /** The whole node. */
  readonly bytes: number;
  /** Its bootstrap has the listener for hops (`metadata.chancery.hop`, cli/bootstrap.ts). */
  readonly hasHop: boolean;
  /** Its `metadata` alone. */
  readonly metadataBytes: number;
}

export interface Request {
  readonly typeUrl: string;
  /** Only in the first request of a stream, mostly. */
  readonly node: RequestNode | undefined;
  /** "" in a request that answers nothing. */
  readonly nonce: string;
  /** Envoy's own words, when it refuses what the nonce brought. */
  readonly refusal: string | undefined;
  /** State of the world: all names. Delta: names to add. */
  readonly names: RawNames;
  /** Delta only. */
  readonly unsubscribe: RawNames;
  /** State of the world: what it has; "" for nothing. */
  readonly version: string;
  /** Delta: name → version that it has. Only in the first request for a type. */
  readonly initialVersions: ReadonlyMap<string, string>;
}

const noNames: RawNames = { bytes: Buffer.alloc(0), count: 0 };
const noVersions: ReadonlyMap<string, string> = new Map();

/** Most bytes of an Envoy's refusal that are kept. */
const maxRefusalLength = 4_096;

/** Collects a repeated string field; nearly always contiguous, and then a slice of the request. */
class NameCollector {
  #start = -1;
  #end = -1;
  #parts: Buffer[] = [];
  #count = 0;

  add(whole: Buffer, start: number, end: number): void {
    if (this.#end === start) this.#end = end;
    else {
      this.#close(whole);
      this.#start = start;
      this.#end = end;
    }
    this.#count += 1;
  }

  finish(whole: Buffer): RawNames {
    if (this.#count === 0) return noNames;
    this.#close(whole);
    const [only] = this.#parts;
    return { bytes: only && this.#parts.length === 1 ? only : Buffer.concat(this.#parts), count: this.#count };
  }

  #close(whole: Buffer): void {
    if (this.#start >= 0) this.#parts.push(whole.subarray(this.#start, this.#end));
  }
}

/** @throws RangeError when the bytes are not the message. */
export function readSotwRequest(bytes: Buffer): Request {
  const reader = protobuf.Reader.create(bytes);
  const names = new NameCollector();
  let [typeUrl, nonce, version] = ["", "", ""];
  let node: RequestNode | undefined;
  let refusal: string | undefined;
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const tag = reader.uint32();
    switch (tag >>> 3) {
      case 1:
        version = reader.string();
        break;
      case 2:
        node = readNode(reader, reader.uint32());
        break;
      case 3:
        reader.skip(reader.uint32());
        names.add(bytes, start, reader.pos);
        break;
      case 4:
        typeUrl = reader.string();
        break;
      case 5:
        nonce = reader.string();
        break;
      case 6:
        refusal = readStatus(reader, reader.uint32());
        break;
      default:
        reader.skipType(tag & 7);
    }
  }
  return {
    typeUrl,
    node,
    nonce,
    refusal,
    names: names.finish(bytes),
    unsubscribe: noNames,
    version,
    initialVersions: noVersions,
  };
}

/** @throws RangeError when the bytes are not the message. */
export function readDeltaRequest(bytes: Buffer): Request {
  const reader = protobuf.Reader.create(bytes);
  const names = new NameCollector();
  const unsubscribe = new NameCollector();
  const initialVersions = new Map<string, string>();
  let [typeUrl, nonce] = ["", ""];
  let node: RequestNode | undefined;
  let refusal: string | undefined;
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const tag = reader.uint32();
    switch (tag >>> 3) {
      case 1:
        node = readNode(reader, reader.uint32());
        break;
      case 2:
        typeUrl = reader.string();
        break;
      case 3:
        reader.skip(reader.uint32());
        names.add(bytes, start, reader.pos);
        break;
      case 4:
        reader.skip(reader.uint32());
        unsubscribe.add(bytes, start, reader.pos);
        break;
      case 5:
        readEntry(reader, reader.uint32(), initialVersions);
        break;
      case 6:
        nonce = reader.string();
        break;
      case 7:
        refusal = readStatus(reader, reader.uint32());
        break;
      default:
        reader.skipType(tag & 7);
    }
  }
  return {
    typeUrl,
    node,
    nonce,
    refusal,
    names: names.finish(bytes),
    unsubscribe: unsubscribe.finish(bytes),
    version: "",
    initialVersions,
  };
}

/** The names in a raw list, in its order. */
export function decodeNames(raw: RawNames): string[] {
  const reader = protobuf.Reader.create(raw.bytes);
  const names: string[] = [];
  while (reader.pos < reader.len) {
    reader.uint32();
    names.push(reader.string());
  }
  return names;
}

function readEntry(reader: protobuf.Reader, length: number, into: Map<string, string>): void {
  const end = reader.pos + length;
  let [key, value] = ["", ""];
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) key = reader.string();
    else if (tag >>> 3 === 2) value = reader.string();
    else reader.skipType(tag & 7);
  }
  into.set(key, value);
}

/** google.rpc.Status: its message. An empty one is still a refusal. */
function readStatus(reader: protobuf.Reader, length: number): string {
  const end = reader.pos + length;
  let message = "";
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 2) message = reader.string();
    else reader.skipType(tag & 7);
  }
  const words = message.trim(); // Envoy ends its list of listeners with a newline.
  return words === "" ? "refused without a reason" : words.slice(0, maxRefusalLength);
}

/** Envoy's node is 61 KB, nearly all of it the list of its extensions: only what we use is decoded. */
export function readNode(reader: protobuf.Reader, length: number): RequestNode {
  const end = reader.pos + length;
  let [id, gateway, region, zone, envoyVersion] = ["", "", "", "", ""];
  let metadataBytes = 0;
  let hasHop = false;
  while (reader.pos < end) {
    const tag = reader.uint32();
    switch (tag >>> 3) {
      case 1:
        id = reader.string();
        break;
      case 2:
        gateway = reader.string();
        break;
      case 3: {
        const size = reader.uint32();
        hasHop ||= readHasHop(reader.buf.subarray(reader.pos, reader.pos + size));
        reader.skip(size);
        metadataBytes += size; // A message field may come in pieces.
        break;
      }
      case 4:
        [region, zone] = readLocality(reader, reader.uint32());
        break;
      case 7:
        envoyVersion = reader.string();
        break;
      case 8:
        envoyVersion = readBuildVersion(reader, reader.uint32());
        break;
      default:
        reader.skipType(tag & 7);
    }
  }
  return { id, gateway, region, zone, envoyVersion, bytes: length, hasHop, metadataBytes };
}

/** Metadata is a few words; what is longer than that is not of our making. */
const maxMetadataRead = 65_536;

/** `chancery.hop` of a google.protobuf.Struct. */
function readHasHop(metadata: Uint8Array): boolean {
  if (metadata.length > maxMetadataRead) return false;
  const own = decode("google.protobuf.Struct", metadata).fields?.["chancery"]?.structValue;
  return own?.fields?.["hop"]?.boolValue === true;
}

function readLocality(reader: protobuf.Reader, length: number): [string, string] {
  const end = reader.pos + length;
  let [region, zone] = ["", ""];
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) region = reader.string();
    else if (tag >>> 3 === 2) zone = reader.string();
    else reader.skipType(tag & 7);
  }
  return [region, zone];
}

/** envoy.config.core.v3.BuildVersion, whose first field is envoy.type.v3.SemanticVersion. */
function readBuildVersion(reader: protobuf.Reader, length: number): string {
  const end = reader.pos + length;
  const numbers = [0, 0, 0];
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 !== 1) {
      reader.skipType(tag & 7);
      continue;
    }
    const versionEnd = reader.uint32() + reader.pos;
    while (reader.pos < versionEnd) {
      const part = reader.uint32();
      if (part >>> 3 >= 1 && part >>> 3 <= 3) numbers[(part >>> 3) - 1] = reader.uint32();
      else reader.skipType(part & 7);
    }
  }
  return numbers.join(".");
}
