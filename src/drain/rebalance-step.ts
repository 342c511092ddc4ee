// What is next for a rebalance, given what the database knows of it: wait, look for an endpoint whose connections are to be closed, or end.
// Pure: every time in the record is the database's. Called by rebalance-jobs.ts to see whether there is something to do, and again within
// the transaction that does it.
import type { Cluster } from "../model/cluster.js";
import { hasKillSwitch, returnsWithinMs } from "../model/drain-guarantee.js";
import { addressKey, type Endpoint, takesNew } from "../model/endpoint.js";
import { maxRebalanceMs, sameWeights, shareOf, weightsOf } from "../model/rebalance.js";
import type { RebalanceRecord } from "../store/store.js";

/** Envoys that do not report are waited for so long at each step; then those that do count. In ms. */
const patienceMs = 15_000;
/** After an endpoint is back: reports that began before that must be over. In ms. */
const settleMs = 3_000;
/** What is near enough: a part of all connections, or one of them. */
const tolerance = 0.05;
/** The same endpoint is not closed more often: who reconnects slowly, or to where no weight sends him, must not be cut for ever. */
const maxClosings = 2;

/** One step. choose: an endpoint is looked for, by `chooseEndpoint`. */
export type RebalanceStep =
  | { readonly kind: "wait" }
  | { readonly kind: "choose" }
  | { readonly kind: "end"; readonly state: "done" | "superseded"; readonly outcome: string };

/** What to do now. One that has ended waits for ever. */
export function nextRebalanceStep(record: RebalanceRecord): RebalanceStep {
  const { afterMs, ageMs, drain, dueInMs, endedAt, nodes } = record;
  if (endedAt !== undefined) return { kind: "wait" };
  const other = supersededBy(record);
  if (other !== undefined) return { kind: "end", state: "superseded", outcome: other };
  if (drain && !drain.ended) return { kind: "wait" };
  if (ageMs - afterMs > maxRebalanceMs) return done(record, "its time is over");
  if (dueInMs > 0) return { kind: "wait" };
  const silent = nodes.filter(({ reported }) => !reported);
  if (nodes.length > 0 && silent.length === 0) return { kind: "choose" };
  if (-dueInMs < patienceMs) return { kind: "wait" };
  if (nodes.length === 0) return { kind: "end", state: "done", outcome: "no Envoy of the route is connected" };
  if (silent.length === nodes.length)
    return { kind: "end", state: "done", outcome: "no Envoy reports its load: what is open is not known, and stays" };
  return { kind: "choose" };
}

/** Whoever changes the route has the last word; undefined: it is as it was. */
function supersededBy({ route, routeNow, weights }: RebalanceRecord): string | undefined {
  if (!routeNow) return `route ${route} is gone`;
  if (routeNow.protocol !== "tcp" || routeNow.split !== "endpoints") return `route ${route} is of another kind by now`;
  return sameWeights(weights, weightsOf(routeNow.backends)) ? undefined : `route ${route} has other weights by now`;
}

/** address key → connections, over the Envoys whose reports are fresh. */
export function countsOf({ nodes }: Pick<RebalanceRecord, "nodes">): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const { counts } of nodes) for (const [endpoint, count] of counts) sums.set(endpoint, (sums.get(endpoint) ?? 0) + count);
  return sums;
}

/** What is closed next, and how long to wait after it; or why nothing is. */
export type Choice =
  | {
      readonly kind: "close";
      readonly endpoint: Endpoint;
      readonly connections: number;
      /** From when it is back until the next one may go. */
      readonly pauseMs: number;
    }
  | Exclude<RebalanceStep, { kind: "choose" }>;

/** One that could be closed, and what that would come to. */
interface Candidate {
  readonly endpoint: Endpoint;
  readonly connections: number;
  /** By so many connections the split is nearer to the weights then; 0 or less: it is not. */
  readonly gain: number;
}

/**
 * Closing an endpoint sends its connections to all backends by weight, also back to its own: of n, n × (1 − share) leave the backend, or
 * all n while it has no other endpoint to take them. Only an endpoint by which the split comes nearer to the weights is closed, the one by
 * which it comes nearest first. Connections that have not come back yet disturb that by nothing: they come by weight, which leaves every
 * backend's excess as it is.
 */
