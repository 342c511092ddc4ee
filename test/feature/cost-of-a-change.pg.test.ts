// What a change and an idle second cost in statements, on a replica as production runs it, counted on the wire. Times would depend on the
// machine; counts don't. "Mutant" comments name the fault that the assertion is there to catch; each was tried and made it fail.
import { setTimeout as delay } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { type CountedDatabase, countedDatabase } from "../support/counted-database.js";
import { isPortable } from "../support/database-mode.js";
import { freshDatabase } from "../support/postgres.js";
import { type Replica, startReplica } from "../support/replica.js";
import { startSimulatedNode } from "../support/simulated-node.js";
import { waitFor } from "../support/wait.js";

let database: CountedDatabase;
let replica: Replica;
async function shift(weight: number): Promise<void> {
  const body = { weights: { one: 100 - weight, two: weight } };
  const { status } = await replica.api.call("PUT", "/v1/routes/canary/weights", body);
  expect(status).toBe(200);
}

/** What every replica asks and says anyway: the feed, its beat with what Envoys answered, its nodes, a ping of the hints. */
const background = [
  "select pg_is_in_recovery() as standby, counter.n as head",
  "into replicas",
  "fresh as (",
  "insert into nodes",
  "select 1",
];

/** Texts that were sent and hold none of these. */
function others(known: readonly string[]): string[] {
  return [...database.counts().texts.keys()].filter((text) => !known.some((one) => text.includes(one)));
}

beforeAll(async () => {
  database = await countedDatabase((await freshDatabase()).url);
  // Pruning looks once within the first seconds, and then every ten minutes.
  replica = await startReplica({ databaseUrl: database.url, env: { CHANCERY_LOG_LEVEL: "info", CHANCERY_HISTORY_DAYS: "0" } });
  for (const [path, body] of [
    ["/v1/clusters", clusterBody("one", [{ port: 1 }])],
    ["/v1/clusters", clusterBody("two", [{ port: 2 }])],
    ["/v1/listeners", listenerBody("web", 10_000)],
    ["/v1/routes", routeBody("canary", "web", { one: 100, two: 0 })],
  ] as const)
    expect((await replica.api.call("POST", path, body)).status).toBe(201);
  const node = startSimulatedNode({ ports: [replica.xdsPort], node: "edge-1", gateway: "edge" });
  await waitFor("the Envoy has the route", () => node.has("route", "web", "one"));
  for (let weight = 1; weight <= 6; weight++) await shift(weight); // Statements that are prepared, are prepared by now.
  await delay(1_000);
}, 60_000);

// The portable mode tries again and polls.
describe.skipIf(isPortable)("a change of a canary's weight", () => {
  const changes = 20;
  let ms: number;
  beforeAll(async () => {
    const startedAt = performance.now();
    database.reset();
    for (let change = 1; change <= changes; change++) {
      await shift(10 + change);
      await delay(200); // Longer than the flush of what Envoys answered, which would else take several changes together.
    }
    ms = performance.now() - startedAt;
  }, 60_000);

  test("is three messages: BEGIN with what must be known, the lock, and the commit", () => {
    // Mutants: the row's new form sent as a statement of its own; policies asked before the transaction.
    expect(database.asked("begin")).toBe(changes);
    expect(database.asked("for no key update")).toBe(changes);
    expect(database.asked("commit_revision")).toBe(changes);
    expect(database.asked("update routes")).toBe(0);
    expect(database.asked("select gateway, rollout")).toBe(0);
  });

  test("is read once by the feed, and the replica's beat goes with what the Envoy answered", () => {
    // Mutants: a feed that asks again after each revision; a beat in a statement of its own for each revision.
    const polls = database.asked("select pg_is_in_recovery() as standby, counter.n as head");
    expect(polls).toBeGreaterThanOrEqual(changes);
    expect(polls).toBeLessThanOrEqual(changes + ms / 375 + 2); // The timer's own come at least so far apart.
    const alone = [...database.counts().texts]
      .filter(([text]) => text.includes("into replicas") && !text.includes("fresh as ("))
      .reduce((sum, [, count]) => sum + count, 0);
    expect(alone).toBeLessThanOrEqual(ms / 750 + 2);
  });

  test("asks nothing of drains, leases or rollouts", () => {
    // Mutant: drain jobs that look at each revision.
    expect(others(["begin", "for no key update", "commit_revision", ...background])).toEqual([]);
  });
});

describe("an idle replica", () => {
  const seconds = 6;
  beforeAll(async () => {
    await delay(500);
    database.reset();
    await delay(seconds * 1_000);
  }, 60_000);

  test("asks the feed, renews its lease, and that is all: fewer than four statements per second", () => {
    // Mutant: OpenWork that never knows (`mayBe` is always true): 13 statements per second more.
    const { statements } = database.counts();
    expect(statements).toBeLessThanOrEqual(4 * seconds);
    expect(others(background)).toEqual([]);
  });

  test.skipIf(isPortable)("has nothing planned anew", () => {
    // Mutant: pools that do not prepare.
    expect(database.counts().parses).toBeLessThanOrEqual(3);
  });
});
