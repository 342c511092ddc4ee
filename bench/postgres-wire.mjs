// Counts what a client says to Postgres, from outside: a proxy that reads the frontend messages of the wire protocol as they pass.
// In: where Postgres is. Out: a port, and counts since the last reset. Called by writes.mjs and by the tests that bound these counts.
import { connect, createServer } from "node:net";

/** Length and type of a message before the session has begun; SSLRequest and GSSENCRequest have no type byte either. */
const headBytes = 4;
/** A client's messages, cut at their borders: [type, body]. Start-up messages have the type "". */
function createReader(onMessage) {
  let rest = Buffer.alloc(0);
  let started = false;
  return (bytes) => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    for (;;) {
      const typed = started ? 1 : 0;
      if (rest.length < typed + headBytes) return;
      const end = typed + rest.readInt32BE(typed);
      if (rest.length < end) return;
      const type = started ? String.fromCharCode(rest[0]) : "";
      onMessage(type, rest.subarray(typed + headBytes, end));
      // 196608: protocol 3.0. What comes before it asks for encryption.
      if (!started && rest.readInt32BE(headBytes) >> 16 === 3) started = true;
      rest = rest.subarray(end);
    }
  };
}

/** BackendKeyData: 'K', its length of 12, process id, secret. */
const keyHead = Buffer.from([0x4b, 0, 0, 0, 12]);
function withOtherKey(bytes) {
  const at = bytes.indexOf(keyHead);
  if (at >= 0) bytes.writeInt32BE(1, at + keyHead.length);
  return bytes;
}

const textOf = (body, from = 0) => body.toString("utf8", from, body.indexOf(0, from));

/**
 * Starts the proxy. `counts()`: since the last `reset()`, `statements` (simple queries, each text once, and executions), `parses` (texts
 * that Postgres had to parse and plan anew, simple ones among them), `roundTrips`, and `texts`: text, its literals left out → how often.
 * `asPooler`: the key by which a session is cancelled is another one than the server's, as a pooler's is.
 */
export async function startPostgresCounter({ host, port, asPooler = false }) {
  let counts;
  const reset = () => (counts = { statements: 0, parses: 0, roundTrips: 0, bytes: 0, texts: new Map() });
  reset();
  const sockets = new Set();
  const server = createServer((client) => {
    const upstream = connect(port, host);
    upstream.setNoDelay(true);
    client.setNoDelay(true);
    /** Prepared statement → its text; portal "" is all that the client uses. */
    const prepared = new Map();
    let bound = "";
    const said = (text) => {
      counts.statements += 1;
      const key = text
        .replace(/\s+/g, " ")
        .replace(/'[^']*'/g, "'…'")
        .trim();
      counts.texts.set(key, (counts.texts.get(key) ?? 0) + 1);
    };
    const read = createReader((type, body) => {
      if (type === "Q") {
        counts.parses += 1;
        counts.roundTrips += 1;
        said(textOf(body));
      } else if (type === "P") {
        counts.parses += 1;
        const name = textOf(body);
        prepared.set(name, textOf(body, body.indexOf(0) + 1));
      } else if (type === "B") bound = prepared.get(textOf(body, body.indexOf(0) + 1)) ?? "";
      else if (type === "E") said(bound);
      else if (type === "S") counts.roundTrips += 1;
    });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (bytes) => {
      counts.bytes += bytes.length;
      read(bytes);
      upstream.write(bytes);
    });
    upstream.on("data", (bytes) => client.write(asPooler ? withOtherKey(bytes) : bytes));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  return { port: server.address().port, counts: () => counts, reset, close };
}
