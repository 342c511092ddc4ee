// One step of a rebalance, taken in one transaction: claimed, looked at again, and an endpoint's drain begun, or the rebalance ended. Killed
// anywhere in between, nothing of it has happened. The drain is one like any other, in one route alone: its jobs close the connections,
// wait until they are seen gone or its time is over, and put the endpoint back. In: the store and an id. Out: what was done.
// Called by rebalance-jobs.ts, and `cancelRebalance` by api/.
import { randomBytes } from "node:crypto";
import { guaranteeOf } from "../model/drain-guarantee.js";
import { addressKey } from "../model/endpoint.js";
import type { RebalanceEnd, RebalanceRecord, Store, WriteTx } from "../store/store.js";
import { type Choice, chooseEndpoint, connectionsByCluster, countsOf, nextRebalanceStep } from "./rebalance-step.js";
import { cancel } from "./take-step.js";

/** What became of a step; undefined: another replica has it, or it is not due after all. */
export type RebalanceTaken = { readonly record: RebalanceRecord; readonly step: Exclude<Choice, { kind: "wait" }> } | undefined;

/** @throws database_unavailable, write_contention: the next look tries again */
export async function takeRebalanceStep(store: Pick<Store, "rebalances">, id: string): Promise<RebalanceTaken> {
  const reason = "connections are to follow the weights of their route";
  const { value } = await store.rebalances.write(id, reason, async (tx): Promise<RebalanceTaken> => {
    const record = await tx.rebalances.claim(id);
    if (!record) return undefined;
    const due = nextRebalanceStep(record);
    if (due.kind === "wait") return undefined;
    const step = due.kind === "end" ? due : await choose(tx, record);
    if (step.kind === "wait") return undefined;
    if (step.kind === "close") await begin(tx, record, step);
    else await end(tx, record, step);
    return { record, step };
  });
  return value;
}

async function choose(tx: WriteTx, record: RebalanceRecord): Promise<Choice> {
  const names = Object.keys(record.weights).sort();
  const clusters = new Map([...(await tx.getAll("cluster", names))].map(([name, { object }]) => [name, object]));
  const endpoints = await endpointsOf(tx, names);
  return chooseEndpoint(record, clusters, endpoints);
}

async function endpointsOf(tx: WriteTx, clusters: readonly string[]) {
  const endpoints = [];
  for (const name of clusters) endpoints.push(...(await tx.endpointsOf(name)).map(({ object }) => object));
  return endpoints;
}

/** The cluster is locked, so the endpoint is there. */
async function begin(tx: WriteTx, record: RebalanceRecord, step: Extract<Choice, { kind: "close" }>): Promise<void> {
  const { id, gateways, route } = record;
  const { cluster, ...of } = step.endpoint;
  const stored = await tx.get("cluster", cluster);
  if (!stored) return;
  const endpoint = addressKey(of);
  const drain = randomBytes(8).toString("hex");
  const reason = `rebalance ${id} of route ${route}`;
  const guarantee = guaranteeOf(stored.object, []);
  const { connectTimeoutMs } = stored.object;
  await tx.drains.start({
    id: drain,
    by: { author: `rebalance ${id}`, requestId: id, reason },
    afterwards: "restore",
    timeoutMs: 0,
    endpoints: [{ cluster, endpoint, connectTimeoutMs, guarantee, joins: undefined, route }],
    gateways,
    joinedAt: 0,
  });
  await tx.markDrained([`${cluster}/${endpoint}`], { id: drain, phase: "draining", route });
  await tx.rebalances.step(id, { cluster, endpoint, connections: step.connections, drain }, step.pauseMs);
}

async function end(
  tx: WriteTx,
  record: RebalanceRecord,
  { state, outcome }: Pick<RebalanceEnd, "state" | "outcome">,
): Promise<void> {
  if (record.drain && !record.drain.ended) {
    const drain = await tx.drains.hold(record.drain.id);
    if (drain) await cancel(tx, drain, outcome);
  }
  const endpoints = await endpointsOf(tx, Object.keys(record.weights).sort());
  const connections = Object.fromEntries(connectionsByCluster(countsOf(record), endpoints));
  await tx.rebalances.end(record.id, { state, outcome, connections });
}

/**
 * Ends it before its end: an endpoint that is closed now is back at once. In the caller's transaction, which holds the rebalance.
 * False: it had ended already.
 */
export async function cancelRebalance(
  tx: WriteTx,
  record: RebalanceRecord,
  state: "cancelled" | "superseded",
  outcome: string,
): Promise<boolean> {
  if (record.endedAt !== undefined) return false;
  await end(tx, record, { state, outcome });
  return true;
}
