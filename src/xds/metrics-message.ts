// The wire of Envoy's metrics service, read at the door: a StreamMetricsMessage in, our words out. The only place that knows its fields
// and the names of Envoy's statistics. A message has one family per statistic; nearly all of them are passed over by their name.
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/metrics/v3/metrics_service.proto
import protobuf from "protobufjs";
import { controlPlaneCluster } from "../model/node.js";
import type { ClusterGauges } from "../status/left-over.js";
import type { MetricsSample } from "../status/metrics-stream.js";
import { type RequestNode, readNode } from "./request.js";

/** One message of a metrics stream. */
export interface MetricsMessage {
  /** In the first one of a stream. */
  readonly node: RequestNode | undefined;
  readonly sample: MetricsSample;
}

/** Labels that Envoy takes out of the names, as `emit_tags_as_labels` of the bootstrap asks. */
const clusterLabel = "envoy.cluster_name";
const classLabel = "envoy.response_code_class";
const listenerLabel = "envoy.http_conn_manager_prefix";
/** Envoy's own admin page is no traffic. */
const adminPrefix = "admin";

type Gauge = keyof ClusterGauges;
/** Statistic → what it is to us. */
const gauges: ReadonlyMap<string, Gauge> = new Map([
  ["cluster.upstream_cx_active", "connections"],
  ["cluster.upstream_rq_active", "requests"],
  ["cluster.upstream_rq_pending_active", "pending"],
  ["cluster.membership_change", "membershipChanges"],
  ["cluster.membership_total", "hosts"],
  ["cluster.membership_healthy", "healthyHosts"],
]);
const answersName = "http.downstream_rq_xx";
/** Seconds since the process began. */
const uptimeName = "server.uptime";
/**
 * Connections over all listeners, those that are being let go too, without the admin page's: of clients, and those within the Envoy that
 * lead to endpoints through a hop. By listener they are told too, as long as it is there. Measured on Envoy 1.40.
 */
const totalName = "server.total_connections";
const byListenerName = "listener.downstream_cx_active";
const addressLabel = "envoy.listener_address";
/** How the addresses of listeners begin that open no port. */
const internalAddress = "envoy_internal_";
/** Whatever begins otherwise, or is longer, is passed over without being read. */
const wanted = new Set([answersName, uptimeName, totalName, byListenerName, ...gauges.keys()]);
const longestName = Math.max(...[...wanted].map((name) => name.length));
const firstLetters = new Set(["c", "h", "l", "s"].map((letter) => letter.charCodeAt(0)));

interface Metric {
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
  readonly stampMs: number | undefined;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

interface Reading {
  readonly clusters: Map<string, Writable<ClusterGauges>>;
  stampMs: number | undefined;
  uptimeMs: number | undefined;
  answers: number;
  errors: number;
  /** Undefined: the Envoy's settings leave that out. */
  totalConnections: number | undefined;
  /** At listeners that clients reach, and at those within the Envoy. */
  readonly connections: { clients: number; internal: number };
}

/** @throws RangeError when the bytes are not the message. */
export function readMetricsMessage(bytes: Buffer): MetricsMessage {
  const reader = protobuf.Reader.create(bytes);
  const reading: Reading = {
    clusters: new Map(),
    stampMs: undefined,
    uptimeMs: undefined,
    answers: 0,
    errors: 0,
    totalConnections: undefined,
    connections: { clients: 0, internal: 0 },
  };
  let node: RequestNode | undefined;
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) node = readIdentifier(reader, reader.uint32()) ?? node;
    else if (tag >>> 3 === 2) readFamily(reader, bytes, reader.uint32(), reading);
    else reader.skipType(tag & 7);
  }
  const { clusters, ...rest } = reading;
  // The cluster of the control plane itself is always in use: without any gauge, the Envoy's settings leave them out.
  // Its host came when the process began; counters tell what is new since the last message.
  const isFirstOfProcess = (clusters.get(controlPlaneCluster)?.membershipChanges ?? 0) > 0;
  const { stampMs, uptimeMs, answers, errors } = rest;
  return {
    node,
    sample: {
      stampMs,
      uptimeMs,
      isFirstOfProcess,
      clusters: clusters.size > 0 ? clusters : undefined,
      answers,
      errors,
      clientConnections: clientConnectionsIn(reading),
    },
  };
}

