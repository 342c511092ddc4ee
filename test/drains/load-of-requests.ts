// Short requests over kept connections, HTTP/1.1 or HTTP/2: most are answered at once, one in fifty takes up to 1.5 s, so that there always
// are some in flight. In: a port and a tally. Out: a Source. Called by traffic.ts.
import { type ClientHttp2Session, connect } from "node:http2";
import { PlainConnection } from "./plain-http.js";
import type { Tally } from "./tally.js";
import type { Source, TrafficOptions } from "./traffic.js";

/** Requests without an answer, at most; with HTTP/1.1 also connections. */
const maxUnderWay = 256;
const http2Connections = 4;
const noAnswerMs = 20_000;
const slowOneIn = 50;
const slowestMs = 1_500;

interface Answer {
  readonly status: number;
  readonly backend: string | undefined;
}
type Ask = (path: string) => Promise<Answer>;

export function requestsOver({ kind, port, random, tally }: TrafficOptions & { readonly tally: Tally }): Source {
  const { ask, close } = kind === "http1" ? overHttp1(port) : overHttp2(port);
  const underWay = new Set<Promise<void>>();
  const exchange = async (): Promise<void> => {
    const ms = random(slowOneIn) === 0 ? 100 + random(slowestMs - 100) : 0;
    try {
      const { status, backend } = await ask(`/?ms=${ms}`);
      if (status === 200 && backend !== undefined) tally.answered++;
      else tally.fail(`${status} from ${backend ?? "Envoy"}`);
    } catch (error) {
      tally.fail(error instanceof Error ? error.message : String(error));
    }
  };
  return {
    send() {
      if (underWay.size >= maxUnderWay) return false;
      tally.sent++;
      const one = exchange().finally(() => underWay.delete(one));
      underWay.add(one);
      return true;
    },
    async end() {
      await Promise.all(underWay);
      close();
    },
  };
}

function overHttp1(port: number): { ask: Ask; close: () => void } {
  const idle: PlainConnection[] = [];
  const ask: Ask = async (path) => {
    let connection = idle.pop();
    while (connection?.isClosed) connection = idle.pop();
    connection ??= new PlainConnection(port);
    const answer = await connection.ask(path, noAnswerMs);
    idle.push(connection);
    return answer;
  };
  return { ask, close: () => void idle.map((connection) => connection.close()) };
}

function overHttp2(port: number): { ask: Ask; close: () => void } {
  const open = (): ClientHttp2Session => connect(`http://127.0.0.1:${port}`).on("error", () => {});
  const sessions = Array.from({ length: http2Connections }, open);
  let turn = 0;
  const next = (): ClientHttp2Session => {
    const at = turn++ % sessions.length;
    const session = sessions[at];
    // One that was closed fails its requests, which count; those to come get another.
    if (session && !session.closed && !session.destroyed) return session;
    return (sessions[at] = open());
  };
  const ask: Ask = (path) =>
    new Promise((resolve, reject) => {
      const stream = next().request({ ":path": path }, { endStream: true });
      stream.setTimeout(noAnswerMs, () => stream.destroy(new Error(`no answer within ${noAnswerMs} ms`)));
      let answer: Answer | undefined;
      stream.on("response", (headers) => {
        answer = { status: headers[":status"] ?? 0, backend: headers["x-backend"]?.toString() };
      });
      stream.on("error", reject).on("aborted", () => reject(new Error("the stream was aborted")));
      stream.on("end", () => (answer ? resolve(answer) : reject(new Error("ended without an answer"))));
      stream.on("close", () => reject(new Error(`closed with ${stream.rstCode}`)));
      stream.resume();
    });
  return { ask, close: () => void sessions.map((session) => session.destroy()) };
}
