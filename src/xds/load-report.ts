// The wire of load reports, read at the door: a LoadStatsRequest in, our words out. The only place that knows its fields.
// Envoy repeats its node, 61 KB, in each of them: it is read once per stream.
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/load_stats/v3/lrs.proto
import protobuf from "protobufjs";
import { addressKey } from "../model/endpoint.js";
import type { EndpointLoad, LoadReport } from "../status/load-stream.js";
import { type RequestNode, readNode } from "./request.js";

/** One message of a load report stream. */
export interface LoadStatsRequest {
  /** Undefined when it was not asked for, or is not there. */
  readonly node: RequestNode | undefined;
  readonly report: LoadReport;
  /** Endpoints in it. */
  readonly endpoints: number;
}

interface Reading {
  readonly clusters: Map<string, Map<string, EndpointLoad>>;
  intervalMs: number | undefined;
  endpoints: number;
}

/** @throws RangeError when the bytes are not the message. */
export function readLoadStatsRequest(bytes: Buffer, isNodeKnown: boolean): LoadStatsRequest {
  const reader = protobuf.Reader.create(bytes);
  const reading: Reading = { clusters: new Map(), intervalMs: undefined, endpoints: 0 };
  let node: RequestNode | undefined;
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1 && !isNodeKnown) node = readNode(reader, reader.uint32());
    else if (tag >>> 3 === 2) readCluster(reader, reader.uint32(), reading);
    else reader.skipType(tag & 7);
  }
  const { clusters, intervalMs, endpoints } = reading;
  return { node, report: { intervalMs, clusters }, endpoints };
}

/** envoy.config.endpoint.v3.ClusterStats. One without traffic has no localities, but an interval. */
function readCluster(reader: protobuf.Reader, length: number, into: Reading): void {
  const end = reader.pos + length;
  const endpoints = new Map<string, EndpointLoad>();
  let name = "";
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) name = reader.string();
    else if (tag >>> 3 === 2) into.endpoints += readLocality(reader, reader.uint32(), endpoints);
    else if (tag >>> 3 === 4) into.intervalMs = Math.max(into.intervalMs ?? 0, readDuration(reader, reader.uint32()));
    else reader.skipType(tag & 7);
  }
  if (endpoints.size > 0) into.clusters.set(name, endpoints);
}

/** UpstreamLocalityStats: its endpoints. Returns how many it read. */
function readLocality(reader: protobuf.Reader, length: number, into: Map<string, EndpointLoad>): number {
  const end = reader.pos + length;
  let count = 0;
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 !== 7) {
      reader.skipType(tag & 7);
      continue;
    }
    count += 1;
    const { key, inFlight, issued } = readEndpoint(reader, reader.uint32());
    if (key === "" || inFlight + issued === 0) continue;
    const known = into.get(key); // One address may be in several localities and priorities.
    into.set(key, { inFlight: inFlight + (known?.inFlight ?? 0), issued: issued + (known?.issued ?? 0) });
  }
  return count;
}

/** UpstreamEndpointStats. */
function readEndpoint(reader: protobuf.Reader, length: number): EndpointLoad & { key: string } {
  const end = reader.pos + length;
  let [key, inFlight, issued] = ["", 0, 0];
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) key = readAddress(reader, reader.uint32());
    else if (tag >>> 3 === 3) inFlight = Number(reader.uint64());
    else if (tag >>> 3 === 7) issued = Number(reader.uint64());
    else reader.skipType(tag & 7);
  }
  return { key, inFlight, issued };
}

/** envoy.config.core.v3.Address: the key of the endpoint. Behind a hop, an internal address has it as its endpoint id. */
function readAddress(reader: protobuf.Reader, length: number): string {
  const end = reader.pos + length;
  let key = "";
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) key = readSocketAddress(reader, reader.uint32());
    else if (tag >>> 3 === 3) key = readEndpointId(reader, reader.uint32());
    else reader.skipType(tag & 7);
  }
  return key;
}

function readSocketAddress(reader: protobuf.Reader, length: number): string {
  const end = reader.pos + length;
  let [address, port] = ["", 0];
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 2) address = reader.string();
    else if (tag >>> 3 === 3) port = reader.uint32();
    else reader.skipType(tag & 7);
  }
  return address === "" ? "" : addressKey({ address, port });
}

function readEndpointId(reader: protobuf.Reader, length: number): string {
  const end = reader.pos + length;
  let id = "";
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 2) id = reader.string();
    else reader.skipType(tag & 7);
  }
  return id;
}

/** ms. */
function readDuration(reader: protobuf.Reader, length: number): number {
  const end = reader.pos + length;
  let [seconds, nanos] = [0, 0];
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) seconds = Number(reader.int64());
    else if (tag >>> 3 === 2) nanos = reader.int32();
    else reader.skipType(tag & 7);
  }
  return seconds * 1_000 + nanos / 1_000_000;
}
