// One POST of JSON to a server of somebody else's: bounded in time, no redirects, and, unless allowed, never to a link-local address,
// where clouds keep their credentials. The address is judged when it is connected to, so that a name can't be turned afterwards.
// Called by refusal-webhook.ts.
import { lookup as lookUp } from "node:dns";
import { type RequestOptions, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { BlockList, isIP, type LookupFunction } from "node:net";

/** What came of it; `denied`: the address is not to be called. */
export type Posted =
  | { readonly kind: "answered"; readonly status: number }
  | { readonly kind: "failed" | "denied"; readonly reason: string };

/** Limits of a call. Times in ms. */
export interface PostOptions {
  readonly timeoutMs: number;
  readonly allowLinkLocal: boolean;
  readonly headers?: Readonly<Record<string, string>>;
  /** More headers, made from the body as it goes out. */
  readonly sign?: (text: string) => Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

const linkLocal = new BlockList();
linkLocal.addSubnet("169.254.0.0", 16, "ipv4");
linkLocal.addSubnet("fe80::", 10, "ipv6");
linkLocal.addAddress("fd00:ec2::254", "ipv6"); // The metadata service of EC2, by IPv6.

/** IPv4 written as IPv6 is what it is. */
export function isLinkLocal(address: string): boolean {
  const [bare = ""] = address.replace(/^\[|\]$/g, "").split("%"); // Without its zone.
  const family = isIP(bare);
  return family !== 0 && linkLocal.check(bare, family === 6 ? "ipv6" : "ipv4");
}

/** What the URL itself says; a name is judged when it is looked up. */
export function mayCall(url: URL, allowLinkLocal: boolean): boolean {
  return allowLinkLocal || !isLinkLocal(url.hostname);
}

class DeniedAddress extends Error {}

/** The system's look-up, which gives no link-local address. */
const guardedLookup: LookupFunction = (hostname, options, callback) => {
  lookUp(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return callback(error, []);
    if (addresses.some(({ address }) => isLinkLocal(address)))
      return callback(new DeniedAddress("its name stands for a link-local address"), []);
    const [first] = addresses;
    if (options.all) return callback(null, addresses);
    callback(null, first?.address ?? "", first?.family);
  });
};

/** Never throws. The answer's body is not read. */
export function postJson(url: URL, body: unknown, options: PostOptions): Promise<Posted> {
  const { allowLinkLocal, headers, sign, signal, timeoutMs } = options;
  if (!mayCall(url, allowLinkLocal)) return Promise.resolve({ kind: "denied", reason: "it is a link-local address" });
  const text = JSON.stringify(body);
  const bytes = Buffer.from(text);
  // The whole call, from the look-up on: a socket's own timeout starts anew with every byte. By a timer that is held here: Node 20 may
  // collect the signals that AbortSignal.any and AbortSignal.timeout make, and then they never fire (seen: calls that hung).
  const ending = new AbortController();
  let isLate = false;
  const end = (): void => ending.abort();
  const timer = setTimeout(() => {
    isLate = true;
    end();
  }, timeoutMs);
  if (signal.aborted) end();
  signal.addEventListener("abort", end, { once: true });
  const settings: RequestOptions = {
    method: "POST",
    agent: false,
    headers: {
      "content-type": "application/json",
      "content-length": bytes.length,
      "user-agent": "chancery",
      ...headers,
      ...sign?.(text),
    },
    signal: ending.signal,
    ...(allowLinkLocal ? {} : { lookup: guardedLookup }),
  };
  return new Promise<Posted>((resolve) => {
    const call = (url.protocol === "https:" ? requestHttps : requestHttp)(url, settings, (response) => {
      resolve({ kind: "answered", status: response.statusCode ?? 0 });
      response.destroy();
    });
    call.on("error", (error: NodeJS.ErrnoException) => {
      if (error instanceof DeniedAddress) return resolve({ kind: "denied", reason: error.message });
      resolve({ kind: "failed", reason: isLate ? `no answer within ${timeoutMs} ms` : (error.code ?? error.message) });
    });
    call.end(bytes);
  }).finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
  });
}
