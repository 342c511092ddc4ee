// What we started does not outlive us, however we end.
import { type ChildProcess, spawn } from "node:child_process";
import { afterEach, expect, test } from "vitest";
import { startKeeper } from "../../../src/demo/keeper.js";

const children: ChildProcess[] = [];

/** `stubborn`: does not end for SIGTERM. */
async function sleeper(stubborn = false): Promise<{ pid: number; ended: Promise<unknown> }> {
  const code = `${stubborn ? 'process.on("SIGTERM", () => {});' : ""} setInterval(() => {}, 1000); console.log("up");`;
  const child = spawn(process.execPath, ["-e", code], { stdio: ["ignore", "pipe", "ignore"] });
  children.push(child);
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  return { pid: child.pid ?? 0, ended: new Promise((resolve) => child.once("exit", (_, signal) => resolve(signal))) };
}

afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

test("when the pipe to the keeper ends, what it keeps ends, by the signal that was asked for", async () => {
  const keeper = startKeeper();
  const [gentle, interrupted, released] = [await sleeper(), await sleeper(), await sleeper()];
  keeper.keep(gentle.pid, "TERM");
  keeper.keep(interrupted.pid, "INT");
  keeper.keep(released.pid, "TERM");
  keeper.release(released.pid);
  keeper.close(); // As when we die: the pipe's other end is gone.
  expect(await gentle.ended).toBe("SIGTERM");
  expect(await interrupted.ended).toBe("SIGINT");
  process.kill(released.pid, 0); // Throws when it is gone.
});

test("what does not end when asked is killed", async () => {
  const keeper = startKeeper();
  const stubborn = await sleeper(true);
  keeper.keep(stubborn.pid, "TERM");
  keeper.close();
  expect(await stubborn.ended).toBe("SIGKILL");
});
