// The demo's backends: versions, an echo, and a fault at will.
import { connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { backendKinds, startBackends } from "../../../src/demo/backends.js";
import { portFaults } from "../../../src/demo/ports.js";

let firstPort = 0;
let close: () => Promise<void>;

/** As many free ports in a row as there are backends. */
async function freeRow(): Promise<number> {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    const row = backendKinds.map(({ name }, index) => ({ host: "127.0.0.1", port: first + index, what: name, flag: "" }));
    if ((await portFaults(row)).length === 0) return first;
  }
}

beforeAll(async () => {
  firstPort = await freeRow();
  close = await startBackends("127.0.0.1", firstPort);
});
afterAll(() => close());

const url = (index: number, path: string) => `http://127.0.0.1:${firstPort + index}${path}`;

test("each HTTP backend answers with its version", async () => {
  const bodies = await Promise.all([0, 2].map(async (index) => (await fetch(url(index, "/a"))).text()));
  expect(bodies).toEqual([`checkout v1 on port ${firstPort}: GET /a\n`, `checkout v2 on port ${firstPort + 2}: GET /a\n`]);
});

test("a failing backend answers 500 to everything, its health check too, until it is healed; its neighbour goes on", async () => {
  expect((await fetch(url(0, "/healthz"))).status).toBe(200);
  await fetch(url(0, "/mode/fail"), { method: "POST" });
  expect((await fetch(url(0, "/"))).status).toBe(500);
  expect((await fetch(url(0, "/healthz"))).status).toBe(500);
  expect((await fetch(url(1, "/"))).status).toBe(200);
  await fetch(url(0, "/mode/ok"), { method: "POST" });
  expect((await fetch(url(0, "/healthz"))).status).toBe(200);
});

test("the echo sends back what it gets, and closing does not wait for its clients", async () => {
  const socket = connect(firstPort + 4, "127.0.0.1");
  socket.write("hello");
  const echoed = await new Promise((resolve) => socket.once("data", (bytes) => resolve(bytes.toString())));
  expect(echoed).toBe("hello");
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.on("error", () => undefined);
  await close();
  await closed;
});
