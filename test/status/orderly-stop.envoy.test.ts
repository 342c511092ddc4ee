// Promises of an orderly stop with a real Envoy connected: it is quick, and the Envoy is told by the streams' end.
import { expect, test } from "vitest";
import { startWorld } from "../support/world.js";

test("SIGTERM with an Envoy connected ends the process in less than its grace", async () => {
  const world = await startWorld();
  const started = performance.now();
  await world.replica.stop();
  expect(performance.now() - started).toBeLessThan(3_000);
});
