// A POST to a stranger: bounded in time, never redirected, and never to a link-local address unless it is allowed.
import { createServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, createServer as createSocketServer } from "node:net";
import { afterAll, afterEach, expect, test } from "vitest";
import { isLinkLocal, mayCall, postJson } from "../../../src/status/json-post.js";
import { refusedHosts } from "../../support/loopback-only.js";

const servers: { close(): unknown }[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});
async function serve(answer: RequestListener): Promise<URL> {
  const server: Server = createServer(answer);
  servers.push({ close: () => [server.closeAllConnections(), server.close()] });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?a=b`);
}
const options = { timeoutMs: 2_000, allowLinkLocal: false, signal: new AbortController().signal };

test("the body arrives as JSON, with the headers that are given", async () => {
  let got = "";
  const url = await serve(async (request, response) => {
    for await (const chunk of request) got += String(chunk);
    got = `${request.method} ${request.url} ${request.headers["content-type"]} ${request.headers["idempotency-key"]} ${got}`;
    response.writeHead(202).end("x".repeat(1_000_000));
  });
  expect(await postJson(url, { é: 1 }, { ...options, headers: { "idempotency-key": "k" } })).toEqual({
    kind: "answered",
    status: 202,
  });
  expect(got).toBe('POST /hook?a=b application/json k {"é":1}');
});

test("a redirect is an answer, not a way", async () => {
  let calls = 0;
  const url = await serve((_, response) => {
    calls++;
    response.writeHead(307, { location: "http://169.254.169.254/" }).end();
  });
  expect(await postJson(url, {}, options)).toEqual({ kind: "answered", status: 307 });
  expect(calls).toBe(1);
});

test("a server that says nothing, or one byte now and then, is given up in time", async () => {
  const silent = await serve(() => {});
  const startedAt = performance.now();
  expect(await postJson(silent, {}, { ...options, timeoutMs: 150 })).toEqual({
    kind: "failed",
    reason: "no answer within 150 ms",
  });
  const dripping = createSocketServer((socket) => {
    const timer = setInterval(() => socket.write("H"), 20);
    socket.on("close", () => clearInterval(timer)).on("error", () => {});
  });
  servers.push(dripping);
  await new Promise<void>((resolve) => dripping.listen(0, "127.0.0.1", resolve));
  const url = new URL(`http://127.0.0.1:${(dripping.address() as AddressInfo).port}/`);
  expect((await postJson(url, {}, { ...options, timeoutMs: 150 })).kind).toBe("failed");
  expect(performance.now() - startedAt).toBeLessThan(2_000);
});

test("nobody there, and an abort, are failures and no exceptions", async () => {
  expect(await postJson(new URL("http://127.0.0.1:1/"), {}, options)).toMatchObject({ kind: "failed", reason: "ECONNREFUSED" });
  const abort = new AbortController();
  const called = postJson(await serve(() => abort.abort()), {}, { ...options, signal: abort.signal });
  expect((await called).kind).toBe("failed");
});

test.each([
  ["169.254.169.254", true],
  ["169.254.0.1", true],
  ["::ffff:169.254.169.254", true],
  ["::ffff:a9fe:a9fe", true],
  ["fe80::1", true],
  ["[fe80::1%eth0]", true],
  ["febf::1", true],
  ["fd00:ec2::254", true],
  ["169.253.0.1", false],
  ["127.0.0.1", false],
  ["10.0.0.1", false],
  ["fec0::1", false],
  ["::1", false],
  ["metadata.example", false],
])("%s is link-local: %s", (address, expected) => {
  expect(isLinkLocal(address)).toBe(expected);
});

test.each([
  "http://169.254.169.254/",
  "http://2852039166/",
  "http://0xa9fea9fe/",
  "http://[fe80::1]/",
  "http://[::ffff:169.254.169.254]/",
])("%s is not called", async (url) => {
  expect(await postJson(new URL(url), {}, options)).toEqual({ kind: "denied", reason: "it is a link-local address" });
});

test("allowed, a link-local address is not held back", () => {
  // By the rule alone: nothing on such an address is called.
  expect(mayCall(new URL("http://169.254.1.1:1/"), true)).toBe(true);
  expect(mayCall(new URL("http://169.254.1.1:1/"), false)).toBe(false);
  expect(mayCall(new URL("http://10.0.0.1/"), false)).toBe(true);
});

test("what is signed are the bytes that go out", async () => {
  let got = "";
  const url = await serve(async (request, response) => {
    for await (const chunk of request) got += String(chunk);
    got = `${request.headers["x-signed"]} ${got}`;
    response.end();
  });
  await postJson(url, { é: "ü" }, { ...options, sign: (text) => ({ "x-signed": String(Buffer.byteLength(text)) }) });
  expect(got).toBe('11 {"é":"ü"}');
});

afterAll(() => {
  expect(refusedHosts, "what was called on other machines").toEqual([]);
});
