// What an Envoy tells of the health of a cluster's endpoints: how many are healthy (metrics), and which it has chosen lately, which it does
// of healthy ones only (load reports). Pure. In: its load. Out: the figures, and how far they can be trusted. Called by create-watch.ts,
// for the guard of last endpoints (api/last-endpoint.ts).
import { type NodeLoad, silentAfterMs } from "../status/loads.js";

/** One Envoy, one cluster resource. */
export interface ToldHealth {
  readonly node: string;
  /** The cluster, or that of a TCP or UDP route, which has the endpoints of all of its backends. */
  readonly resource: string;
  readonly hosts: number;
  /** Without those that drain. */
  readonly healthy: number;
  /** How long ago that was so, ms. */
  readonly agoMs: number;
  /** False: the configuration has changed since then, or just before, and it may count what drains by now. */
  readonly isSettled: boolean;
  /** Address keys of those that got new requests or connections in the newest load report. */
  readonly chosen: ReadonlySet<string>;
}

/** What is asked. */
export interface HealthQuestion {
  readonly resources: readonly string[];
  /** When the configuration of the cluster last changed, ms, this replica's clock. */
  readonly touchedAt: number;
  readonly now: number;
}

/** A change has reached an Envoy and its gauges by then. */
const settledAfterMs = 1_500;
/** Load reports come every 10 s while no drain is open. */
const maxReportAgeMs = 12_000;

/** Nothing of an Envoy whose metrics are not here, are old, or lack the numbers. */
export function toldHealth(load: NodeLoad | undefined, { resources, touchedAt, now }: HealthQuestion): readonly ToldHealth[] {
  if (load?.gaugesAt === undefined || now - load.gaugesAt > silentAfterMs) return [];
  const { gaugesAt, node } = load;
  const isSettled = gaugesAt >= touchedAt + settledAfterMs;
  return resources.flatMap((resource) => {
    // Of several processes of one name, the one that is worst off.
    const [worst] = [...load.membershipOf(resource)].sort((one, other) => one.healthy - other.healthy);
    if (!worst) return [];
    return { node, resource, ...worst, agoMs: now - gaugesAt, isSettled, chosen: chosenLately(load, resource, now) };
  });
}

function chosenLately(load: NodeLoad, resource: string, now: number): ReadonlySet<string> {
  const newest = load.loadStreams.flatMap(({ reports }) => reports.at(-1) ?? []);
  const fresh = newest.filter(({ receivedAt }) => now - receivedAt <= maxReportAgeMs);
  const endpoints = fresh.flatMap(({ clusters }) => [...(clusters.get(resource) ?? [])]);
  return new Set(endpoints.flatMap(([key, { issued }]) => (issued > 0 ? key : [])));
}
