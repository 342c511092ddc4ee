// The loop under all jobs. Mutants caught: a wake during a look that is forgotten; looks that overlap; a stop that does not wait; a log
// line for every failure.
import { expect, test } from "vitest";
import { createLogger } from "../../../src/telemetry/logger.js";
import { LookLoop } from "../../../src/telemetry/look-loop.js";
import { waitFor } from "../../support/wait.js";

const never = 1_000_000;

function captured() {
  const lines: string[] = [];
  const log = createLogger("info", { write: (line: string) => void lines.push(JSON.parse(line).msg) });
  return { lines, log };
}

test("a wake during a look brings one more look, and no two at once", async () => {
  let looks = 0;
  let release = (): void => {};
  const { log } = captured();
  const look = async (): Promise<number> => {
    looks += 1;
    await new Promise<void>((done) => {
      release = done;
    });
    return never;
  };
  const loop = new LookLoop({ what: "drains", look, retryMs: never, log });
  loop.start();
  loop.wake();
  loop.wake();
  expect(looks).toBe(1);
  release();
  await waitFor("the second look", () => looks === 2);

  let isStopped = false;
  const stopped = loop.stop().then(() => {
    isStopped = true;
  });
  await Promise.resolve();
  expect([isStopped, loop.isRunning]).toEqual([false, false]);
  release();
  await stopped;
  loop.wake();
  expect(looks).toBe(2);
});

test("a database that is away is told once, and that it is back once, and looks go on", async () => {
  let looks = 0;
  const { lines, log } = captured();
  const look = async (): Promise<number> => {
    looks += 1;
    if (looks <= 3) throw new Error("away");
    return 1;
  };
  const loop = new LookLoop({ what: "drains", look, retryMs: 1, log });
  loop.start();
  await waitFor("it is back", () => looks > 5);
  await loop.stop();
  expect(lines).toEqual(["drains stand still: the database does not answer", "drains go on: the database is back"]);
});
