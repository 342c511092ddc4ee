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
  const { allowLinkLocal, headers, signal, timeoutMs } = options;
  if (!allowLinkLocal && isLinkLocal(url.hostname))
    return Promise.resolve({ kind: "denied", reason: "it is a link-local address" });
  const bytes = Buffer.from(JSON.stringify(body));
  const settings: RequestOptions = {
    method: "POST",
    agent: false,
    headers: { "content-type": "application/json", "content-length": bytes.length, "user-agent": "chancery", ...headers },
    // The whole call, from the look-up on: a socket's own timeout starts anew with every byte.
    signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    ...(allowLinkLocal ? {} : { lookup: guardedLookup }),
  };
  return new Promise((resolve) => {
    const call = (url.protocol === "https:" ? requestHttps : requestHttp)(url, settings, (response) => {
      resolve({ kind: "answered", status: response.statusCode ?? 0 });
      response.destroy();
    });
    call.on("error", (error: NodeJS.ErrnoException) => {
      if (error instanceof DeniedAddress) return resolve({ kind: "denied", reason: error.message });
      const isLate = error.name === "TimeoutError" || (error.cause instanceof Error && error.cause.name === "TimeoutError");
      resolve({ kind: "failed", reason: isLate ? `no answer within ${timeoutMs} ms` : (error.code ?? error.message) });
    });
    call.end(bytes);
  });
}
