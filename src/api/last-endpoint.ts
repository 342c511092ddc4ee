// What a drain would leave: an endpoint that takes new requests in each cluster, by the rows; and a healthy one, by what Envoys tell.
// In: the endpoints of the drain, within its transaction, and what this replica's Envoys tell. Out: nothing, or guard_refused with the
// figures. Called by drain-start.ts. A count of healthy endpoints does not say which they are; where that leaves it open whether a healthy
// one would stay, it is refused (docs/adr/0033).
import type { ToldHealth } from "../drain/told-health.js";
import { AppError } from "../errors.js";
import type { Cluster } from "../model/cluster.js";
import { addressKey, type Endpoint, takesNew } from "../model/endpoint.js";
import type { WriteTx } from "../store/store.js";

/** What the Envoys of this replica tell of a cluster. */
export type TellHealth = (cluster: string) => readonly ToldHealth[];

/** What is known of the clusters of a drain. */
export interface KnownClusters {
  readonly clusters: ReadonlyMap<string, Pick<Cluster, "healthChecks">>;
  readonly tellHealth: TellHealth;
}

/** One cluster and the drain: all of its endpoints, and those that the drain takes out of service. */
interface Taking {
  readonly cluster: string;
  readonly all: readonly Endpoint[];
  readonly leaving: readonly Endpoint[];
  /** Endpoints that come are healthy at once. */
  readonly isUnchecked: boolean;
}

/** `before` endpoints that take new requests, `gone` of them with the drain. With a node: healthy ones, as it tells. */
interface Fault {
  readonly guard: "last-endpoint";
  readonly kind: "endpoint";
  readonly cluster: string;
  readonly before: number;
  readonly gone: number;
  readonly after: number;
  readonly node?: string;
  readonly told: string;
}

/** Envoys that are named. */
const maxNamed = 3;

/** @throws guard_refused, with the figures of each cluster that could serve nothing any more */
export async function refuseLast(
  tx: WriteTx,
  drained: readonly Endpoint[],
  { clusters, tellHealth }: KnownClusters,
): Promise<void> {
  const faults: Fault[] = [];
  for (const cluster of [...new Set(drained.map((endpoint) => endpoint.cluster))].sort()) {
    const all = (await tx.endpointsOf(cluster)).map(({ object }) => object);
    const leaving = drained.filter((endpoint) => endpoint.cluster === cluster && takesNew(endpoint));
    if (leaving.length === 0) continue;
    const isUnchecked = clusters.get(cluster)?.healthChecks.length === 0;
    const taking = { cluster, all, leaving, isUnchecked };
    faults.push(...(isLastOfAll(taking) ? [lastOfAll(taking)] : lastHealthy(taking, tellHealth(cluster))));
  }
  if (faults.length === 0) return;
  const told = faults.map((fault) => fault.told).join("; ");
  const detail = `${told}. If that is meant, override last-endpoint: it is recorded with the revision.`;
  const guards = faults.map(({ told: _, ...fault }) => fault);
  throw new AppError("guard_refused", { guards, override: ["last-endpoint"], detail });
}

function isLastOfAll({ all, leaving }: Taking): boolean {
  return all.filter((endpoint) => takesNew(endpoint)).length === leaving.length;
}

function lastOfAll({ cluster, leaving }: Taking): Fault {
  const gone = leaving.length;
  const told = `none of ${gone} endpoints of cluster ${cluster} would take requests`;
  return { guard: "last-endpoint", kind: "endpoint", cluster, before: gone, gone, after: 0, told };
}

function lastHealthy(taking: Taking, told: readonly ToldHealth[]): readonly Fault[] {
  const { cluster, leaving } = taking;
  return told
    .filter((health) => mayTakeLastHealthy(health, taking))
    .slice(0, maxNamed)
    .map(({ agoMs, healthy, hosts, isSettled, node, resource }) => {
      const [are, those] = healthy === 1 ? ["is", "it"] : ["are", "those"];
      const next = isSettled
        ? "wait until others are healthy and in use"
        : "the configuration has changed since then, so ask again in a few seconds";
      return {
        guard: "last-endpoint",
        kind: "endpoint",
        cluster,
        before: healthy,
        gone: Math.min(healthy, leaving.length),
        after: 0,
        node,
        told:
          `Envoy ${node} told ${(Math.max(0, agoMs) / 1_000).toFixed(1)} s ago that ${healthy} of ${hosts} endpoints of ${resource} ` +
          `${are} healthy, and the drain takes ${leaving.length} that may be ${those}: ${next}`,
      };
    });
}

/**
 * At most as many healthy ones go as are drained. One that stays is known to be healthy when the Envoy has chosen it lately; unless it has
 * chosen more than are healthy now, as then some of them have fallen sick since. Just after a change, what drains may be counted still;
 * and what came is not, which matters where it has to pass a check first.
 */
function mayTakeLastHealthy({ chosen, healthy, isSettled }: ToldHealth, { all, leaving, isUnchecked }: Taking): boolean {
  if (healthy === 0) return false; // There is nothing to lose.
  if (isUnchecked && !isSettled) return false;
  const going = new Set([...leaving, ...all.filter((endpoint) => !takesNew(endpoint))].map(addressKey));
  const alsoCounted = isSettled ? 0 : going.size - leaving.length;
  if (healthy - alsoCounted > leaving.length) return false;
  return chosen.size > healthy || ![...chosen].some((key) => !going.has(key));
}
