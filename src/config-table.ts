// Every key of the environment, once: its unit, default, bound and meaning. `chancery serve --help` prints the table, and
// docs/configuration.md is made from it (a test compares the two). Limits say here what happens at them.
// Called by: config.ts, config-help.ts.
import { databaseSettings } from "./config-database.js";
import { historySettings } from "./config-history.js";
import { refusalSettings } from "./config-refusals.js";
import { address, choice, file, integer, type Setting, text } from "./config-settings.js";
import { xdsSettings } from "./config-xds.js";

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
    shutdownSpreadMs: integer("CHANCERY_SHUTDOWN_SPREAD_MS", {
      unit: "ms",
      default: 5 * second,
      min: 0,
      max: minute,
      about:
        "On SIGTERM: the streams end one after the other, 2 ms apart, within this time and half of the grace, so that their Envoys do not all come to the other replicas at once.",
    }),
    shutdownGraceMs: integer("CHANCERY_SHUTDOWN_GRACE_MS", {
      unit: "ms",
      default: 10 * second,
      min: 100,
      max: 2 * minute,
      about: "How long open streams and requests get to end; then they are cut.",
    }),
  },
  database: databaseSettings,
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
    maxInFlight: integer("CHANCERY_API_MAX_IN_FLIGHT", {
      unit: "requests",
      default: 1000,
      min: 1,
      max: 100_000,
      about:
        "Requests being answered at once, waits and followers among them; one more gets 429, except /healthz, /readyz and /metrics.",
    }),
    maxWaits: integer("CHANCERY_API_MAX_WAITS", {
      unit: "calls",
      default: 500,
      min: 1,
      max: 100_000,
      about:
        "Calls with ?wait= under way on this replica, for Envoys, drains or rollouts; one more gets 429 and changes nothing.",
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
  xds: xdsSettings,
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
