// Sessions with messages to and fro: gRPC streams, WebSockets, TCP connections. Each has a number of messages to send, gets each of them
// back from the backend that it began with, and ends of its own accord; another one comes in its place.
// In: a port and a tally. Out: a Source. Called by traffic.ts.
import { connect } from "node:net";
import { Client, type ClientDuplexStream, credentials } from "@grpc/grpc-js";
import { WebSocket } from "ws";
import type { Tally } from "./tally.js";
import type { Source, TrafficOptions } from "./traffic.js";

/** A message each 50 ms on each of so many as the rate needs. */
const messagesPerSecond = 20;
/** 0.2 to 3 s. */
const fewestMessages = 4;
const mostMessages = 60;
/** Unanswered on one session, at most. */
const maxUnanswered = 40;
const silentMs = 20_000;
/** Connections that the gRPC streams share. */
const grpcChannels = 4;

/** Where a session tells what comes to it. */
interface Ear {
  heard(text: string): void;
  /** Closed, by whomever, or failed. */
  over(why: string): void;
}
interface Line {
  say(text: string): void;
  /** From our side, in order. */
  end(): void;
}
type Open = (ear: Ear) => Line;

export function sessionsOver({ kind, port, perSecond, random, tally }: TrafficOptions & { readonly tally: Tally }): Source {
  const { open, close } = lines[kind === "grpc" || kind === "websocket" ? kind : "tcp"](port);
  const begin = (): Session => new Session(open, fewestMessages + random(mostMessages - fewestMessages), tally);
  const sessions = Array.from({ length: Math.ceil(perSecond / messagesPerSecond) }, begin);
  const ending = new Set<Promise<void>>();
  let turn = 0;
  const end = (session: Session): void => {
    const one = session.end().finally(() => ending.delete(one));
    ending.add(one);
  };
  return {
    send() {
      const at = turn++ % sessions.length;
      const session = sessions[at];
      if (!session?.say()) return false;
      if (!session.isDone()) return true;
      end(session);
      sessions[at] = begin();
      return true;
    },
    async end() {
      for (const session of sessions.splice(0)) end(session);
      await Promise.all(ending);
      close();
    },
  };
}

class Session {
  readonly #line: Line;
  #backend: string | undefined;
  #left: number;
  #unanswered = 0;
  #isOver = false;
  #isEnding = false;
  /** Called once everything is answered. */
  #answered = (): void => {};

  constructor(
    open: Open,
    messages: number,
    private readonly tally: Tally,
  ) {
    this.#left = messages;
    this.#line = open({ heard: (text) => this.#heard(text), over: (why) => this.#over(why) });
    this.say();
  }

  /** False: too much is unanswered. */
  say(): boolean {
    if (this.#isOver) return true; // It has failed, which has been counted; it is replaced.
    if (this.#unanswered >= maxUnanswered) return false;
    this.#unanswered++;
    this.#left--;
    this.tally.sent++;
    this.#line.say("message");
    return true;
  }
  isDone(): boolean {
    return this.#left <= 0 || this.#isOver;
  }

  /** Waits for the answers, then closes. What does not come is a failure. */
  async end(): Promise<void> {
    if (!this.#isOver && this.#unanswered > 0) {
      const timer = setTimeout(() => this.#over(`no answer within ${silentMs} ms`), silentMs);
      await new Promise<void>((resolve) => (this.#answered = resolve));
      clearTimeout(timer);
    }
    if (!this.#isOver) this.tally.sessions++;
    this.#isEnding = true;
    this.#line.end();
  }

  #heard(text: string): void {
    const backend = text.split(" ", 1)[0] ?? "";
    if (this.#backend !== undefined && this.#backend !== backend) this.tally.fail(`answered by ${backend}, was ${this.#backend}`);
    this.#backend = backend;
    this.#unanswered--;
    this.tally.answered++;
    if (this.#unanswered === 0) this.#answered();
  }
  #over(why: string): void {
    if (this.#isOver || this.#isEnding) return;
    this.#isOver = true;
    this.tally.fail(why);
    this.#answered();
  }
}

function tcp(port: number): { open: Open; close: () => void } {
  const open: Open = (ear) => {
    let rest = "";
    const socket = connect({ host: "127.0.0.1", port }).setNoDelay(true).setEncoding("utf8");
    socket.on("data", (text: string) => {
      const texts = (rest + text).split("\n");
      rest = texts.pop() ?? "";
      for (const one of texts) ear.heard(one);
    });
    socket.on("error", (error) => ear.over(error.message)).on("close", () => ear.over("closed"));
    return { say: (text) => void socket.write(`${text}\n`), end: () => void socket.end() };
  };
  return { open, close: () => {} };
}

function websocket(port: number): { open: Open; close: () => void } {
  const open: Open = (ear) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
    const early: string[] = [];
    socket.on("open", () => void early.splice(0).map((text) => socket.send(text)));
    socket.on("message", (message) => ear.heard(String(message)));
    socket.on("error", (error) => ear.over(error.message)).on("close", (code) => ear.over(`closed with ${code}`));
    return {
      say: (text) => (socket.readyState === WebSocket.CONNECTING ? void early.push(text) : socket.send(text)),
      end: () => socket.close(),
    };
  };
  return { open, close: () => {} };
}

const raw = (message: Buffer): Buffer => message;

function grpc(port: number): { open: Open; close: () => void } {
  const channel = (): Client =>
    new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 });
  const channels = Array.from({ length: grpcChannels }, channel);
  let turn = 0;
  const open: Open = (ear) => {
    const client = channels[turn++ % channels.length] ?? channel();
    const stream: ClientDuplexStream<Buffer, Buffer> = client.makeBidiStreamRequest("/chancery.test.Echo/Talk", raw, raw);
    let backend = "";
    stream.on("metadata", (metadata) => (backend = String(metadata.get("x-backend")[0] ?? "Envoy")));
    stream.on("data", () => ear.heard(backend));
    stream.on("error", (error: Error) => ear.over(error.message));
    stream.on("status", ({ code, details }) => ear.over(`status ${code} ${details}`));
    return { say: (text) => void stream.write(Buffer.from(text)), end: () => void stream.end() };
  };
  return { open, close: () => void channels.map((client) => client.close()) };
}

const lines = { tcp, websocket, grpc } as const;
