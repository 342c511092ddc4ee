// The beginning of a drain, in its transaction: which endpoints it has, whether a cluster would be left without any, what was drained
// or removed before, and the marks on the rest. In: the body of POST /v1/drains. Out: rows, and the drain. Called by drains.ts.
// Clusters are locked before their endpoints, as in all writes.
import { AppError, type Problem } from "../errors.js";
import { canonicalAddress, parseAddressKey } from "../model/address.js";
import type { Cluster } from "../model/cluster.js";
import { type DrainedEndpoint, maxDrainTimeoutMs, maxOpenDrains, standardDrainTimeoutMs } from "../model/drain.js";
import { type DrainGuarantee, guaranteeOf, keepsSessions } from "../model/drain-guarantee.js";
import { addressKey, drainIn, type Endpoint } from "../model/endpoint.js";
import { problem } from "../model/problem-codes.js";
import type { Author } from "../model/revision.js";
import { hasSessions } from "../model/route.js";
import type { DrainRecord, EndpointFilter, Removal, Stored, WriteTx } from "../store/store.js";
import { type DrainPost, maxDrainEndpoints, toDrainBody } from "./drain-body.js";
import { refuseLast, type TellHealth } from "./last-endpoint.js";
import type { Outcome } from "./outcome.js";
import { refuse } from "./problem-details.js";

/** What is to be drained, and as which drain. */
export interface DrainRequest {
  readonly id: string;
  readonly body: DrainPost;
  readonly by: Author;
  /** A cluster may be left without an endpoint. */
  readonly mayTakeLast: boolean;
  /** Left out: health is not looked at. A lease that ends says itself what is gone. */
  readonly tellHealth?: TellHealth;
}

/** An address that was asked for by name: it need not be there. */
interface Asked {
  readonly cluster: string | undefined;
  readonly endpoint: string;
}

/** @throws invalid_body, invalid_reference, guard_refused */
export async function startDrain(
  tx: WriteTx,
  { id, body, by, mayTakeLast, tellHealth = () => [] }: DrainRequest,
): Promise<Outcome> {
  const { asked, problems } = readAsked(body);
  refuse(problems);
  const { found, clusters } = await hold(tx, body, asked);
  const gone = await goneBefore(tx, asked, found);
  const timeoutMs = body.timeoutMs ?? longestTimeout(clusters);
  const free = [...found].filter(([, { object }]) => drainIn(object) === undefined);
  const same = sameDrain(found, gone);
  if (same !== undefined) return shown(tx, same, revisionOf(found));
  const endpoints = [...(await drainedEndpoints(tx, found, clusters, timeoutMs)), ...gone];
  if (!mayTakeLast)
    await refuseLast(
      tx,
      free.map(([, { object }]) => object),
      { clusters, tellHealth },
    );
  await refuseTooMany(tx);
  const joined = await readJoined(tx, endpoints);
  await tx.drains.start({
    id,
    by,
    afterwards: body.afterwards ?? "remove",
    timeoutMs,
    endpoints,
    gateways: await tx.drains.gatewaysOf([...clusters.keys()]),
    joinedAt: Math.max(0, ...joined.map(({ revision }) => revision)),
    ...(found.size === 0 ? { ended: endOfNothing(endpoints, joined) } : {}),
  });
  await tx.markDrained(
    free.map(([name]) => name),
    { id, phase: "draining" },
  );
  return shown(tx, id, revisionOf(found), true);
}

/** The drain as the transaction has it. `revision`: told when this write makes none. */
export async function shown(tx: WriteTx, id: string, revision: number, created = false): Promise<Outcome> {
  const drain = await tx.drains.read(id);
  if (!drain) throw new AppError("not_found", { kind: "drain", name: id, detail: `there is no drain ${id}` });
  return {
    object: toDrainBody(drain, true),
    revision: Math.max(revision, drain.revision),
    created,
    tagged: false,
    lint: [],
  };
}

function revisionOf(found: ReadonlyMap<string, Stored<Endpoint>>): number {
  return Math.max(0, ...[...found.values()].map(({ revision }) => revision));
}

