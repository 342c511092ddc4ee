// `chancery weights --rebalance` and `chancery rebalances`: progress to the end, and what their exit codes say. Envoys' reports are rows.
// Mutants tried and caught: exit 0 after a cancelled one; the rebalance left out of the body; --wait that does not look on.
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { RebalanceJobs } from "../../src/drain/rebalance-jobs.js";
import { systemClock } from "../../src/telemetry/clock.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { createMetrics } from "../../src/telemetry/metrics.js";
import { type ApiUnderTest, edgeNode, startApi } from "../api/api-under-test.js";
import { quickCheck } from "../support/bodies.js";
import { type RunningCommand, startCommand } from "../support/command-line.js";
import { waitFor } from "../support/wait.js";

let it: ApiUnderTest;
let jobs: RebalanceJobs;
let count = 0;
let [mq, a, b] = ["", "", ""];

const chancery = (...words: string[]): RunningCommand => startCommand([...words, "--api", it.api.url, "--author", "ada"]);
const closable = { protocol: "tcp", drain: { atDeadline: "close" }, healthChecks: [quickCheck("tcp")] };

beforeAll(async () => {
  it = await startApi({ plans: true });
  jobs = new RebalanceJobs({
    replica: "r2",
    store: it.store,
    loads: { nodes: () => [], of: () => undefined },
    resourceOf: (route) => `tcp/${route}`,
    setPace: () => {},
    onDrain: () => {},
    clock: systemClock,
    log: createLogger("silent"),
    metrics: createMetrics(),
  });
  jobs.start();
  await it.store.status.heartbeat({ id: "r1", startedAt: new Date().toISOString(), revision: 1, leaseMs: 600_000 });
  await it.store.status.saveNodes("r1", [edgeNode("edge-1")], []);
});
afterAll(async () => {
  await jobs.stop();
  await it.close();
});
beforeEach(async () => {
  count += 1;
  [mq, a, b] = [`mq-${count}`, `a-${count}`, `b-${count}`];
  await it.api.post("/v1/listeners", { name: mq, port: 9_000 + count, protocol: "tcp", gateways: ["edge"] });
  for (const [at, name] of [a, b].entries()) {
    const endpoints = [1, 2].map((host) => ({ address: `10.${at + 1}.${count}.${host}`, port: 80 }));
    await it.api.post("/v1/clusters", { name, ...closable, endpoints });
  }
  const backends = [
    { cluster: a, weight: 100 },
    { cluster: b, weight: 0 },
  ];
  await it.api.post("/v1/routes", { name: mq, protocol: "tcp", listener: mq, backends });
});

async function begun(run: RunningCommand): Promise<string> {
  const form = /rebalance ([0-9a-f]{16}): connections of (\S+) follow the weights/;
  await waitFor("it has begun", () => form.test(run.out), { timeoutMs: 10_000, everyMs: 20 });
  return form.exec(run.out)?.[1] ?? "";
}
async function report(rebalance: string, onA: number, onB: number): Promise<void> {
  const counts = { [`10.1.${count}.1:80`]: onA, [`10.2.${count}.1:80`]: onB };
  await it.store.rebalances.saveLoads("r1", [{ rebalance, node: "edge-1", counts, agoMs: 0 }]);
}

test("--wait looks on to the end", async () => {
  const run = chancery("weights", mq, `${a}=50`, `${b}=50`, "--rebalance-after", "0s", "--rebalance-rate", "7", "--wait");
  const id = await begun(run);
  expect(await it.api.get(`/v1/rebalances/${id}`)).toMatchObject({ ratePerSecond: 7, afterMs: 0, author: "ada" });
  await waitFor("it says what it waits for", () => run.out.includes("waiting for load reports of edge-1"), { timeoutMs: 10_000 });
  await report(id, 20, 19);
  const { code, out } = await run.done;
  expect([code, out]).toEqual([0, expect.stringContaining(`done: the connections are shared by the weights: ${a} 20, ${b} 19`)]);
});

test("without --wait it is begun, listed, followed and cancelled", async () => {
  const first = await chancery("weights", mq, `${a}=50`, `${b}=50`, "--rebalance", "--rebalance-after", "60m").done;
  expect([first.code, first.out]).toEqual([0, expect.stringContaining("chancery rebalances --follow ")]);
  const id = /--follow ([0-9a-f]{16})/.exec(first.out)?.[1] ?? "";
  expect((await chancery("rebalances", "--open").done).out).toMatch(new RegExp(`${id} +waiting +${mq} +${a}=50 ${b}=50`));
  const follower = chancery("rebalances", "--follow", id);
  await waitFor("it looks on", () => follower.out.includes("0 connections closed so far"), { timeoutMs: 10_000 });
  follower.interrupt();
  expect((await follower.done).code).toBe(5);
  const other = chancery("rebalances", "--follow", id);
  await waitFor("it looks on", () => other.out !== "", { timeoutMs: 10_000 });
  expect((await chancery("rebalances", "--cancel", id).done).out).toContain("cancelled; 0 connections were closed");
  const { code, error } = await other.done;
  expect([code, error]).toEqual([1, expect.stringContaining("cancelled by ada")]);
  expect((await chancery("rebalances", "-o", "json").done).out).toContain(id);
});

test("a wrong command line sends nothing; without the flags nothing follows", async () => {
  for (const wrong of [
    ["--rebalance"],
    [`${a}=1`, `${b}=1`, "--rebalance-rate", "0"],
    [`${a}=1`, `${b}=1`, "--rebalance-after", "2h"],
  ])
    expect((await chancery("weights", mq, ...wrong).done).code).toBe(2);
  expect((await chancery("rebalances", "--follow", "x", "--cancel", "x").done).code).toBe(2);
  expect((await chancery("weights", mq, `${a}=1`, `${b}=1`).done).out).not.toContain("rebalance");
});
