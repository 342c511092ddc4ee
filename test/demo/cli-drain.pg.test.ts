// `chancery drain` as a deploy script calls it: it counts down, and 0 means that the process may be stopped, nothing else does.
// Mutants tried and caught: exit 0 without --wait; exit 0 after an unsafe end; the drain cancelled by Ctrl-C; a control plane that is
// away for a moment ending the wait.
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { DrainJobs } from "../../src/drain/drain-jobs.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { createMetrics } from "../../src/telemetry/metrics.js";
import { type ApiUnderTest, edgeNode, startApi } from "../api/api-under-test.js";
import { type RunningCommand, startCommand } from "../support/command-line.js";
import { waitFor } from "../support/wait.js";

let it: ApiUnderTest;
let jobs: DrainJobs;
let count = 0;
let app = "";

const chancery = (...words: string[]): RunningCommand => startCommand([...words, "--api", it.api.url, "--author", "ada"]);

beforeAll(async () => {
  it = await startApi({ plans: true });
  jobs = new DrainJobs({ store: it.store, log: createLogger("silent"), metrics: createMetrics() });
  jobs.start();
  await it.store.status.heartbeat({ id: "r1", startedAt: new Date().toISOString(), revision: 1, leaseMs: 600_000 });
  await it.store.status.saveNodes("r1", [edgeNode("edge-1")], []);
  await it.api.post("/v1/listeners", { name: "web", port: 8443, protocol: "http", gateways: ["edge"] });
});
afterAll(async () => {
  await jobs.stop();
  await it.close();
});
beforeEach(async () => {
  app = `app-${++count}`;
  await it.api.post("/v1/clusters", {
    name: app,
    endpoints: [1, 2].map((host) => ({ address: `10.0.${count}.${host}`, port: 80 })),
  });
  const backends = [{ cluster: app, weight: 1 }];
  await it.api.post("/v1/routes", { name: app, protocol: "http", listeners: ["web"], hosts: [`${app}.example`], backends });
});

const key = (host: number) => `10.0.${count}.${host}:80`;
async function begun(run: RunningCommand): Promise<string> {
  await waitFor("the drain has begun", () => /drain ([0-9a-f]{16}):/.test(run.out), { timeoutMs: 10_000, everyMs: 20 });
  return /drain ([0-9a-f]{16}):/.exec(run.out)?.[1] ?? "";
}
async function report(drain: string, inFlight: number): Promise<void> {
  const row = { drain, node: "edge-1", gateway: "edge" };
  await it.store.drains.saveAcks("r1", [row]);
  await it.store.drains.saveLoads("r1", [{ ...row, verdict: inFlight > 0 ? "in-flight" : "zero", inFlight, unattributed: 0 }]);
}

test("--wait counts down, and ends with 0 when it is safe to stop", async () => {
  const run = chancery("drain", app, key(1), "--wait", "--timeout", "60s", "--reason", "deploy 7");
  const id = await begun(run);
  await waitFor("it names who has not got it", () => run.out.includes("0 of 1 send nothing new (not yet: edge-1)"));
  await report(id, 3);
  await waitFor("it counts", () => run.out.includes("3 in flight"), { timeoutMs: 10_000 });
  await report(id, 1);
  await waitFor("it counts down", () => run.out.includes("1 in flight"), { timeoutMs: 10_000 });
  await report(id, 0);
  const { out, code } = await run.done;
  expect([code, out.trimEnd().split("\n").at(-1)]).toEqual([0, "safe to stop: nothing is in flight"]);
  expect(await it.api.get(`/v1/drains/${id}`)).toMatchObject({ author: "ada", reason: "deploy 7", timeoutMs: 60_000 });
  const again = await chancery("drain", "--all", key(1), "--wait").done;
  expect([again.code, again.out]).toEqual([0, expect.stringContaining(id)]);
});

test("an end that is not known to be safe is 1, with what is left", async () => {
  const run = chancery("drain", app, key(1), "--wait", "--timeout", "1s");
  await report(await begun(run), 2);
  const { code, error } = await run.done;
  expect([code, error]).toEqual([1, expect.stringMatching(/Not known to be safe to stop: .*2 in flight/)]);
});

