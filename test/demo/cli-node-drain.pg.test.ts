// `chancery drain --node` as somebody calls it who replaces a proxy: it counts down, 0 means that the Envoy may be stopped, and nothing else
// does. Mutants tried and caught: exit 0 without --wait; exit 0 after an unsafe end; --cancel that takes a word beside --node.
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { NodeDrainJobs } from "../../src/drain/node-drain-jobs.js";
import { type ApiUnderTest, startApi } from "../api/api-under-test.js";
import { type RunningCommand, startCommand } from "../support/command-line.js";
import { connectAnew, startNodeDrainJobs } from "../support/node-drain-jobs.js";
import { sql } from "../support/postgres.js";
import { waitFor } from "../support/wait.js";

let it: ApiUnderTest;
let jobs: NodeDrainJobs;

const chancery = (...words: string[]): RunningCommand => startCommand([...words, "--api", it.api.url, "--author", "ada"]);

beforeAll(async () => {
  it = await startApi({ plans: true });
  jobs = startNodeDrainJobs(it);
});
afterAll(async () => {
  await jobs.stop();
  await it.close();
});
beforeEach(() => connectAnew(it, ["edge-1", "edge-2"]));

async function report(connections: number): Promise<void> {
  const drain = await waitFor("the drain has begun", () => it.store.nodeDrains.get("edge-1"), { timeoutMs: 10_000 });
  const verdict = connections > 0 ? "open" : "zero";
  await it.store.nodeDrains.save("r1", [{ node: "edge-1", id: drain.id, acked: true, report: { verdict, connections } }]);
}
const shows = (run: RunningCommand, words: string) =>
  waitFor(`it says ${words}`, () => run.out.includes(words), { timeoutMs: 10_000, everyMs: 20 });

test("--wait tells each step, counts down, and ends with 0 when it is safe to stop", async () => {
  const run = chancery("drain", "--node", "edge-1", "--wait", "--lame-duck", "1s", "--timeout", "60s", "--reason", "new image");
  await shows(run, "lame duck: health checks fail, listeners accept until ");
  await shows(run, "withdrawing its listeners");
  await report(3);
  await shows(run, "listeners are gone: 3 connections open");
  await report(1);
  await shows(run, "listeners are gone: 1 connection open");
  await report(0);
  const { code, out } = await run.done;
  expect([code, out.trimEnd().split("\n").at(-1)]).toEqual([0, "safe to stop: no connection is left"]);
  const again = await chancery("drain", "--node", "edge-1", "--wait").done;
  expect([again.code, again.out]).toEqual([0, expect.stringContaining("safe to stop")]);
  expect((await chancery("drains", "--nodes").done).out).toMatch(/edge-1 +edge +drained +yes +0 +ada/);
});

test("an end that is not known to be safe is 1, with what is left", async () => {
  const run = chancery("drain", "--node", "edge-1", "--wait", "--timeout", "2s");
  await report(2);
  const { code, error } = await run.done;
  expect([code, error]).toEqual([1, expect.stringMatching(/Not known to be safe to stop: .*2 connections are open/)]);
});

test("Ctrl-C leaves it going; it can be looked on at, and its listeners be brought back", async () => {
  const run = chancery("drain", "--node", "edge-1", "--wait");
  await report(2);
  await shows(run, "2 connections open");
  run.interrupt();
  const { code, error } = await run.done;
  expect([code, error]).toEqual([5, expect.stringContaining("chancery drain --node edge-1 --cancel")]);
  const without = await chancery("drain", "--node", "edge-1").done;
  expect([without.code, without.out]).toEqual([5, expect.stringContaining("which goes on")]);
  const followed = chancery("drain", "--node", "edge-1", "--follow");
  await report(0);
  expect((await followed.done).code).toBe(0);
  const cancelled = await chancery("drain", "--node", "edge-1", "--cancel").done;
  expect([cancelled.code, cancelled.out]).toEqual([0, expect.stringContaining("its listeners come back")]);
  expect(await it.store.nodeDrains.get("edge-1")).toBeUndefined();
});

test("what can't be is refused: 1 with the reason, 2 for a wrong command line", async () => {
  await sql(it.databaseUrl, "update nodes set connected = false where id = 'edge-2'");
  const last = await chancery("drain", "--node", "edge-1").done;
  expect([last.code, last.error]).toEqual([1, expect.stringContaining("no other Envoy of gateway edge")]);
  const unknown = await chancery("drain", "--node", "edge-7").done;
  expect([unknown.code, unknown.error]).toEqual([1, expect.stringContaining("there is edge-1, edge-2")]);
  for (const words of [
    ["--node", "edge-1", "app"],
    ["--node", "edge-1", "--cancel", "0123456789abcdef"],
    ["--cancel"],
    ["app", "10.0.0.7:80", "--lame-duck", "1s"],
  ])
    expect((await chancery("drain", ...words).done).code, words.join(" ")).toBe(2);
  expect((await chancery("drain", "--node", "edge-1", "--override", "last-node").done).code).toBe(5);
});