/** The addresses that the body names; none with a selector. */
function readAsked({ cluster, endpoints, address, selector }: DrainPost): {
  readonly asked: readonly Asked[];
  readonly problems: readonly Problem[];
} {
  const problems: Problem[] = [];
  const read = (text: string, pointer: string): readonly Asked[] => {
    const parsed = parseAddressKey(text);
    if (parsed) return [{ cluster, endpoint: addressKey(parsed) }];
    problems.push(problem(pointer, "wrong_format", "must be an address and a port, like 10.0.0.7:8080 or [fd00::7]:8080"));
    return [];
  };
  if (endpoints && cluster === undefined)
    problems.push(problem("/cluster", "missing_field", "`endpoints` are those of a cluster"));
  if (selector?.address !== undefined && !readSelected(selector.address))
    problems.push(problem("/selector/address", "wrong_format", "must be an IP address, like 10.0.0.7, or one with a port"));
  const asked = [
    ...(address === undefined ? [] : read(address, "/address")),
    ...(endpoints ?? []).flatMap((text, at) => read(text, `/endpoints/${at}`)),
  ];
  return { asked, problems };
}

/** Looks for the endpoints and locks them. @throws invalid_reference, invalid_body */
async function hold(
  tx: WriteTx,
  { cluster, endpoints, selector }: DrainPost,
  asked: readonly Asked[],
): Promise<{ readonly found: ReadonlyMap<string, Stored<Endpoint>>; readonly clusters: ReadonlyMap<string, Cluster> }> {
  const named = endpoints ? asked.map((one) => `${cluster}/${one.endpoint}`).sort() : undefined;
  const names = named ?? (await tx.drains.endpointsWith(filterOf(cluster, selector, asked), maxDrainEndpoints + 1));
  if (names.length > maxDrainEndpoints)
    refuse([problem("/selector", "wrong_count", `more than ${maxDrainEndpoints} endpoints: take them in several drains`)]);
  if (selector && names.length === 0) refuse([problem("/selector", "unknown_endpoint", "no endpoint is like that")]);
  const clusterNames = [...new Set([...(cluster === undefined ? [] : [cluster]), ...names.map(clusterOf)])].sort();
  const held = await tx.getAll("cluster", clusterNames);
  if (cluster !== undefined && !held.has(cluster))
    refuse([problem("/cluster", "unknown_cluster", `there is no cluster ${cluster}`)]);
  const found = await tx.getAll("endpoint", names);
  return { found, clusters: new Map([...held].map(([name, { object }]) => [name, object])) };
}

function filterOf(cluster: string | undefined, selector: DrainPost["selector"], asked: readonly Asked[]): EndpointFilter {
  const { address: selected, ...others } = selector ?? {};
  const address = selected === undefined ? parseAddressKey(asked[0]?.endpoint ?? "") : readSelected(selected);
  return { cluster, ...others, ...(address ?? {}) };
}

/** An address with a port or, for all that a machine has, without. */
function readSelected(text: string): Pick<EndpointFilter, "address" | "port"> | undefined {
  const address = canonicalAddress(text);
  return address === undefined ? parseAddressKey(text) : { address };
}

function clusterOf(name: string): string {
  return name.slice(0, name.indexOf("/"));
}

const wentBefore: DrainGuarantee = { kind: "left-open", closesWithinMs: undefined, because: "it was removed before this drain" };

/**
 * What was asked for and is not there. The drain that took it tells how that ended; removed in another way, nobody knows what is still
 * open there; one that never was, or went so long ago that no drain would still wait, has nothing to wait for.
 */
async function goneBefore(
  tx: WriteTx,
  asked: readonly Asked[],
  found: ReadonlyMap<string, Stored<Endpoint>>,
): Promise<readonly DrainedEndpoint[]> {
  const gone: DrainedEndpoint[] = [];
  for (const { cluster, endpoint } of asked) {
    const isThere = cluster === undefined ? found.size > 0 : found.has(`${cluster}/${endpoint}`);
    const removal = isThere ? undefined : await tx.drains.lastRemoval(endpoint, cluster);
    if (!removal || isLongAgo(removal)) continue;
    gone.push({ cluster: cluster ?? "", endpoint, connectTimeoutMs: 0, guarantee: wentBefore, joins: removal.drain?.id });
  }
  return gone;
}