test("Ctrl-C leaves the drain going and says so; it can be followed, and cancelled", async () => {
  const run = chancery("drain", app, key(1), "--wait");
  const id = await begun(run);
  await report(id, 2);
  run.interrupt();
  const { code, error } = await run.done;
  expect([code, error]).toEqual([5, expect.stringContaining(`Drain ${id} goes on`)]);
  expect(await it.api.get(`/v1/drains/${id}`)).toMatchObject({ safeToStop: false, state: "in-flight" });
  const listed = await chancery("drains", "--open").done;
  expect(listed.out).toMatch(new RegExp(`${id} +in-flight +no +1/1 +2 +ada`));
  const followed = chancery("drain", "--follow", id);
  expect((await chancery("drain", "--cancel", id).done).out).toContain("cancelled (revision");
  expect((await followed.done).code).toBe(1);
  expect(await it.api.get(`/v1/clusters/${app}/endpoints/${key(1)}`)).not.toHaveProperty("drain");
});

test("without --wait it is begun, and that is not 0", async () => {
  const { code, error } = await chancery("drain", app, key(1)).done;
  expect([code, error]).toEqual([5, expect.stringContaining("chancery drain --follow")]);
});

test("a selector finds the endpoints: labels that `endpoint --label` gave, in one cluster or in all", async () => {
  const labelled = await chancery("endpoint", `${app}/${key(2)}`, "--label", "version=v1", `run=${app}`).done;
  expect([labelled.code, labelled.out]).toEqual([0, expect.stringContaining(`labels={"version":"v1","run":"${app}"}`)]);
  expect((await chancery("get", "endpoints", app).done).out).toMatch(new RegExp(`2:80 .* run=${app},version=v1 `));
  const one = await chancery("drain", app, "--label", "version=v1").done;
  expect([one.code, one.out]).toEqual([5, expect.stringContaining(`: ${app}/${key(2)}\n`)]);
  const all = await chancery("drain", "--all", "--label", "version=v1", `run=${app}`, "--address", `10.0.${count}.2`).done;
  expect(all.out).toContain(`: ${app}/${key(2)}\n`);
  for (const wrong of [
    ["--label", "version=v1"],
    [app, key(1), "--zone", "a"],
    [app, "--label", "version"],
    [app, "--label", "a=1", "a=2"],
  ])
    expect((await chancery("drain", ...wrong).done).code).toBe(2);
});

test("the last endpoint is refused until that is overridden", async () => {
  const refused = await chancery("drain", app, key(1), key(2)).done;
  expect([refused.code, refused.error]).toEqual([1, expect.stringContaining("override last-endpoint")]);
  expect((await chancery("drain", app, key(1), key(2), "--override", "last-endpoint").done).code).toBe(5);
});

test.each([
  [["drain"]],
  [["drain", "app"]],
  [["drain", "--all", "a:1", "b:1"]],
  [["drain", "app", "10.0.0.1:80", "--timeout", "2h"]],
  [["drain", "app", "--cancel", "x"]],
  [["drain", "app", "10.0.0.1:80", "--afterwards", "keep"]],
])("%j is a wrong command line", async (words) => {
  expect((await chancery(...words).done).code).toBe(2);
});

test("a control plane that is away for a moment does not end the wait", async () => {
  const run = chancery("drain", app, key(1), "--wait");
  const id = await begun(run);
  const url = new URL(it.api.url);
  await it.close();
  await new Promise((done) => setTimeout(done, 1_500));
  it = await startApi({ plans: true, databaseUrl: it.databaseUrl, port: Number(url.port) });
  await report(id, 0);
  await it.store.write({ author: "test", requestId: "r", reason: undefined }, async (tx) => {
    await tx.drains.end(id, { state: "removed", safeToStop: true, leftOpen: 0, outcome: "nothing is in flight" });
  });
  expect((await run.done).code).toBe(0);
});
