// No test connects anywhere but loopback, and to the database that the caller names: whatever tries is an error here, before a packet
// leaves. Loaded before every test file (vitest.config.ts). Sockets of the test's own process; what it starts as processes of their own is given loopback addresses.
import { BlockList, isIP, Socket } from "node:net";

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

const given = process.env["CHANCERY_TEST_DATABASE_URL"] ?? "";
/** Of the Postgres to test on, in place of the embedded one. */
const databaseHost = URL.canParse(given) ? new URL(given).hostname.replace(/^\[|\]$/g, "") : undefined;

/** Hosts that somebody tried to reach, in this process. */
export const refusedHosts: string[] = [];

/** The host that a socket is asked to connect to; undefined: a path, or none, which means this machine. */
function hostOf(args: readonly unknown[]): string | undefined {
  const flat: readonly unknown[] = Array.isArray(args[0]) ? args[0] : args; // net.connect hands its own, normalised.
  const [first, second] = flat;
  if (typeof first === "object" && first !== null && "host" in first)
    return first.host === undefined ? undefined : String(first.host);
  return typeof second === "string" && (typeof first === "number" || /^\d+$/.test(String(first))) ? second : undefined;
}

function mayConnect(host: string): boolean {
  const family = isIP(host);
  if (host === databaseHost) return true;
  return family === 0 ? host === "localhost" : loopback.check(host, family === 6 ? "ipv6" : "ipv4");
}

const connect = Socket.prototype.connect as (this: Socket, ...args: unknown[]) => Socket;
Reflect.set(Socket.prototype, "connect", function guarded(this: Socket, ...args: unknown[]): Socket {
  const host = hostOf(args);
  if (host !== undefined && !mayConnect(host)) {
    refusedHosts.push(host);
    throw new Error(`a test must not connect to ${host}: only to loopback`);
  }
  return connect.apply(this, args);
});
