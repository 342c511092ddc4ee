// The control planes, as an agent sees them: HTTP/2 connections, and whether one of them answers. In: their addresses. Out: a session that
// has answered. Called by agent.ts for each connection of an Envoy, and while one is served from disk.
import { type ClientHttp2Session, connect } from "node:http2";
import { connect as openSocket } from "node:net";

/** As Envoy's own, of the bootstrap: one that hangs without closing its connection is left after 8 s. */
const pingEveryMs = 5_000;
const pingTimeoutMs = 3_000;
const connectTimeoutMs = 1_000;

export interface UpstreamAddress {
  readonly host: string;
  readonly port: number;
}

/** A connection to one control plane, until it closes. */
export interface Upstream {
  readonly session: ClientHttp2Session;
  /** `10.0.0.1:18000`. */
  readonly name: string;
}

/** As it is in logs, metrics and on the status page. */
export const nameOf = ({ host, port }: UpstreamAddress): string => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`);

const settings = { enablePush: false, initialWindowSize: 1 << 20 };

/**
 * One that answers, tried in an order of chance, so that a fleet spreads; undefined: none does. A machine that takes connections and a
 * process that hangs look alike, so an answer to a ping counts.
 */
export async function connectAny(
  addresses: readonly UpstreamAddress[],
  random: () => number = Math.random,
): Promise<Upstream | undefined> {
  const left = [...addresses];
  while (left.length > 0) {
    const [address] = left.splice(Math.floor(random() * left.length), 1);
    const upstream = address && (await connectOne(address));
    if (upstream) return upstream;
  }
  return undefined;
}

function connectOne(address: UpstreamAddress): Promise<Upstream | undefined> {
  const { host, port } = address;
  const name = nameOf(address);
  const session = connect(`http://${name}`, { settings, createConnection: () => openSocket({ host, port, noDelay: true }) });
  return new Promise((resolve) => {
    const fail = (): void => {
      clearTimeout(timer);
      session.destroy();
      resolve(undefined);
    };
    const timer = setTimeout(fail, connectTimeoutMs);
    session.on("error", fail); // Stays: a session without one ends the process.
    session.once("connect", () => {
      ping(session, (error) => {
        if (error) return fail();
        clearTimeout(timer);
        watch(session);
        resolve({ session, name });
      });
    });
  });
}

/** Whether a stream may be opened on it. */
export function isOpen({ session }: Upstream): boolean {
  return !session.closed && !session.destroyed;
}

function ping(session: ClientHttp2Session, done: (error: Error | null) => void): void {
  if (session.closed || session.destroyed || !session.ping(done)) done(new Error("the session is closed"));
}

/** Leaves a control plane that no longer answers. */
function watch(session: ClientHttp2Session): void {
  let waiting: NodeJS.Timeout | undefined;
  const timer = setInterval(() => {
    if (waiting || session.destroyed) return;
    waiting = setTimeout(() => session.destroy(), pingTimeoutMs).unref();
    ping(session, () => {
      clearTimeout(waiting);
      waiting = undefined;
    });
  }, pingEveryMs).unref();
  session.on("goaway", () => session.close()); // What is open on it ends; nothing new begins.
  session.once("close", () => {
    clearInterval(timer);
    clearTimeout(waiting);
  });
}