function isLongAgo({ agoMs, drain }: Removal): boolean {
  return drain === undefined && agoMs > maxDrainTimeoutMs;
}

/** The one drain that has all that was asked for already, or had it. */
function sameDrain(found: ReadonlyMap<string, Stored<Endpoint>>, gone: readonly DrainedEndpoint[]): string | undefined {
  const drains = new Set([...[...found.values()].map(({ object }) => drainIn(object)?.id), ...gone.map(({ joins }) => joins)]);
  const [only] = drains;
  return drains.size === 1 ? only : undefined;
}

async function drainedEndpoints(
  tx: WriteTx,
  found: ReadonlyMap<string, Stored<Endpoint>>,
  clusters: ReadonlyMap<string, Cluster>,
  timeoutMs: number,
): Promise<readonly DrainedEndpoint[]> {
  const kept = new Map<string, Pick<DrainedEndpoint, "connectTimeoutMs" | "guarantee" | "sessionsStay">>();
  for (const [name, cluster] of clusters) {
    const routes = (await tx.routesOfCluster(name)).map(({ object }) => object);
    const sessionsStay = keepsSessions(cluster) && routes.some(hasSessions);
    const guarantee = guaranteeOf(cluster, routes, timeoutMs);
    kept.set(name, { connectTimeoutMs: cluster.connectTimeoutMs, guarantee, ...(sessionsStay && { sessionsStay }) });
  }
  return [...found.values()].flatMap(({ object }) => {
    const ofCluster = kept.get(object.cluster);
    if (ofCluster === undefined) return []; // Its cluster is locked: it is there.
    return { cluster: object.cluster, endpoint: addressKey(object), ...ofCluster, joins: drainIn(object)?.id };
  });
}

/** The longest that a cluster says of itself. */
function longestTimeout(clusters: ReadonlyMap<string, Cluster>): number {
  const times = [...clusters.values()].map(({ drain }) => drain.timeoutMs);
  return times.length === 0 ? standardDrainTimeoutMs : Math.max(...times);
}

/** @throws too_many_requests: every control plane looks at all of them, several times a second */
async function refuseTooMany(tx: WriteTx): Promise<void> {
  if ((await tx.drains.countOpen()) < maxOpenDrains) return;
  const detail = `${maxOpenDrains} drains are open, and no more at once: one drain may have up to ${maxDrainEndpoints} endpoints`;
  throw new AppError("too_many_requests", { maxOpenDrains, detail });
}

async function readJoined(tx: WriteTx, endpoints: readonly DrainedEndpoint[]): Promise<readonly DrainRecord[]> {
  const joined: DrainRecord[] = [];
  for (const id of new Set(endpoints.flatMap(({ joins }) => joins ?? []))) {
    const drain = await tx.drains.read(id);
    if (drain) joined.push(drain);
  }
  return joined;
}

/** Nothing is there to be drained. */
function endOfNothing(gone: readonly DrainedEndpoint[], joined: readonly DrainRecord[]) {
  const unknown = gone.filter(({ joins }) => joins === undefined);
  const unsafe = joined.filter(({ safeToStop }) => !safeToStop);
  const leftOpen = unsafe.reduce((sum, drain) => sum + (drain.leftOpen ?? 0), 0);
  const outcome =
    unknown.length > 0
      ? "it was removed without a drain lately: what may still be open there is not reported"
      : unsafe.length > 0
        ? `an earlier drain ended unsafe: ${unsafe.map(({ id }) => id).join(", ")}`
        : gone.length > 0
          ? "earlier drains have removed it"
          : "no cluster has it";
  return { state: "removed" as const, safeToStop: unknown.length + unsafe.length === 0, leftOpen, outcome };
}
