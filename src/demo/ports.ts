// Whether the ports that the demo wants are free, asked before anything is started. In: wanted ports. Out: words for people.
// The probe binds without SO_REUSEPORT: an Envoy left over from earlier shares its port with whoever sets that, and would
// go on answering half of the requests.
import { createServer } from "node:net";

/** A port, and who wants it. */
export interface WantedPort {
  readonly host: string;
  readonly port: number;
  /** Which of our servers wants it, as in "the admin API". */
  readonly what: string;
  /** The flag that changes it. */
  readonly flag: string;
}

/** Binds and lets go again. Resolves with the port, or with the error's code, e.g. EADDRINUSE. */
function probe(host: string, port: number): Promise<number | string> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : port));
    });
  });
}

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: "is in use by another program",
  EACCES: "may not be opened by this user",
  EADDRNOTAVAIL: "is not an address of this machine",
};

function faultText({ host, port, what, flag }: WantedPort, code: string): string {
  return `${what} wants ${host}:${port}, which ${reasons[code] ?? `can't be opened (${code})`}; ${flag} chooses another port`;
}

/** One sentence for each port that can't be had: in use, not allowed, or wanted by two of ours. Empty: all are free. */
export async function portFaults(wanted: readonly WantedPort[]): Promise<readonly string[]> {
  const faults: string[] = [];
  const taken = new Map<number, WantedPort>();
  for (const each of wanted) {
    const other = taken.get(each.port);
    if (other !== undefined) {
      faults.push(`${each.what} and ${other.what} both want port ${each.port}; ${each.flag} or ${other.flag} chooses another`);
      continue;
    }
    taken.set(each.port, each);
    const outcome = await probe(each.host, each.port);
    if (typeof outcome === "string") faults.push(faultText(each, outcome));
  }
  return faults;
}

/** A port of 127.0.0.1 that is free now. @throws Error when there is none */
export async function freePort(): Promise<number> {
  const outcome = await probe("127.0.0.1", 0);
  if (typeof outcome === "string") throw new Error(`no free port on 127.0.0.1: ${outcome}`);
  return outcome;
}