export function chooseEndpoint(
  record: RebalanceRecord,
  clusters: ReadonlyMap<string, Cluster>,
  endpoints: readonly Endpoint[],
): Choice {
  const counts = countsOf(record);
  const onBackend = connectionsByCluster(counts, endpoints);
  const total = [...onBackend.values()].reduce((sum, count) => sum + count, 0);
  const excessOf = (cluster: string): number => (onBackend.get(cluster) ?? 0) - shareOf(record.weights, cluster) * total;
  const over = record.losing.filter(({ cluster }) => excessOf(cluster) > Math.max(1, tolerance * total));
  if (over.length === 0) return done(record, "the connections are shared by the weights", onBackend);
  const candidates = over.flatMap(({ cluster }) =>
    candidatesOf(
      record,
      clusters.get(cluster),
      endpoints.filter((endpoint) => endpoint.cluster === cluster),
      counts,
      excessOf(cluster),
    ),
  );
  const useful = candidates.filter(({ gain }) => gain > 0);
  // The rebalance of another route has it: an endpoint has one mark.
  const [best] = useful.filter(({ endpoint }) => endpoint.drain === undefined).sort(compareCandidates);
  if (!best && useful.length > 0) return { kind: "wait" };
  if (!best) return done(record, whyNone(record, over.length === 1 ? over[0]?.cluster : undefined, endpoints), onBackend);
  const cluster = clusters.get(best.endpoint.cluster);
  const byRateMs = (best.connections / record.ratePerSecond) * 1_000;
  const pauseMs = Math.min(maxRebalanceMs, Math.max(settleMs, byRateMs, cluster ? returnsWithinMs(cluster) : 0));
  return { kind: "close", endpoint: best.endpoint, connections: best.connections, pauseMs };
}

/** cluster → connections. */
export function connectionsByCluster(
  counts: ReadonlyMap<string, number>,
  endpoints: readonly Endpoint[],
): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const endpoint of endpoints)
    sums.set(endpoint.cluster, (sums.get(endpoint.cluster) ?? 0) + (counts.get(addressKey(endpoint)) ?? 0));
  return sums;
}

/** One that is disabled, or that a drain has, is left to whoever did that. */
function candidatesOf(
  { route, steps, weights }: RebalanceRecord,
  cluster: Cluster | undefined,
  endpoints: readonly Endpoint[],
  counts: ReadonlyMap<string, number>,
  excess: number,
): readonly Candidate[] {
  if (!cluster || !hasKillSwitch(cluster)) return [];
  const serving = endpoints.filter((endpoint) => takesNew(endpoint, route));
  const leaving = serving.length > 1 ? 1 - shareOf(weights, cluster.name) : 1;
  return serving.flatMap((endpoint) => {
    const connections = counts.get(addressKey(endpoint)) ?? 0;
    const closings = steps.filter((step) => step.cluster === cluster.name && step.endpoint === addressKey(endpoint)).length;
    if (connections === 0 || closings >= maxClosings) return [];
    return { endpoint, connections, gain: excess - Math.abs(excess - connections * leaving) };
  });
}

/** Where two come to the same, the one that cuts fewer; then by name, so that the order is always the same. */
function compareCandidates(a: Candidate, b: Candidate): number {
  if (a.gain !== b.gain) return b.gain - a.gain;
  if (a.connections !== b.connections) return a.connections - b.connections;
  const [one, other] = [addressKey(a.endpoint), addressKey(b.endpoint)];
  return one < other ? -1 : 1;
}

function whyNone(record: RebalanceRecord, only: string | undefined, endpoints: readonly Endpoint[]): string {
  const nearest = "no endpoint is left by whose closing the split would come nearer to the weights";
  const serving = endpoints.filter((endpoint) => endpoint.cluster === only && takesNew(endpoint, record.route)).length;
  return only !== undefined && serving === 1
    ? `${nearest}: ${only} has one endpoint, and while it is closed all of its connections go elsewhere`
    : nearest;
}

function done(
  { nodes, weights }: RebalanceRecord,
  why: string,
  onBackend?: ReadonlyMap<string, number>,
): Extract<RebalanceStep, { kind: "end" }> {
  const split = onBackend && Object.keys(weights).map((cluster) => `${cluster} ${onBackend.get(cluster) ?? 0}`);
  const silent = nodes.flatMap(({ node, reported }) => (reported ? [] : node));
  const unheard =
    silent.length === 0 ? "" : `; no load report from ${silent.slice(0, 5).join(", ")}${silent.length > 5 ? " and others" : ""}`;
  return { kind: "end", state: "done", outcome: `${why}${split ? `: ${split.join(", ")}` : ""}${unheard}` };
}
