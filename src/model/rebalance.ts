// A rebalance: long connections of a TCP route follow its weights, because those on backends that lost weight are closed at a pace and come
// again. Pure. Called by: store (rows), drain (what is next), api (bodies).
import type { DrainGuarantee } from "./drain-guarantee.js";
import type { Backend } from "./route.js";

/** open; the others are ends. superseded: the route's weights are others by now. */
export type RebalanceState = "open" | "done" | "superseded" | "cancelled";

/** A backend whose connections may be closed, and by what means. */
export interface LosingBackend {
  readonly cluster: string;
  readonly guarantee: DrainGuarantee;
}

/** One endpoint whose connections were closed. */
export interface ClosedEndpoint {
  readonly cluster: string;
  /** Address key, `10.0.0.7:8080`. */
  readonly endpoint: string;
  /** On it when the step began, over all Envoys. */
  readonly connections: number;
  /** The drain that did it. */
  readonly drain: string;
}

/** How long it waits after the shift, unless told otherwise, and longest; ms. */
export const standardAfterMs = 10_000;
export const maxAfterMs = 3_600_000;
/** Connections that are closed in a second, on average, unless told otherwise, and at most. */
export const standardRatePerSecond = 20;
export const maxRatePerSecond = 100_000;
/** A rebalance that has not come to its end by then is done as it is; counted from its first step. In ms. */
export const maxRebalanceMs = 3_600_000;
/** Rebalances that may be open at once; one more is refused. */
export const maxOpenRebalances = 100;

/** cluster → weight. */
export function weightsOf(backends: readonly Backend[]): Readonly<Record<string, number>> {
  return Object.fromEntries(backends.map(({ cluster, weight }) => [cluster, weight]));
}

/** Whether both share in the same way, number by number. */
export function sameWeights(one: Readonly<Record<string, number>>, other: Readonly<Record<string, number>>): boolean {
  const clusters = Object.keys(one);
  return clusters.length === Object.keys(other).length && clusters.every((cluster) => one[cluster] === other[cluster]);
}

/** A backend's part of all weights, 0–1; 0 when every weight is 0. */
export function shareOf(weights: Readonly<Record<string, number>>, cluster: string): number {
  const total = Object.values(weights).reduce((sum, weight) => sum + weight, 0);
  return total === 0 ? 0 : (weights[cluster] ?? 0) / total;
}

/**
 * Clusters whose share is smaller than it was, sorted. All of them where the weights are as they were: then it is asked for because
 * connections do not follow them yet, and any may have too many.
 */
export function losingClusters(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): readonly string[] {
  const clusters = Object.keys(after).sort();
  if (sameWeights(before, after)) return clusters;
  return clusters.filter((cluster) => shareOf(after, cluster) < shareOf(before, cluster));
}
