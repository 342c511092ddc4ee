// A fleet that comes at once is let in a few at a time, so that one turn of the event loop never belongs to it alone; nobody is lost, nobody is passed
// by, and what a connection has said already is kept. Mutants that were tried, and are caught: all are let in as they come; those beyond the first few
// are forgotten; the line is taken from its end.
import { connect, type Socket } from "node:net";
import { expect, test } from "vitest";
import { createLogger } from "../../../src/telemetry/logger.js";
import { createMetrics } from "../../../src/telemetry/metrics.js";
import { Door } from "../../../src/xds/door.js";
import { onCleanup } from "../../support/cleanup.js";
import { waitFor } from "../../support/wait.js";

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const crowd = 100;

test("a hundred connections that speak at once are let in sixteen in a turn, in their order, with what they said", async () => {
  let turn = 0;
  let isOver = false;
  const count = (): void => {
    turn += 1;
    if (!isOver) setImmediate(count);
  };
  const said: string[] = [];
  const perTurn = new Map<number, number>();
  const limits = { maxConnections: 1_000, maxConnectionsPerAddress: 0, prefaceTimeoutMs: 10_000, idleConnectionMs: 60_000 };
  const admit = (socket: Socket): void => {
    perTurn.set(turn, (perTurn.get(turn) ?? 0) + 1);
    const place = said.push("") - 1;
    socket.on("data", (chunk) => {
      said[place] += chunk.toString();
    });
  };
  const door = new Door({ limits, admit, log: createLogger("silent"), metrics: createMetrics(), now: Date.now });
  const port = await door.listen({ host: "127.0.0.1", port: 0 });
  const clients: Socket[] = [];
  onCleanup("the door", () => {
    isOver = true;
    for (const client of clients) client.destroy();
    door.close();
  });
  for (let at = 1; at <= crowd; at++) {
    clients.push(connect(port, "127.0.0.1"));
    await waitFor("it is there", () => door.count === at, { everyMs: 1 });
  }
  setImmediate(count);
  // All of them are readable in the next turn.
  for (const [at, client] of clients.entries()) client.write(`${preface}${at};`);
  await waitFor("all are in", () => said.length === crowd && said.every((text) => text.endsWith(";")));
  expect(Math.max(...perTurn.values())).toBeLessThanOrEqual(16);
  expect(said).toEqual(clients.map((_, at) => `${preface}${at};`));
});
