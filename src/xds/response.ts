// Responses, spliced from resources that were encoded once. A response for streams in the same state is one Buffer for all.
// In: resources of a ResourceTable. Out: frames for `write`. Field numbers are those of envoy.service.discovery.v3.
import protobuf from "protobufjs";
import type { ResourceType } from "../model/resource-type.js";
import type { Resource } from "../snapshot/resource.js";
import { prefixBytes, toFramed } from "./grpc-status.js";
import { typeUrls } from "./type-urls.js";

/** One encoded response and what it carries. */
export interface Frame {
  /** Unique within a stream; the stream sees to that. */
  readonly nonce: string;
  /** With gRPC's prefix, as it is written: no stream copies it. */
  readonly framed: Buffer;
  readonly resources: readonly Resource[];
  /** Names told to be gone. State of the world: left out of the list. */
  readonly removed: readonly string[];
}

/** What a response holds apart from its nonce. */
export interface Content {
  /** Parts of the message, to be laid one after the other. */
  readonly body: readonly Uint8Array[];
  readonly resources: readonly Resource[];
  readonly removed: readonly string[];
}

/** Resource → its field of a response, encoded once: with its Any in state of the world, with name and version too in delta. */
const deltaPieces = new WeakMap<Resource, Uint8Array>();
const sotwPieces = new WeakMap<Resource, Uint8Array>();

const tag = (field: number) => (field << 3) | 2;

function packed(type: ResourceType, bytes: Uint8Array): Uint8Array {
  return protobuf.Writer.create().uint32(tag(1)).string(typeUrls[type]).uint32(tag(2)).bytes(bytes).finish();
}

function deltaPiece(type: ResourceType, resource: Resource): Uint8Array {
  const known = deltaPieces.get(resource);
  if (known) return known;
  const inner = protobuf.Writer.create()
    .uint32(tag(1))
    .string(resource.version)
    .uint32(tag(2))
    .bytes(packed(type, resource.bytes))
    .uint32(tag(3))
    .string(resource.name)
    .finish();
  const piece = protobuf.Writer.create().uint32(tag(2)).bytes(inner).finish();
  deltaPieces.set(resource, piece);
  return piece;
}

function sotwPiece(type: ResourceType, resource: Resource): Uint8Array {
  const known = sotwPieces.get(resource);
  if (known) return known;
  const piece = protobuf.Writer.create().uint32(tag(2)).bytes(packed(type, resource.bytes)).finish();
  sotwPieces.set(resource, piece);
  return piece;
}

/** DeltaDiscoveryResponse without its nonce. `systemVersion` is for people who read a trace. */
export function deltaContent(
  type: ResourceType,
  systemVersion: string,
  resources: readonly Resource[],
  removed: readonly string[],
): Content {
  const tail = protobuf.Writer.create().uint32(tag(1)).string(systemVersion).uint32(tag(4)).string(typeUrls[type]);
  for (const name of removed) tail.uint32(tag(6)).string(name);
  return { body: [...resources.map((resource) => deltaPiece(type, resource)), tail.finish()], resources, removed };
}

/** DiscoveryResponse without its nonce. */
export function sotwContent(
  type: ResourceType,
  version: string,
  resources: readonly Resource[],
  removed: readonly string[],
): Content {
  const tail = protobuf.Writer.create().uint32(tag(1)).string(version).uint32(tag(4)).string(typeUrls[type]).finish();
  return { body: [...resources.map((resource) => sotwPiece(type, resource)), tail], resources, removed };
}

/** The nonce is field 5 in both messages; fields may come in any order on the wire. */
export function toFrame({ body, resources, removed }: Content, nonce: string): Frame {
  return { nonce, framed: toFramed([...body, nonceField(nonce)]), resources, removed };
}

/** The same with another nonce: the last of two fields counts. */
export function withNonce({ framed, resources, removed }: Frame, nonce: string): Frame {
  return { nonce, framed: toFramed([framed.subarray(prefixBytes), nonceField(nonce)]), resources, removed };
}

function nonceField(nonce: string): Uint8Array {
  return protobuf.Writer.create().uint32(tag(5)).string(nonce).finish();
}

/** The answer to a request for a type that we don't serve, with its prefix: nothing is there. An Envoy that waits for it goes on. */
export function emptyAnswer(typeUrl: string, delta: boolean, names: readonly string[], nonce: string): Buffer {
  const writer = protobuf.Writer.create().uint32(tag(1)).string("0").uint32(tag(4)).string(typeUrl).uint32(tag(5)).string(nonce);
  if (delta) for (const name of names) writer.uint32(tag(6)).string(name);
  return toFramed([writer.finish()]);
}
