// The messages of incremental xDS, as an agent reads and writes them: resources stay the bytes that they came as.
// Field numbers are those of envoy.service.discovery.v3. Requests are read by xds/request.ts, as a control plane reads them.
import protobuf from "protobufjs";

/** A resource as the control plane sent it: name, version and Any in one message, of which only two fields are read. */
export interface AckedResource {
  readonly name: string;
  readonly version: string;
  /** envoy.service.discovery.v3.Resource. */
  readonly bytes: Buffer;
}

/** DeltaDiscoveryResponse. */
export interface DeltaResponse {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly resources: readonly AckedResource[];
  readonly removed: readonly string[];
}

const tag = (field: number) => (field << 3) | 2;

/** @throws RangeError when the bytes are not the message */
export function readDeltaResponse(bytes: Buffer): DeltaResponse {
  const reader = protobuf.Reader.create(bytes);
  const resources: AckedResource[] = [];
  const removed: string[] = [];
  let [typeUrl, nonce] = ["", ""];
  while (reader.pos < reader.len) {
    const key = reader.uint32();
    switch (key >>> 3) {
      case 2: {
        const length = reader.uint32();
        resources.push(readResource(bytes.subarray(reader.pos, reader.pos + length)));
        reader.skip(length);
        break;
      }
      case 4:
        typeUrl = reader.string();
        break;
      case 5:
        nonce = reader.string();
        break;
      case 6:
        removed.push(reader.string());
        break;
      default:
        reader.skipType(key & 7);
    }
  }
  return { typeUrl, nonce, resources, removed };
}

/** @throws RangeError */
export function readResource(bytes: Buffer): AckedResource {
  const reader = protobuf.Reader.create(bytes);
  let [name, version] = ["", ""];
  while (reader.pos < reader.len) {
    const key = reader.uint32();
    if (key >>> 3 === 1) version = reader.string();
    else if (key >>> 3 === 3) name = reader.string();
    else reader.skipType(key & 7);
  }
  return { name, version, bytes };
}

export function toDeltaResponse({ typeUrl, nonce, resources, removed }: DeltaResponse): Uint8Array {
  const writer = protobuf.Writer.create();
  for (const { bytes } of resources) writer.uint32(tag(2)).bytes(bytes);
  writer.uint32(tag(4)).string(typeUrl).uint32(tag(5)).string(nonce);
  for (const name of removed) writer.uint32(tag(6)).string(name);
  return writer.finish();
}

const initialVersionsField = 5;

/**
 * A first request in which the Envoy no longer says which form it has of some names, so that the control plane sends them again. Names
 * stay (one that is gone is told so), and so does the revision in a version: it tells how new a control plane must be.
 */
export function withUnknownVersions(
  request: Buffer,
  versions: ReadonlyMap<string, string>,
  unknown: ReadonlySet<string>,
): Buffer {
  const writer = protobuf.Writer.create();
  for (const [name, version] of versions) {
    const told = unknown.has(name) ? `unknown${version.slice(Math.max(0, version.indexOf(".")))}` : version;
    const entry = protobuf.Writer.create().uint32(tag(1)).string(name).uint32(tag(2)).string(told).finish();
    writer.uint32(tag(initialVersionsField)).bytes(entry);
  }
  return Buffer.concat([...withoutField(request, initialVersionsField), writer.finish()]);
}

/** The message in pieces, without one of its fields. */
function withoutField(bytes: Buffer, field: number): Buffer[] {
  const reader = protobuf.Reader.create(bytes);
  const pieces: Buffer[] = [];
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const key = reader.uint32();
    reader.skipType(key & 7);
    if (key >>> 3 !== field) pieces.push(bytes.subarray(start, reader.pos));
  }
  return pieces;
}
