// Every key of the environment, once: its unit, default, bound and meaning. `chancery serve --help` prints the table, and
// docs/configuration.md is made from it (a test compares the two). Limits say here what happens at them.
// Called by: config.ts, config-help.ts.
import { historySettings } from "./config-history.js";
import { refusalSettings } from "./config-refusals.js";
import { address, choice, file, integer, postgresUrl, type Setting, text, toggle } from "./config-settings.js";

const second = 1000;
const minute = 60 * second;
const mebibyte = 1024 * 1024;

/** section → field → setting. The types of `Config` follow from it. */
export const settings = {
  process: {
    replicaId: text("CHANCERY_REPLICA_ID", {
      pattern: /^[A-Za-z0-9]([A-Za-z0-9._-]{0,62})$/,
      shape: "1–63 of A–Z a–z 0–9 . _ -",
      default: undefined,
      shown: "host name and 6 random hex digits",
      about: "Name of this replica; two running replicas must not share one.",
    }),
    logLevel: choice("CHANCERY_LOG_LEVEL", ["trace", "debug", "info", "warn", "error", "fatal", "silent"], {
      default: "info",
      about: "Lowest level that is logged, as JSON lines on stdout.",
    }),
    shutdownDelayMs: integer("CHANCERY_SHUTDOWN_DELAY_MS", {
      unit: "ms",
      default: 0,
      min: 0,
      max: minute,
      about:
        "On SIGTERM: how long /readyz says no before anything else stops. Set it to what your load balancer needs to notice.",
    }),
    shutdownGraceMs: integer("CHANCERY_SHUTDOWN_GRACE_MS", {
      unit: "ms",
      default: 10 * second,
      min: 100,
      max: 2 * minute,
      about: "How long open streams and requests get to end; then they are cut.",
    }),
  },
  database: {
    url: postgresUrl("DATABASE_URL", {
      required: true,
      about:
        "Postgres, read and written by every replica: the primary. May go through pgbouncer in transaction mode (then set CHANCERY_NOTIFY=off).",
    }),
    migrationUrl: postgresUrl("DATABASE_MIGRATION_URL", {
      required: false,
      about: "Direct connection for `chancery migrate`, which holds a session lock; without it, DATABASE_URL.",
    }),
    mode: choice("CHANCERY_DB_MODE", ["postgres", "portable"], {
      default: "postgres",
      about:
        "`portable`: no NOTIFY, and serializable transactions that are tried again, as distributed engines that speak Postgres' protocol offer them; through a pooler in transaction mode, too.",
    }),
    notify: toggle("CHANCERY_NOTIFY", {
      default: true,
      about:
        "LISTEN/NOTIFY as a hint that wakes the poll. Off: everything works, up to one poll interval later, and no statement is prepared, as behind a pooler none may be.",
    }),
    apiPoolSize: integer("CHANCERY_API_POOL_SIZE", {
      unit: "connections",
      default: 10,
      min: 1,
      max: 200,
      about: "Connections for the admin API. A request beyond waits CHANCERY_DB_CONNECT_TIMEOUT_MS, then gets 503.",
    }),
    feedPoolSize: integer("CHANCERY_FEED_POOL_SIZE", {
      unit: "connections",
      default: 3,
      min: 2,
      max: 20,
      about: "Connections for the feed and for status, so that API load can't starve them.",
    }),
    connectTimeoutMs: integer("CHANCERY_DB_CONNECT_TIMEOUT_MS", {
      unit: "ms",
      default: 3 * second,
      min: 100,
      max: minute,
      about: "Wait for a connection, free or new; beyond it the call fails.",
    }),
    queryTimeoutMs: integer("CHANCERY_DB_QUERY_TIMEOUT_MS", {
      unit: "ms",
      default: 10 * second,
      min: 100,
      max: 5 * minute,
      about: "Wait for one statement; beyond it the connection is thrown away and the call fails.",
    }),
  },
  history: historySettings,
  snapshot: {
    pollMs: integer("CHANCERY_POLL_MS", {
      unit: "ms",
      default: 500,
      min: 20,
      max: 10 * second,
      about:
        "Interval, with jitter, in which a replica asks for new revisions. Also the bound for how late a change is without NOTIFY.",
    }),
    removalGraceMs: integer("CHANCERY_REMOVAL_GRACE_MS", {
      unit: "ms",
      default: 30 * second,
      min: 0,
      max: 10 * minute,
      about:
        "How long a cluster stays in an Envoy after the last route or listener there stopped naming it: requests may still be on their way.",
    }),
    stateFolder: file("CHANCERY_STATE_DIR", {
      shown: ".data/state",
      about:
        "Folder in which the state that is served is kept, for a start without the database; it must outlive the process. `off`: none is kept.",
    }),
  },
  api: {
    address: address("CHANCERY_API_ADDRESS", {
      default: "127.0.0.1:8080",
      about: "Where the admin API listens. It has no login yet: keep it on a network that only operators reach.",
    }),
    maxBodyBytes: integer("CHANCERY_API_MAX_BODY_BYTES", {
      unit: "bytes",
      default: mebibyte / 4,
      min: 1024,
      max: 64 * mebibyte,
      about: "Largest request body; beyond it 413.",
    }),
    maxEndpointsBodyBytes: integer("CHANCERY_API_MAX_ENDPOINTS_BODY_BYTES", {
      unit: "bytes",
      default: 4 * mebibyte,
      min: 1024,
      max: 64 * mebibyte,
      about: "The same for calls that take many endpoints.",
    }),
    maxConnections: integer("CHANCERY_API_MAX_CONNECTIONS", {
      unit: "connections",
      default: 1000,
      min: 1,
      max: 100_000,
      about: "Client connections to the admin API; one more is closed at once.",
    }),
    requestTimeoutMs: integer("CHANCERY_API_REQUEST_TIMEOUT_MS", {
      unit: "ms",
      default: 10 * second,
      min: second,
      max: 5 * minute,
      about: "Time to receive one request whole; slower clients are cut.",
    }),
    maxWaits: integer("CHANCERY_API_MAX_WAITS", {
      unit: "calls",
      default: 500,
      min: 1,
      max: 100_000,
      about: "Writes with ?wait=acked under way on this replica; one more gets 429 and changes nothing.",
    }),
    maxFollowers: integer("CHANCERY_API_MAX_FOLLOWERS", {
      unit: "calls",
      default: 100,
      min: 1,
      max: 10_000,
      about: "Streams of revisions (follow=true) open at once on this replica; one more gets 429.",
    }),
  },
  validation: {
    mode: choice("CHANCERY_VALIDATION", ["auto", "required", "off"], {
      default: "auto",
      about:
        "Whether a real Envoy is asked before each commit. auto: where one is configured; a change that can't be looked at in time goes through. required: such a change is refused (503). off: never.",
    }),
    envoyBinary: file("CHANCERY_ENVOY_BIN", {
      shown: "ENVOY_BIN",
      about: "The Envoy to ask, of the version that the fleet runs. Without it, ENVOY_BIN; without both, validation is off.",
    }),
    timeoutMs: integer("CHANCERY_VALIDATION_TIMEOUT_MS", {
      unit: "ms",
      default: 5 * second,
      min: 100,
      max: minute,
      about: "Time to look at one write, the search for the object at fault included; beyond it CHANCERY_VALIDATION decides.",
    }),
    maxProcesses: integer("CHANCERY_VALIDATION_PROCESSES", {
      unit: "processes",
      default: 2,
      min: 1,
      max: 64,
      about: "Envoys that run at once to look at writes; further writes wait for their turn.",
    }),
    maxVerdicts: integer("CHANCERY_VALIDATION_VERDICTS", {
      unit: "verdicts",
      default: 1000,
      min: 1,
      max: 1_000_000,
      about:
        "Verdicts that are remembered by content, so that the same change is looked at once; beyond it the oldest is forgotten.",
    }),
  },
  refusals: refusalSettings,
  xds: {
    address: address("CHANCERY_XDS_ADDRESS", { default: "127.0.0.1:18000", about: "Where Envoys connect (gRPC, cleartext)." }),
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
  },
  status: {
    leaseMs: integer("CHANCERY_LEASE_MS", {
      unit: "ms",
      default: 5 * second,
      min: second,
      max: 5 * minute,
      about:
        "A replica that has not written for this long, by the database's clock, no longer counts: no wait stays for its Envoys.",
    }),
    beatMs: integer("CHANCERY_BEAT_MS", {
      unit: "ms",
      default: 1_500,
      min: 100,
      max: 2 * minute,
      about: "How often a replica renews its lease; at most half of it.",
    }),
    flushMs: integer("CHANCERY_STATUS_FLUSH_MS", {
      unit: "ms",
      default: 100,
      min: 10,
      max: 5 * second,
      about: "Shortest time between two writes of what Envoys answered, while nobody waits.",
    }),
  },
  demo: {
    httpPort: integer("CHANCERY_DEMO_HTTP_PORT", {
      unit: "port",
      default: 10_000,
      min: 1,
      max: 65_535,
      about: "`chancery up`: HTTP listener of the demo.",
    }),
    tcpPort: integer("CHANCERY_DEMO_TCP_PORT", {
      unit: "port",
      default: 10_001,
      min: 1,
      max: 65_535,
      about: "`chancery up`: TCP listener of the demo.",
    }),
    dataDir: file("CHANCERY_DATA_DIR", {
      shown: ".data",
      about: "`chancery up`: where the database, logs and bootstraps are kept.",
    }),
  },
} as const;

/** Keys of the environment that other parts of the program read: known here only so that they are not called unknown. */
export const foreignKeys: Readonly<Record<string, string>> = {
  CHANCERY_API: "Commands of the CLI: the admin API to talk to, http://127.0.0.1:8080 unless told.",
  CHANCERY_AUTHOR: "Commands of the CLI: who asks, recorded with each revision; your login name unless told.",
  ENVOY_BIN:
    "`chancery up`, `npm test`: the Envoy to run, in place of the one on PATH or the pinned one. `chancery serve`: see CHANCERY_ENVOY_BIN.",
  CHANCERY_TEST_DATABASE_URL: "`npm test`: an administrator's URL of the Postgres to test on, in place of the embedded one.",
};

/** Every setting with its section, in the order of the table. */
export function listSettings(): readonly { section: string; setting: Setting<unknown> }[] {
  return Object.entries(settings).flatMap(([section, fields]) =>
    Object.values<Setting<unknown>>(fields).map((setting) => ({ section, setting })),
  );
}
