// Settings of the database: where it is, how it is spoken to, and the limits of that. Part of the table in config-table.ts.
import { choice, integer, postgresUrl, toggle } from "./config-settings.js";

const second = 1000;
const minute = 60 * second;

/** Of `chancery serve` and `chancery migrate`. */
export const databaseSettings = {
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
  connectionAgeMs: integer("CHANCERY_DB_CONNECTION_AGE_MS", {
    unit: "ms",
    default: minute,
    min: second,
    max: 60 * minute,
    about:
      "A connection of this age is made anew, so that a replica follows an address that leads to another server now, even if the old one still answers.",
  }),
} as const;
