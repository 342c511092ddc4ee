// One HTTP request through Envoy, and what came back, with the backend that answered. Called by tests and by load.ts.
import { type Agent, type IncomingHttpHeaders, request } from "node:http";

export interface RequestOptions {
  readonly port: number;
  readonly path?: string;
  readonly method?: string;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** undefined: a connection of its own, closed after it. */
  readonly agent?: Agent;
  readonly timeoutMs?: number;
  readonly body?: string;
  /** The loopback address to come from: another client, as a source-IP hash sees it. */
  readonly from?: string;
}

export interface Response {
  readonly status: number;
  /** `x-backend`: who answered; undefined when Envoy itself did. */
  readonly backend: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Sends it. @throws the connection's error, or one that says that `timeoutMs` (default 20,000) passed. */
export function send(options: RequestOptions): Promise<Response> {
  const { port, path = "/", method = "GET", host, headers, agent, timeoutMs = 20_000, body, from } = options;
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host: "127.0.0.1",
        port,
        path,
        method,
        agent: agent ?? false,
        headers: { ...(host === undefined ? {} : { host }), ...headers },
        ...(from === undefined ? {} : { localAddress: from }),
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          clearTimeout(timer);
          const backend = response.headers["x-backend"];
          resolve({
            status: response.statusCode ?? 0,
            backend: Array.isArray(backend) ? backend[0] : backend,
            headers: response.headers,
            body: Buffer.concat(chunks).toString(),
          });
        });
      },
    );
    const timer = setTimeout(() => call.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    call.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    call.end(body);
  });
}
