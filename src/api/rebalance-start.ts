// The beginning of a rebalance, in the transaction that shifts the weights: whether the route's connections can be closed at all, and what
// it supersedes. In: the body of PUT /v1/routes/{name}/weights. Out: rows. Called by routes.ts.
// The rebalance that is under way is held first, then its drain, then clusters, then the route: everybody's order.
import { cancelRebalance } from "../drain/take-rebalance-step.js";
import { AppError, type Problem } from "../errors.js";
import type { Cluster } from "../model/cluster.js";
import { guaranteeOf } from "../model/drain-guarantee.js";
import { takesNew } from "../model/endpoint.js";
import type { Lint } from "../model/lint.js";
import { problem } from "../model/problem-codes.js";
import {
  type LosingBackend,
  losingClusters,
  maxOpenRebalances,
  sameWeights,
  standardAfterMs,
  standardRatePerSecond,
  weightsOf,
} from "../model/rebalance.js";
import type { Author } from "../model/revision.js";
import { backendsOf, type Route, type TcpRoute } from "../model/route.js";
import type { RebalanceRecord, WriteTx } from "../store/store.js";
import {
  type PlannedRebalance,
  type RebalanceBody,
  type RebalanceChoice,
  toPlannedBody,
  toRebalanceBody,
} from "./rebalance-body.js";

/** What is asked for, and as which rebalance. */
export interface RebalanceRequest {
  readonly id: string;
  readonly by: Author;
  readonly choice: RebalanceChoice;
}

/** What a shift with a rebalance stands on, held still. */
export interface RebalanceGround {
  /** The one that is under way for the route. */
  readonly open: RebalanceRecord | undefined;
  readonly clusters: ReadonlyMap<string, Cluster>;
}

/** To be called before the route is locked. `clusters`: those that the body names. */
export async function holdGround(tx: WriteTx, route: string, clusters: readonly string[]): Promise<RebalanceGround> {
  const open = await tx.rebalances.holdOf(route);
  if (open?.drain && !open.drain.ended) await tx.drains.hold(open.drain.id);
  const held = await tx.getAll("cluster", [...clusters].sort());
  return { open, clusters: new Map([...held].map(([name, { object }]) => [name, object])) };
}

/** What keeps the route's connections from being closed, with what to set. */
export function rebalanceProblems(before: Route, after: Route, { clusters }: RebalanceGround): readonly Problem[] {
  const kind = kindProblem(after);
  if (kind !== undefined) return [problem("/rebalance", "no_rebalance", kind)];
  if (backendsOf(after).every(({ weight }) => weight === 0)) {
    const nowhere = "every weight is 0: connections that are closed could go nowhere";
    return [problem("/rebalance", "no_rebalance", nowhere)];
  }
  return losingOf(before, after, clusters).flatMap(({ cluster, guarantee }) =>
    guarantee.kind === "kill-switch"
      ? []
      : problem("/rebalance", "no_rebalance", `nothing closes the connections of cluster ${cluster}: ${guarantee.because}`),
  );
}

function kindProblem(route: Route): string | undefined {
  switch (route.protocol) {
    case "http":
      return `route ${route.name} is HTTP: each of its requests goes by the newest weights, so there is nothing to rebalance`;
    case "udp":
      return `route ${route.name} is UDP: its sessions end when they are idle, new ones go by the newest weights, and nothing is closed before`;
    case "tcp":
      return route.split === "listener"
        ? `route ${route.name} has "split": "listener": every shift drains its listener, which cuts its long connections by itself`
        : undefined;
  }
}

function losingOf(before: Route, after: Route, clusters: ReadonlyMap<string, Cluster>): readonly LosingBackend[] {
  if (!isTcp(before) || !isTcp(after)) return [];
  return losingClusters(weightsOf(before.backends), weightsOf(after.backends)).flatMap((name) => {
    const cluster = clusters.get(name);
    return cluster ? { cluster: name, guarantee: guaranteeOf(cluster, [after]) } : []; // A backend's cluster is there.
  });
}

function isTcp(route: Route): route is TcpRoute {
  return route.protocol === "tcp";
}

/**
 * Begins it, in place of the one under way. The same once more, with the same pace, is the one under way.
 * @throws too_many_requests
 */
export async function startRebalance(
  tx: WriteTx,
  { id, by, choice }: RebalanceRequest,
  before: Route,
  after: Route,
  { open, clusters }: RebalanceGround,
): Promise<{ readonly begun: RebalanceBody; readonly planned: PlannedRebalance }> {
  const { afterMs = standardAfterMs, ratePerSecond = standardRatePerSecond } = choice;
  const weights = isTcp(after) ? weightsOf(after.backends) : {};
  const isSame =
    open?.afterMs === afterMs &&
    open.ratePerSecond === ratePerSecond &&
    sameWeights(open.weights, weights) &&
    isTcp(before) &&
    sameWeights(weights, weightsOf(before.backends));
  if (isSame) return { begun: toRebalanceBody(open), planned: toPlannedBody(open) };
  // What the one before it had not closed yet is closed by this one, where it still has too many.
  const losing = merged(losingOf(before, after, clusters), open?.losing ?? []);
  if (open) await cancelRebalance(tx, open, "superseded", `rebalance ${id} takes its place`);
  await refuseTooMany(tx);
  await tx.rebalances.start({ id, by, route: after.name, weights, losing, afterMs, ratePerSecond });
  const begun = await tx.rebalances.read(id);
  if (!begun) throw new AppError("not_found", { kind: "rebalance", name: id });
  return { begun: toRebalanceBody(begun), planned: toPlannedBody(begun) };
}

/** What can't be shared exactly, as the configuration is now. */
export async function rebalanceLint(
  tx: WriteTx,
  { losing, route, weights }: Pick<PlannedRebalance, "losing" | "route" | "weights">,
): Promise<readonly Lint[]> {
  const lint: Lint[] = [];
  for (const { cluster } of losing) {
    const endpoints = (await tx.endpointsOf(cluster)).filter(({ object }) => takesNew(object, route));
    if (endpoints.length !== 1 || (weights[cluster] ?? 0) === 0) continue;
    const detail = `cluster ${cluster} has one endpoint: while it is closed all of its connections go elsewhere, so that is done only if the split comes nearer to the weights by it`;
    lint.push({ code: "one_endpoint", pointer: "/rebalance", detail });
  }
  return lint;
}

function merged(losing: readonly LosingBackend[], before: readonly LosingBackend[]): readonly LosingBackend[] {
  const all = new Map([...before, ...losing].map((one) => [one.cluster, one] as const));
  return [...all.values()].sort((a, b) => (a.cluster < b.cluster ? -1 : 1));
}

async function refuseTooMany(tx: WriteTx): Promise<void> {
  if ((await tx.rebalances.countOpen()) < maxOpenRebalances) return;
  const detail = `${maxOpenRebalances} rebalances are open, and no more at once: wait for one, or cancel it`;
  throw new AppError("too_many_requests", { maxOpenRebalances, detail });
}
