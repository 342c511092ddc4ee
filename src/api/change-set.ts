// The writes of one change by the objects that they are about. In: the body of POST /v1/changes. Out: a ChangeSet, in which each write
// knows its place in the body, so that a problem can point to it; and what the writes say wrong by themselves and against each other.
// Pure. Called by changes.ts.
import type { Problem } from "../errors.js";
import { parseAddressKey } from "../model/address.js";
import { addressKey, type Endpoint } from "../model/endpoint.js";
import { problem } from "../model/problem-codes.js";
import type { Kind } from "../model/revision.js";
import { repeated } from "../model/route-rules.js";
import type { ChangesBody } from "./change-body.js";
import type { ClusterBody } from "./cluster-body.js";
import { fromEndpointBody } from "./endpoint-body.js";
import type { ListenerBody } from "./listener-body.js";
import type { RouteBody } from "./route-body.js";

/** What each write has. */
interface Placed {
  /** Its place in `changes`; undefined: nobody wrote it, `prune` did. */
  readonly at: number | undefined;
  readonly ifMatch: string | undefined;
}
/** A cluster to be put (`body`), or deleted. */
export interface ClusterChange extends Placed {
  readonly body: ClusterBody | undefined;
}
/** An endpoint to be put, or deleted. */
export interface EndpointChange extends Placed {
  readonly cluster: string;
  readonly endpoint: Endpoint | undefined;
  /** Where it stands within its write: `/object`, or in the list of its cluster. */
  readonly within: string;
}
/** A listener to be put, or deleted. */
export interface ListenerChange extends Placed {
  readonly body: ListenerBody | undefined;
}
/** A route to be put (`body`), given other weights, or deleted. */
export interface RouteChange extends Placed {
  readonly body: RouteBody | undefined;
  readonly weights: Readonly<Record<string, number>> | undefined;
}

/** kind → name → what shall become of it. An endpoint's name is `<cluster>/<address key>`. */
export interface ChangeSet {
  readonly cluster: Map<string, ClusterChange>;
  readonly endpoint: Map<string, EndpointChange>;
  readonly listener: Map<string, ListenerChange>;
  readonly route: Map<string, RouteChange>;
}

type ChangeBody = ChangesBody["changes"][number];

/** The write's own place in the body, or that of a field in it. What nobody wrote points to what asked for it. */
export function pointerTo({ at }: Pick<Placed, "at">, pointer = ""): string {
  return at === undefined ? "/apply/prune" : `/changes/${at}${pointer}`;
}

/** Endpoints in a cluster's own list are writes like others: they, and what is not in the list, are found by `expandSets`. */
export function toChangeSet(changes: readonly ChangeBody[]): { readonly set: ChangeSet; readonly problems: readonly Problem[] } {
  const set: ChangeSet = { cluster: new Map(), endpoint: new Map(), listener: new Map(), route: new Map() };
  const problems: Problem[] = [];
  for (const [at, change] of changes.entries()) problems.push(...add(set, change, at));
  for (const [name, change] of [...set.endpoint]) problems.push(...againstCluster(set, name, change));
  for (const [name, change] of set.cluster) problems.push(...listedTwice(name, change));
  return { set, problems };
}

function add(set: ChangeSet, change: ChangeBody, at: number): readonly Problem[] {
  const placed = { at, ifMatch: change.ifMatch };
  if (change.op === "weights")
    return once(set.route, "route", change.route, { ...placed, body: undefined, weights: change.weights });
  switch (change.kind) {
    case "cluster": {
      const [name, body] = change.op === "put" ? [change.object.name, change.object] : [change.name, undefined];
      return once(set.cluster, "cluster", name, { ...placed, body });
    }
    case "listener": {
      const [name, body] = change.op === "put" ? [change.object.name, change.object] : [change.name, undefined];
      return once(set.listener, "listener", name, { ...placed, body });
    }
    case "route": {
      const [name, body] = change.op === "put" ? [change.object.name, change.object] : [change.name, undefined];
      return once(set.route, "route", name, { ...placed, body, weights: undefined });
    }
    case "endpoint": {
      const endpoint = change.op === "put" ? fromEndpointBody(change.cluster, change.object) : undefined;
      const address = change.op === "put" ? endpoint : parseAddressKey(change.name);
      if (!address)
        return [
          problem(
            pointerTo(placed, "/name"),
            "wrong_format",
            "must be an address and a port, like 10.0.0.7:8080 or [fd00::7]:8080",
          ),
        ];
      const { cluster } = change;
      return once(set.endpoint, "endpoint", `${cluster}/${addressKey(address)}`, {
        ...placed,
        cluster,
        endpoint,
        within: "/object",
      });
    }
  }
}

/** Which of two writes of one object should hold could only be a guess. */
function once<T extends Placed>(changes: Map<string, T>, kind: Kind, name: string, change: T): readonly Problem[] {
  const earlier = changes.get(name);
  if (earlier) return [problem(pointerTo(change), "duplicate", `${kind} ${name} is changed by ${pointerTo(earlier)} already`)];
  changes.set(name, change);
  return [];
}

/** An endpoint whose cluster is deleted, or says all its endpoints, has nothing to say beside it. */
function againstCluster(set: ChangeSet, name: string, change: EndpointChange): readonly Problem[] {
  const cluster = set.cluster.get(change.cluster);
  if (!cluster || (cluster.body && cluster.body.endpoints === undefined)) return [];
  set.endpoint.delete(name); // It is told once, and no rule looks at it.
  const does = cluster.body ? "names all endpoints of" : "deletes";
  return [
    problem(
      pointerTo(change),
      "contradiction",
      `${pointerTo(cluster)} ${does} cluster ${change.cluster}, and ${name} is one of them`,
    ),
  ];
}

function listedTwice(name: string, change: ClusterChange): readonly Problem[] {
  const keys = (change.body?.endpoints ?? []).map((endpoint) => addressKey(fromEndpointBody(name, endpoint)));
  return repeated(keys, (at) => pointerTo(change, `/object/endpoints/${at}`), "endpoint");
}

/** Puts the endpoints of clusters that name all of theirs among the writes, with deletes for those that are `there` and not named. */
export function expandSets(set: ChangeSet, there: ReadonlyMap<string, readonly Endpoint[]>): void {
  for (const [cluster, { at, body }] of set.cluster) {
    if (!body?.endpoints) continue;
    const placed = { at, ifMatch: undefined, cluster };
    for (const [place, listed] of body.endpoints.entries()) {
      const endpoint = fromEndpointBody(cluster, listed);
      set.endpoint.set(`${cluster}/${addressKey(endpoint)}`, { ...placed, endpoint, within: `/object/endpoints/${place}` });
    }
    for (const endpoint of there.get(cluster) ?? []) {
      const name = `${cluster}/${addressKey(endpoint)}`;
      if (!set.endpoint.has(name)) set.endpoint.set(name, { ...placed, endpoint: undefined, within: "/object/endpoints" });
    }
  }
}
