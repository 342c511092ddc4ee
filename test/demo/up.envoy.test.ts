// The whole demo as a user meets it: `chancery up` from its first line to Ctrl-C, on ports of its own. Needs `npm run build`.
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { listAll } from "../../src/cli/api-client.js";
import { portFaults } from "../../src/demo/ports.js";
import { freePort } from "../support/ports.js";
import { type Child, startChild } from "../support/processes.js";
import { waitFor } from "../support/wait.js";

const main = join(import.meta.dirname, "..", "..", "dist", "main.js");
const run = promisify(execFile);
const startedMs = 60_000;

let dataDir = "";
let ports: { api: number; xds: number; http: number; tcp: number; backends: number };
let demo: Child;

async function freeRow(length: number): Promise<number> {
  return waitFor("ports in a row", async () => {
    const first = await freePort();
    const row = Array.from({ length }, (_, index) => ({ host: "127.0.0.1", port: first + index, what: "", flag: "" }));
    return first + length < 32_000 && (await portFaults(row)).length === 0 ? first : undefined;
  });
}

function flags(changed: Partial<typeof ports> = {}): string[] {
  const all = { ...ports, ...changed };
  const words = Object.entries(all).flatMap(([name, port]) => [`--${name}-port`, String(port)]);
  return ["up", ...words, "--data-dir", dataDir];
}

async function startDemo(): Promise<void> {
  demo = startChild("demo", process.execPath, [main, ...flags()], { CHANCERY_POLL_MS: "100" });
  await waitFor(
    "the greeting",
    () => {
      if (!demo.isRunning()) throw new Error(`the demo ended: ${demo.log()}`);
      return demo.log().includes("Ctrl-C stops everything.");
    },
    { timeoutMs: startedMs },
  );
}

/** Everything that runs on the demo's folder: Envoys and Postgres by their arguments, the control plane by its port. */
async function leftovers(): Promise<readonly string[]> {
  const { stdout } = await run("ps", ["-axo", "pid=,args="]);
  const processes = stdout.split("\n").filter((line) => line.includes(dataDir) && !line.includes(`${main} up`));
  const wanted = Object.entries(ports).map(([what, port]) => ({ host: "127.0.0.1", port, what, flag: "" }));
  return [...processes, ...(await portFaults(wanted))];
}

const url = (path = "") => `http://127.0.0.1:${ports.http}${path}`;
const nodes = () => listAll({ url: `http://127.0.0.1:${ports.api}`, author: "test" }, "/v1/nodes");

/** version → answers, over new connections so that both Envoys take part. */
async function versions(count: number): Promise<Record<string, number>> {
  const seen: Record<string, number> = {};
  for (let index = 0; index < count; index++) {
    const response = await fetch(url(), { headers: { connection: "close" } });
    const version = response.headers.get("x-backend") ?? `status ${response.status}`;
    seen[version] = (seen[version] ?? 0) + 1;
    await response.arrayBuffer();
  }
  return seen;
}

async function setWeights(v1: number, v2: number): Promise<unknown> {
  const answer = await fetch(`http://127.0.0.1:${ports.api}/v1/routes/checkout/weights?wait=acked`, {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ weights: { "checkout-v1": v1, "checkout-v2": v2 } }),
  });
  return { status: answer.status, body: await answer.json() };
}

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "chancery-up-"));
  const [apiPort, xds, http, tcp] = [await freePort(), await freePort(), await freePort(), await freePort()];
  ports = { api: apiPort, xds, http, tcp, backends: await freeRow(5) };
  await startDemo();
}, startedMs + 30_000);

afterAll(async () => {
  await demo.stop(20_000);
  await rm(dataDir, { recursive: true, force: true });
}, 30_000);

test("the greeting says where everything is, and its commands name these ports", () => {
  const log = demo.log();
  for (const port of Object.values(ports)) expect(log).toContain(`127.0.0.1:${port}`);
  expect(log).toContain(`nodes --api http://127.0.0.1:${ports.api}`);
});

test("requests go through both Envoys to version 1 and 2, and weights shift with the answer of every Envoy", async () => {
  expect(await setWeights(0, 100)).toMatchObject({
    status: 200,
    body: { sync: { state: "acked", gateways: { edge: { total: 2, acked: 2 } } } },
  });
  expect(await versions(20)).toEqual({ "checkout v2": 20 });
  expect(await setWeights(50, 50)).toMatchObject({ status: 200 });
  const seen = await versions(60);
  expect(Object.keys(seen).sort()).toEqual(["checkout v1", "checkout v2"]);
});

test("the TCP route leads to the echo", async () => {
  const socket = connect(ports.tcp, "127.0.0.1");
  socket.write("through an Envoy");
  const echoed = await new Promise<string>((resolve, reject) => {
    socket.once("data", (bytes: Buffer) => resolve(bytes.toString()));
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("closed without an answer")));
  });
  socket.destroy();
  expect(echoed).toBe("through an Envoy");
});

test("ports that are taken, shared ones too, are told by name and flag, and nothing is started or stopped", async () => {
  const apiPort = await freePort();
  const second = startChild("second", process.execPath, [main, ...flags({ api: apiPort })]);
  expect(await second.ended).toBe("exit code 1");
  const said = second.log();
  expect(said).toContain(`xDS wants 127.0.0.1:${ports.xds}, which is in use by another program; --xds-port chooses another port`);
  // Envoys share their listener's port with whoever sets SO_REUSEPORT: this one is only found by an exclusive look.
  expect(said).toContain(`the demo's HTTP listener wants 127.0.0.1:${ports.http}`);
  expect(said).not.toContain(`:${apiPort},`);
  expect(Object.values(await versions(5)).reduce((sum, count) => sum + count)).toBe(5);
});

test("a control plane that is killed comes back, and no request fails meanwhile", async () => {
  const pid = Number(/control plane: pid (\d+)/.exec(demo.log())?.[1]);
  process.kill(pid, "SIGKILL");
  await waitFor(
    "the control plane is back",
    async () => {
      expect(Object.keys(await versions(1))[0]).toMatch(/^checkout/);
      return demo.log().includes("the control plane is back");
    },
    { timeoutMs: 60_000 },
  );
  await waitFor(
    "both Envoys are connected again",
    async () => (await nodes()).filter((node) => node["connected"] === true).length === 2,
  );
});

test("Ctrl-C ends everything in order, and the next start finds what the user had changed", async () => {
  await setWeights(1, 3);
  demo.signal("SIGINT");
  expect(await demo.ended).toBe("exit code 0");
  expect(await leftovers()).toEqual([]);
  await startDemo();
  expect(demo.log()).not.toContain("created");
  const route = await fetch(`http://127.0.0.1:${ports.api}/v1/routes/checkout`);
  expect(await route.json()).toMatchObject({
    backends: [
      { cluster: "checkout-v1", weight: 1 },
      { cluster: "checkout-v2", weight: 3 },
    ],
  });
});

test("when the demo itself is killed, what it started ends all the same", async () => {
  await demo.kill();
  await waitFor("nothing is left", async () => (await leftovers()).length === 0, { timeoutMs: 15_000, everyMs: 200 });
});
