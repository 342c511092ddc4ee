// A child that ends by itself is started again, and given up when it keeps ending.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { launch } from "../../../src/demo/running.js";
import { supervise } from "../../../src/demo/supervise.js";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "chancery-supervise-"));
});
afterAll(() => rm(folder, { recursive: true }));

const node = (code: string) => () =>
  launch({ command: process.execPath, args: ["-e", code], logFile: join(folder, "log"), graceMs: 2000 });

test("a killed child comes back with another pid, and a stopped one stays away", async () => {
  const said: string[] = [];
  const child = await supervise("it", node("setInterval(() => {}, 1000)"), (line) => said.push(line));
  const before = child.current().pid;
  process.kill(before, "SIGKILL");
  await vi.waitFor(() => expect(child.current().pid).not.toBe(before), 10_000);
  expect(said).toEqual([`it (pid ${before}) ended with SIGKILL; starting it again.`, `it is back (pid ${child.current().pid}).`]);
  const after = child.current();
  await child.stop();
  expect(await after.exited).toEqual({ code: null, signal: "SIGTERM" });
  expect(said).toHaveLength(2);
});

test("stopping does not wait for the pause before the next start", async () => {
  const said: string[] = [];
  const child = await supervise("it", node("process.exit(7)"), (line) => said.push(line));
  await vi.waitFor(() => expect(said.length).toBeGreaterThanOrEqual(1), 10_000);
  await child.stop();
  expect(said[0]).toMatch(/ended with exit code 7; starting it again/);
});

test("a first start that fails is the caller's to tell", async () => {
  const missing = () =>
    launch({ command: join(folder, "no-such-program"), args: [], logFile: join(folder, "log"), graceMs: 100 });
  await expect(supervise("it", missing, () => undefined)).rejects.toThrow(/ENOENT/);
});
