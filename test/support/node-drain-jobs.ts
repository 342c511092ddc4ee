// The jobs of node drains beside an API of a test: connected Envoys that say nothing by themselves.
// In: the API. Out: their start, stop and reset. Called by the tests of the API and the command line.
import { NodeDrainJobs } from "../../src/drain/node-drain-jobs.js";
import { systemClock } from "../../src/telemetry/clock.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { createMetrics } from "../../src/telemetry/metrics.js";
import { type ApiUnderTest, edgeNode } from "../api/api-under-test.js";
import { sql } from "./postgres.js";

/** Running; to be stopped before the API is closed. */
export function startNodeDrainJobs({ snapshots, store }: ApiUnderTest): NodeDrainJobs {
  const jobs = new NodeDrainJobs({
    replica: "r1",
    store,
    state: () => snapshots.state,
    fleet: { ownNodes: () => [] },
    loads: { of: () => undefined },
    clock: systemClock,
    log: createLogger("silent"),
    metrics: createMetrics(),
  });
  jobs.start();
  return jobs;
}

/** No drain, and these Envoys are connected. */
export async function connectAnew({ databaseUrl, store }: ApiUnderTest, nodes: readonly string[]): Promise<void> {
  await sql(databaseUrl, "truncate replicas, nodes, node_drains");
  await store.status.heartbeat({ id: "r1", startedAt: new Date().toISOString(), revision: 1, leaseMs: 600_000 });
  await store.status.saveNodes("r1", nodes.map(edgeNode), []);
}
