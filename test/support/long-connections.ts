// Connections that stay: raw TCP, TLS and WebSockets that say something every 100 ms and expect their own backend's answer.
// In: a port and a count. Out: who holds each, and which died. Called by the tests of shifts, restarts and drains.
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { WebSocket } from "ws";
import { onCleanup } from "./cleanup.js";
import { waitFor } from "./wait.js";

const sayEveryMs = 100;

export interface LongConnection {
  /** The backend that answered first; "" before that. */
  readonly backend: string;
  /** Answers so far. */
  readonly answers: number;
  /** Why it is over; undefined while it lives. */
  readonly ended: string | undefined;
}

export interface LongConnections {
  readonly all: readonly LongConnection[];
  alive(): number;
  /** Why each dead one died. */
  deaths(): readonly string[];
  /** Waits until every live one got two more answers from the backend that it had: alive in fact, not only not closed. */
  answer(): Promise<void>;
  close(): void;
}

interface Line {
  backend: string;
  answers: number;
  ended: string | undefined;
  say(text: string): void;
  close(): void;
}

function hear(line: Line, text: string): void {
  const backend = text.split(" ", 1)[0] ?? "";
  if (line.backend === "") line.backend = backend;
  else if (line.backend !== backend) line.ended ??= `answered by ${backend}, was ${line.backend}`;
  line.answers++;
}

function overSocket(socket: Socket): Line {
  let rest = "";
  const line: Line = {
    backend: "",
    answers: 0,
    ended: undefined,
    say: (text) => socket.write(`${text}\n`),
    close: () => socket.destroy(),
  };
  socket.setNoDelay(true).setEncoding("utf8");
  socket.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const heard of lines) hear(line, heard);
  });
  socket.on("error", (error) => {
    line.ended ??= error.message;
  });
  socket.on("close", () => {
    line.ended ??= "closed";
  });
  return line;
}

function overWebSocket(url: string, headers: Readonly<Record<string, string>>): Line {
  const socket = new WebSocket(url, { headers });
  const line: Line = {
    backend: "",
    answers: 0,
    ended: undefined,
    say: (text) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(text);
    },
    close: () => socket.terminate(),
  };
  socket.on("message", (message) => hear(line, String(message)));
  socket.on("error", (error) => {
    line.ended ??= error.message;
  });
  socket.on("close", (code) => {
    line.ended ??= `closed with ${code}`;
  });
  return line;
}

async function keep(what: string, lines: readonly Line[]): Promise<LongConnections> {
  let closed = false;
  const timer = setInterval(() => {
    for (const line of lines) if (line.ended === undefined) line.say("still here");
  }, sayEveryMs);
  const close = (): void => {
    closed = true;
    clearInterval(timer);
    forget();
    for (const line of lines) line.close();
  };
  const forget = onCleanup(what, close);
  const kept: LongConnections = {
    all: lines,
    alive: () => (closed ? 0 : lines.filter((line) => line.ended === undefined).length),
    deaths: () => lines.flatMap((line) => (line.ended === undefined ? [] : [line.ended])),
    answer: async () => {
      const before = lines.map((line) => line.answers);
      const answered = (): boolean =>
        lines.every((line, index) => line.ended !== undefined || line.answers >= (before[index] ?? 0) + 2);
      await waitFor(`${what} answer`, answered, { timeoutMs: 5_000 });
    },
    close,
  };
  await waitFor(`${what} are open`, () => lines.every((line) => line.answers > 0), { timeoutMs: 10_000 });
  return kept;
}

const many = <T>(count: number, open: () => T): T[] => Array.from({ length: count }, open);

/** Opens `count` TCP connections and waits until each has its answer. */
export const openTcp = (port: number, count: number): Promise<LongConnections> =>
  keep(
    `${count} TCP connections`,
    many(count, () => overSocket(connect({ host: "127.0.0.1", port }))),
  );

/** The same over TLS to the backend itself, by its server name. */
export const openTls = (port: number, servername: string, count: number): Promise<LongConnections> =>
  keep(
    `${count} TLS connections to ${servername}`,
    many(count, () => overSocket(connectTls({ host: "127.0.0.1", port, servername, rejectUnauthorized: false }))),
  );

/** The same as WebSockets on an HTTP listener. */
export const openWebSockets = (port: number, count: number, path = "/", headers: Readonly<Record<string, string>> = {}) =>
  keep(
    `${count} WebSockets`,
    many(count, () => overWebSocket(`ws://127.0.0.1:${port}${path}`, headers)),
  );
