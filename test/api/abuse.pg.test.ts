// The admin API and clients that mean harm: what the server as a whole has to bear is bounded, and who watches it is answered all the same.
// Slow clients: http.pg.test.ts. Mutants that were tried, and are caught: no bound on requests under way; probes that are turned away, too.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { limitHits } from "../support/metrics.js";
import { waitFor } from "../support/wait.js";
import { type ApiUnderTest, startApi, synced } from "./api-under-test.js";

let it: ApiUnderTest;
beforeAll(async () => {
  it = await startApi({ limits: { maxInFlight: 20, maxBodyBytes: 10_000, maxConnections: 30 } });
});
afterAll(() => it.close());

async function dial(): Promise<Socket> {
  const { port, hostname } = new URL(it.api.url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}
/** Resolves with everything that came, when the server has closed the connection or `until` is in it. */
const answerOf = (socket: Socket, until: RegExp): Promise<string> =>
  new Promise((resolve) => {
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString();
      if (until.test(text)) resolve(text);
    });
    socket.on("close", () => resolve(text));
  });

test("one connection may send any number of requests at once; so many are answered at a time, the others get 429, and probes an answer", async () => {
  let letGo = (): void => {};
  const held = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  let waiting = 0;
  it.fleet.waitSync = async (revision) => {
    waiting++;
    await held;
    return synced(revision, "acked");
  };
  const waits = Array.from({ length: 20 }, (_, at) => it.api.call("PUT", `/v1/clusters/busy-${at}?wait=acked`, {}));
  await waitFor("all wait", () => waiting === 20);
  const flood = await dial();
  const all = answerOf(flood, /close\r\n/);
  flood.write("GET /v1/clusters HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_000));
  flood.write("GET /v1/clusters HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  const text = await all;
  expect(text.match(/HTTP\/1.1 429/g)?.length).toBe(1_001);
  expect(text).toContain('"maxInFlight":20');
  for (const path of ["/healthz", "/readyz", "/metrics"])
    expect([path, (await it.api.call("GET", path)).status]).toEqual([path, 200]);
  expect(await limitHits(it.api, "api_max_in_flight")).toBe(1_001);
  letGo();
  for (const { status } of await Promise.all(waits)) expect(status).toBeLessThan(300);
  expect((await it.api.call("GET", "/v1/clusters")).status).toBe(200);
});

test("a body without an end is refused at its bound, whether it says how long it is or not, and its connection ends", async () => {
  for (const [head, chunk] of [
    ["Content-Length: 1000000000", "x".repeat(1_000)],
    ["Transfer-Encoding: chunked", `3e8\r\n${"x".repeat(1_000)}\r\n`],
  ]) {
    const socket = await dial();
    const all = answerOf(socket, /never/);
    socket.write(`POST /v1/listeners HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n${head}\r\n\r\n`);
    let sent = 0;
    const timer = setInterval(() => {
      sent += 1;
      if (socket.writable) socket.write(chunk ?? "");
    }, 2);
    expect(await all).toContain("HTTP/1.1 413");
    clearInterval(timer);
    expect(sent).toBeLessThan(3_000);
  }
});

test("headers beyond 16 KB, and more connections than there may be, are refused", async () => {
  const large = await dial();
  const all = answerOf(large, /never/);
  large.write(
    `GET /healthz HTTP/1.1\r\nHost: a\r\n${Array.from({ length: 40 }, (_, at) => `x-${at}: ${"y".repeat(500)}\r\n`).join("")}\r\n`,
  );
  expect(await all).toContain("HTTP/1.1 431");
  const before = await limitHits(it.api, "api_max_connections");
  const sockets = await Promise.all(Array.from({ length: 40 }, dial));
  await waitFor("those beyond are closed", () => sockets.filter((socket) => socket.closed).length >= 10);
  for (const socket of sockets) socket.destroy();
  await waitFor("they are counted", async () => (await limitHits(it.api, "api_max_connections")) - before >= 10);
});

test("JSON as deep as the body's bound lets it be is refused, and costs no stack", async () => {
  const deep = await it.api.call("POST", "/v1/clusters", undefined, {});
  expect(deep.status).toBe(400);
  for (const body of ["[".repeat(9_900), `{"name":${'{"a":'.repeat(1_900)}`, `${'{"a":'.repeat(1_600)}1${"}".repeat(1_600)}`]) {
    const answer = await fetch(`${it.api.url}/v1/clusters`, {
      method: "POST",
      body,
      headers: { "content-type": "application/json" },
    });
    expect([400, 422]).toContain(answer.status);
  }
});
