// The whole demo as a user meets it: `chancery up` from its first line to Ctrl-C, on ports of its own. Needs `npm run build`.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
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

test("writes are shown to the demo's own Envoy before their commit", async () => {
  const ready: unknown = await (await fetch(`http://127.0.0.1:${ports.api}/readyz`)).json();
  expect(ready).toMatchObject({ validation: { state: "on", envoyVersion: expect.any(String) } });
});

/** The commands below "Try:", a line each. */
function tried(log: string): readonly string[] {
  const text = log.slice(log.indexOf("Try:")).replaceAll("\\\n", "");
  return text.split("\n").flatMap((line) => /^ {4}(.*)/.exec(line)?.[1] ?? []);
}

/** Runs a command of the greeting in a shell, as a user does; a `curl` that changes something tells its status. */
async function tryOut(command: string): Promise<string> {
  const told = command.startsWith("curl") ? command.replace(/^curl/, "curl -sS -o /dev/null -w '%{http_code}'") : command;
  const { stdout } = await run("/bin/sh", ["-c", told.replace("node dist/main.js", `'${process.execPath}' '${main}'`)]);
  return stdout;
}

test("each command of the greeting does what is said there", async () => {
  const commands = tried(demo.log());
  expect(commands).toHaveLength(6);
  const [shift = "", ask = "", disable = "", fleet = "", fail = "", broken = ""] = commands;
  expect(await tryOut(shift)).toBe("200");
  expect(await tryOut(ask)).toMatch(/^(checkout v[12] on port \d+: GET \/\n){6}$/);
  expect(await tryOut(disable)).toBe("200");
  expect(await tryOut(fleet)).toMatch(/edge-1 .*yes[\s\S]*edge-2 .*yes/);
  expect(await tryOut(fail)).toBe("200");
  expect(await tryOut(broken)).toBe("422");
  // As it was, for the tests that follow.
  expect(await tryOut(disable.replace('"enabled":false', '"enabled":true'))).toBe("200");
  expect(await tryOut(fail.replace("mode/fail", "mode/ok"))).toBe("200");
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

test("a Postgres that is killed comes back where it was, with all that was in it, and no request fails meanwhile", async () => {
  const folder = /its data is in (.*)/.exec(demo.log())?.[1] ?? join(dataDir, "postgres"); // As root it may be elsewhere.
  const pid = Number((await readFile(join(folder, "cluster", "postmaster.pid"), "utf8")).split("\n")[0]);
  process.kill(pid, "SIGKILL");
  await waitFor(
    "Postgres is back",
    async () => {
      expect(Object.keys(await versions(1))[0]).toMatch(/^checkout/);
      return demo.log().includes("Postgres is back");
    },
    { timeoutMs: 60_000 },
  );
  await waitFor("a write is answered", async () => {
    const { status } = (await setWeights(50, 50)) as { status: number };
    return status === 200;
  });
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
