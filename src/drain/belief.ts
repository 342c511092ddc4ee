// Whether one Envoy uses an endpoint any more: the rules by which "nothing in flight" is believed. Pure: the clock is an argument.
// In: since when the Envoy sends nothing new there, its load. Out: a verdict. Called by watch.ts.
// Load reports alone lie in five cases (after a CDS change, after an edited zone, after the removal from CDS, while a request waits for
// its connection, when an address is in several clusters): test/feature/drain-reports.envoy.test.ts shows each on a real Envoy.
import type { Steady } from "../status/left-over.js";
import { type NodeLoad, silentAfterMs } from "../status/loads.js";

/** One endpoint of a drain, as one node's gateway has it. */
export interface DrainedEndpoint {
  /** `10.0.0.7:8080`, as load reports name it. */
  readonly key: string;
  /** Cluster resources that have it: the cluster, and those of TCP routes. */
  readonly resources: readonly string[];
  readonly connectTimeoutMs: number;
  /** What is known of replacements of this host. Undefined: nothing. */
  readonly steady: Steady | undefined;
}

/**
 * `silent`: no load report for a while, which is never a zero. `settling`: nothing is seen, and it is too early to believe it, or no
 * metrics tell of what load reports do not see. `in-flight`: something is under way, seen or left over. `zero`: nothing is.
 */
export type Verdict = "silent" | "settling" | "in-flight" | "zero";

/** What is believed of one node and all endpoints of one drain. */
export interface Belief {
  readonly verdict: Verdict;
  /** Requests, streams and connections on the endpoints, by the newest reports. */
  readonly inFlight: number;
  /** At most so much in the endpoints' clusters is on nobody's account: it may be the endpoints'. */
  readonly unattributed: number;
}

/** `ackedAt`: when it was known to have the endpoints as draining; undefined: not yet. ms, this replica's clock. */
export function believe(
  ackedAt: number | undefined,
  endpoints: readonly DrainedEndpoint[],
  load: NodeLoad | undefined,
  now: number,
): Belief {
  const streams = load?.loadStreams ?? [];
  // One that has just been opened has said nothing yet: what the Envoy told before stays what is known.
  const isSilent =
    streams.length === 0 || streams.some(({ receivedAt, reports }) => reports.length === 0 || now - receivedAt > silentAfterMs);
  if (!load || isSilent) return { verdict: "silent", inFlight: 0, unattributed: 0 };
  const newest = streams.map(({ reports }) => reports.at(-1));
  const inFlight = newest.reduce((sum, report) => sum + (report ? seenIn(report, endpoints) : 0), 0);
  const leftOvers = [...steadiness(endpoints)].map(([resource, steady]) => load.leftOver(resource, steady));
  const unattributed = leftOvers.reduce<number>((sum, leftOver) => sum + (leftOver ?? 0), 0);
  if (inFlight > 0) return { verdict: "in-flight", inFlight, unattributed: Math.min(unattributed, unseen(endpoints, load)) };
  const areGaugesFresh = load.gaugesAt !== undefined && now - load.gaugesAt <= silentAfterMs;
  const isSettled =
    areGaugesFresh && !leftOvers.includes(undefined) && endpoints.every((endpoint) => isAbsent(endpoint, ackedAt, load));
  if (!isSettled) return { verdict: "settling", inFlight, unattributed };
  return { verdict: unattributed > 0 ? "in-flight" : "zero", inFlight, unattributed };
}

/** resource → what is known of all of the endpoints in it; undefined: nothing is known of one of them. */
export function steadiness(endpoints: readonly DrainedEndpoint[]): ReadonlyMap<string, Steady | undefined> {
  const known = new Map<string, Steady | undefined>();
  for (const { resources, steady } of endpoints) {
    for (const resource of resources) {
      const others = known.get(resource);
      known.set(resource, known.has(resource) ? others && steady && both(others, steady) : steady);
    }
  }
  return known;
}

function both(one: Steady, other: Steady): Steady {
  const times = [one, other].flatMap(({ replacedAt }) => replacedAt ?? []);
  return {
    since: Math.max(one.since, other.since),
    replacedAt: times.length === 0 ? undefined : Math.max(...times),
  };
}

type Report = NodeLoad["loadStreams"][number]["reports"][number];

function seenIn(report: Report, endpoints: readonly DrainedEndpoint[]): number {
  let seen = 0;
  for (const { key, resources } of endpoints) {
    for (const resource of resources) seen += report.clusters.get(resource)?.get(key)?.inFlight ?? 0;
  }
  return seen;
}

/** What the newest gauges count beyond the newest reports: about, as both are of different moments. Bounds know more, but later. */
function unseen(endpoints: readonly DrainedEndpoint[], load: NodeLoad): number {
  let unseen = 0;
  for (const resource of new Set(endpoints.flatMap(({ resources }) => resources))) {
    const { requests, pending } = load.gaugesOf(resource);
    const loads = load.loadStreams.flatMap(({ reports }) => [...(reports.at(-1)?.clusters.get(resource)?.values() ?? [])]);
    unseen += Math.max(0, requests + pending - loads.reduce((sum, { inFlight }) => sum + inFlight, 0));
  }
  return unseen;
}

/**
 * Every stream's newest two reports began after the ack, were made after the connect timeout since, and are without the endpoint. Had its
 * host been replaced before the older was made, the gauges, which are newer, would tell. And before the newest, after the ack, there was
 * a moment at which nothing in its clusters waited for a connection: what waited before the ack has been seen since, or has failed.
 */
function isAbsent(endpoint: DrainedEndpoint, ackedAt: number | undefined, load: NodeLoad): boolean {
  const { gaugesAt } = load;
  if (ackedAt === undefined || gaugesAt === undefined) return false;
  const connectedBy = ackedAt + endpoint.connectTimeoutMs;
  return load.loadStreams.every(({ reports }) => {
    const [older, newest] = reports;
    if (!older || !newest) return false;
    if (older.beganAt < ackedAt || older.madeAt < connectedBy || gaugesAt < older.madeAt) return false;
    if (seenIn(older, [endpoint]) > 0) return false;
    return endpoint.resources.every((resource) => {
      const quietAt = load.quietSince(resource, ackedAt);
      return quietAt !== undefined && quietAt <= newest.madeAt;
    });
  });
}
