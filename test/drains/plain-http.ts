// HTTP/1.1 by hand, as little of it as a load needs: node:http costs ten times as much per request, and a process that is busy with itself is
// no load. Requests have no body, answers have a content-length. In: sockets. Out: requests, or answers. Called by backend.ts and
// load-of-requests.ts.
import { connect, type Socket } from "node:net";

export interface PlainAnswer {
  readonly status: number;
  readonly backend: string | undefined;
}

const endOfHead = "\r\n\r\n";

/** Calls `onRequest` with each request's path on a server's socket; the result of `answer` goes back on it. One at a time, as Envoy does. */
export function serveRequests(socket: Socket, onRequest: (path: string, answer: (text: string) => void) => void): void {
  let rest = "";
  socket.setNoDelay(true).setEncoding("latin1");
  socket.on("data", (text: string) => {
    rest += text;
    for (let end = rest.indexOf(endOfHead); end >= 0; end = rest.indexOf(endOfHead)) {
      const [, path = "/"] = rest.slice(0, rest.indexOf("\r\n")).split(" ");
      rest = rest.slice(end + endOfHead.length);
      onRequest(path, (answer) => socket.write(answer));
    }
  });
}

/** A whole answer. */
export const plainAnswer = (backend: string): string =>
  `HTTP/1.1 200 OK\r\nx-backend: ${backend}\r\ncontent-length: 3\r\n\r\nok\n`;

/** One connection, for one request after the other. */
export class PlainConnection {
  readonly #socket: Socket;
  #rest = "";
  #settle: { readonly resolve: (answer: PlainAnswer) => void; readonly reject: (error: Error) => void } | undefined;
  isClosed = false;

  constructor(port: number) {
    this.#socket = connect({ host: "127.0.0.1", port }).setNoDelay(true).setEncoding("latin1");
    this.#socket.on("data", (text: string) => this.#heard(text));
    this.#socket.on("timeout", () => this.#over(new Error("no answer in time")));
    this.#socket.on("error", (error) => this.#over(error)).on("close", () => this.#over(new Error("closed without an answer")));
  }

  /** @throws whatever ended the connection, or that `timeoutMs` passed */
  ask(path: string, timeoutMs: number): Promise<PlainAnswer> {
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#socket.setTimeout(timeoutMs);
      this.#socket.write(`GET ${path} HTTP/1.1\r\nhost: load\r\n\r\n`);
    });
  }
  close(): void {
    this.#socket.destroy();
  }

  #heard(text: string): void {
    this.#rest += text;
    const end = this.#rest.indexOf(endOfHead);
    if (end < 0) return;
    const head = this.#rest.slice(0, end);
    const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
    if (this.#rest.length < end + endOfHead.length + length) return;
    this.#rest = this.#rest.slice(end + endOfHead.length + length);
    const settle = this.#settle;
    this.#settle = undefined;
    this.#socket.setTimeout(0);
    if (/^connection: close/im.test(head)) this.isClosed = true;
    settle?.resolve({ status: Number(head.split(" ")[1]), backend: /^x-backend: (.+)$/im.exec(head)?.[1] });
  }
  #over(error: Error): void {
    this.isClosed = true;
    this.#socket.destroy();
    this.#settle?.reject(error);
    this.#settle = undefined;
  }
}
