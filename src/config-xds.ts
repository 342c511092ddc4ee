// Settings of the xDS port, apart from the table for their size. Limits say here what happens at them. Called by config-table.ts.
import { address, integer } from "./config-settings.js";

const second = 1000;
const minute = 60 * second;
const mebibyte = 1024 * 1024;

/** Read into `config.xds`. */
export const xdsSettings = {
  address: address("CHANCERY_XDS_ADDRESS", { default: "127.0.0.1:18000", about: "Where Envoys connect (gRPC, cleartext)." }),
  maxConnections: integer("CHANCERY_XDS_MAX_CONNECTIONS", {
    unit: "connections",
    default: 10_000,
    min: 1,
    max: 1_000_000,
    about: "Connections to the xDS port; one more is closed at once.",
  }),
  maxConnectionsPerAddress: integer("CHANCERY_XDS_MAX_CONNECTIONS_PER_ADDRESS", {
    unit: "connections",
    default: 0,
    min: 0,
    max: 1_000_000,
    about:
      "The same from one IP address. 0: no bound of its own, as behind a TCP load balancer or NAT a whole fleet has one address.",
  }),
  prefaceTimeoutMs: integer("CHANCERY_XDS_PREFACE_TIMEOUT_MS", {
    unit: "ms",
    default: 5 * second,
    min: 100,
    max: minute,
    about: "A new connection that has not sent HTTP/2's preface by then is closed; one that sends anything else, at once.",
  }),
  idleConnectionMs: integer("CHANCERY_XDS_IDLE_CONNECTION_MS", {
    unit: "ms",
    default: minute,
    min: second,
    max: 60 * minute,
    about: "A connection without a stream for this long is closed.",
  }),
  maxStreamsPerConnection: integer("CHANCERY_XDS_MAX_STREAMS_PER_CONNECTION", {
    unit: "streams",
    default: 8,
    min: 1,
    max: 100_000,
    about:
      "Streams that one connection may have open; further ones wait at the client. Nodes that use the separate services need one per cluster.",
  }),
  maxMessageBytes: integer("CHANCERY_XDS_MAX_MESSAGE_BYTES", {
    unit: "bytes",
    default: 4 * mebibyte,
    min: 64 * 1024,
    max: 64 * mebibyte,
    about:
      "Largest request read from an Envoy; beyond it the stream ends with RESOURCE_EXHAUSTED. A reconnecting Envoy names all that it has in one.",
  }),
  maxNames: integer("CHANCERY_XDS_MAX_NAMES", {
    unit: "names",
    default: 20_000,
    min: 100,
    max: 1_000_000,
    about: "Names that one subscription may hold; beyond it the stream ends with RESOURCE_EXHAUSTED.",
  }),
  maxNodeIdLength: integer("CHANCERY_XDS_MAX_NODE_ID_LENGTH", {
    unit: "characters",
    default: 255,
    min: 16,
    max: 1024,
    about: "Longest id and cluster of a node; beyond it the stream ends with RESOURCE_EXHAUSTED.",
  }),
  maxNodeMetadataBytes: integer("CHANCERY_XDS_MAX_NODE_METADATA_BYTES", {
    unit: "bytes",
    default: 64 * 1024,
    min: 1024,
    max: 4 * mebibyte,
    about: "Largest `metadata` of a node; beyond it the stream ends with RESOURCE_EXHAUSTED.",
  }),
  requestsPerSecond: integer("CHANCERY_XDS_REQUESTS_PER_SECOND", {
    unit: "requests/s",
    default: 200,
    min: 1,
    max: 100_000,
    about: "Requests that one stream may send, on average; beyond it reading from it pauses.",
  }),
  requestBurst: integer("CHANCERY_XDS_REQUEST_BURST", {
    unit: "requests",
    default: 1000,
    min: 1,
    max: 1_000_000,
    about: "Requests that one stream may send at once before the rate counts.",
  }),
  newStreamsPerSecond: integer("CHANCERY_XDS_NEW_STREAMS_PER_SECOND", {
    unit: "streams/s",
    default: 200,
    min: 1,
    max: 100_000,
    about: "New streams accepted, on average, per replica; beyond it RESOURCE_EXHAUSTED (Envoy comes again, with back-off).",
  }),
  newStreamBurst: integer("CHANCERY_XDS_NEW_STREAM_BURST", {
    unit: "streams",
    default: 500,
    min: 1,
    max: 1_000_000,
    about: "New streams accepted at once before the rate counts.",
  }),
  maxFirstPushes: integer("CHANCERY_XDS_MAX_FIRST_PUSHES", {
    unit: "streams",
    default: 200,
    min: 1,
    max: 1_000_000,
    about:
      "Streams that may be on their first configuration at once, per replica: opened, and not yet answered by their Envoy, for 10 s at most. Beyond it UNAVAILABLE (Envoy comes again, with back-off).",
  }),
  maxReportNodes: integer("CHANCERY_XDS_MAX_REPORT_NODES", {
    unit: "nodes",
    default: 10_000,
    min: 1,
    max: 1_000_000,
    about: "Envoys whose load reports or metrics this replica follows; a stream of one more ends with RESOURCE_EXHAUSTED.",
  }),
  writeStallMs: integer("CHANCERY_XDS_WRITE_STALL_MS", {
    unit: "ms",
    default: 30 * second,
    min: second,
    max: 10 * minute,
    about: "A stream whose last response has not left for this long is cut.",
  }),
  keepaliveMs: integer("CHANCERY_XDS_KEEPALIVE_MS", {
    unit: "ms",
    default: 30 * second,
    min: second,
    max: 10 * minute,
    about: "A quiet connection is pinged after this long.",
  }),
  keepaliveTimeoutMs: integer("CHANCERY_XDS_KEEPALIVE_TIMEOUT_MS", {
    unit: "ms",
    default: 10 * second,
    min: 100,
    max: minute,
    about: "A ping without an answer for this long ends the connection.",
  }),
  streamAgeMs: integer("CHANCERY_XDS_STREAM_AGE_MS", {
    unit: "ms",
    default: 0,
    min: 0,
    max: 7 * 24 * 60 * minute,
    about: "Idle ADS streams end at about this age, so that a fleet spreads over new replicas. 0: never.",
  }),
  balancePerSecond: integer("CHANCERY_XDS_BALANCE_PER_SECOND", {
    unit: "streams/s",
    default: 50,
    min: 0,
    max: 10_000,
    about:
      "A replica with clearly more than its share of the Envoys ends 2 % of its idle ADS streams per second, at most so many, until shares are even. 0: never.",
  }),
  inFlightOverrideMs: integer("CHANCERY_XDS_IN_FLIGHT_OVERRIDE_MS", {
    unit: "ms",
    default: 5 * second,
    min: 100,
    max: minute,
    about: "A response without an answer for this long no longer holds the next one back.",
  }),
  refusalRetryMinMs: integer("CHANCERY_XDS_REFUSAL_RETRY_MIN_MS", {
    unit: "ms",
    default: 30 * second,
    min: second,
    max: 60 * minute,
    about:
      "First repeat of a resource that an Envoy refused for a reason that may pass (a port in use). Doubles up to the maximum.",
  }),
  refusalRetryMaxMs: integer("CHANCERY_XDS_REFUSAL_RETRY_MAX_MS", {
    unit: "ms",
    default: 5 * minute,
    min: second,
    max: 24 * 60 * minute,
    about: "Longest time between such repeats.",
  }),
  unseenClusterMs: integer("CHANCERY_XDS_UNSEEN_CLUSTER_MS", {
    unit: "ms",
    default: 2 * second,
    min: 100,
    max: minute,
    about: "A new cluster whose endpoints an Envoy does not ask for within this, while it asks for others', counts as refused.",
  }),
  clusterlessMs: integer("CHANCERY_XDS_CLUSTERLESS_MS", {
    unit: "ms",
    default: second,
    min: 100,
    max: minute,
    about:
      "An Envoy that asks for everything but clusters for this long is stuck in a broken one, and gets all clusters unasked.",
  }),
} as const;