/**
 * The two are read one after the other, while connections come and go: a hop that has just been opened, taken from the total, would hide a
 * client. So the larger count is told. Without gauges by listener, hops count as clients: that only makes a drain slower.
 */
function clientConnectionsIn({ totalConnections, connections: { clients, internal } }: Reading): number | undefined {
  return totalConnections === undefined ? undefined : Math.max(clients, totalConnections - internal);
}

function readIdentifier(reader: protobuf.Reader, length: number): RequestNode | undefined {
  const end = reader.pos + length;
  let node: RequestNode | undefined;
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) node = readNode(reader, reader.uint32());
    else reader.skipType(tag & 7);
  }
  return node;
}

/** io.prometheus.client.MetricFamily. Its name comes first. */
function readFamily(reader: protobuf.Reader, bytes: Buffer, length: number, into: Reading): void {
  const end = reader.pos + length;
  let name: string | undefined;
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) {
      name = readName(reader, bytes);
      if (name === undefined || !wanted.has(name)) return skipTo(reader, end);
    } else if (tag >>> 3 === 4 && name !== undefined) take(name, readMetric(reader, reader.uint32()), into);
    else reader.skipType(tag & 7);
  }
}

function readName(reader: protobuf.Reader, bytes: Buffer): string | undefined {
  const length = reader.uint32();
  const start = reader.pos;
  reader.skip(length);
  if (length > longestName || !firstLetters.has(bytes[start] ?? 0)) return undefined;
  return bytes.toString("latin1", start, reader.pos);
}

/** @throws RangeError when there is less. */
function skipTo(reader: protobuf.Reader, end: number): void {
  if (end > reader.pos) reader.skip(end - reader.pos);
}

function take(name: string, { labels, value, stampMs }: Metric, into: Reading): void {
  into.stampMs = stampMs ?? into.stampMs;
  if (name === uptimeName) into.uptimeMs = value * 1_000;
  if (name === totalName) {
    into.totalConnections = value;
    return;
  }
  if (name === byListenerName) {
    into.connections[labels.get(addressLabel)?.startsWith(internalAddress) ? "internal" : "clients"] += value;
    return;
  }
  if (name === answersName) {
    const first = labels.get(classLabel);
    if (labels.get(listenerLabel) === adminPrefix || first === "1") return; // 1xx are not the answer.
    into.answers += value;
    if (first === "5") into.errors += value;
    return;
  }
  const gauge = gauges.get(name);
  const cluster = labels.get(clusterLabel);
  if (gauge === undefined || cluster === undefined) return;
  const known = into.clusters.get(cluster) ?? { connections: 0, requests: 0, pending: 0, membershipChanges: 0 };
  into.clusters.set(cluster, known);
  known[gauge] = value;
}

/** io.prometheus.client.Metric: a gauge or a counter. */
function readMetric(reader: protobuf.Reader, length: number): Metric {
  const end = reader.pos + length;
  const labels = new Map<string, string>();
  let value = 0;
  let stampMs: number | undefined;
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) readLabel(reader, reader.uint32(), labels);
    else if (tag >>> 3 === 2 || tag >>> 3 === 3) value = readValue(reader, reader.uint32());
    else if (tag >>> 3 === 6) stampMs = Number(reader.int64());
    else reader.skipType(tag & 7);
  }
  return { labels, value, stampMs };
}

function readLabel(reader: protobuf.Reader, length: number, into: Map<string, string>): void {
  const end = reader.pos + length;
  let [name, value] = ["", ""];
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) name = reader.string();
    else if (tag >>> 3 === 2) value = reader.string();
    else reader.skipType(tag & 7);
  }
  into.set(name, value);
}

/** A Gauge or a Counter: both have a double as their first field. NaN and infinities count as nothing. */
function readValue(reader: protobuf.Reader, length: number): number {
  const end = reader.pos + length;
  let value = 0;
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) value = reader.double();
    else reader.skipType(tag & 7);
  }
  return Number.isFinite(value) ? value : 0;
}
