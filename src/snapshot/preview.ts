// What a change would do to the resources of each gateway, without publishing anything: the names that it may touch are translated
// before and with it, by the same code as the real thing. In: the live state and the changes. Out: resources that come, change or go.
// One synchronous step (DesiredState.tryOut), so no stream and no publication can see what is only planned.
// A cluster that nothing names any more counts as removed: that Envoys keep it for a grace is how it goes, not whether.
import type { DesiredState } from "../model/desired-state.js";
import { type ResourceType, resourceTypes } from "../model/resource-type.js";
import type { Change, Revision } from "../model/revision.js";
import { listenersOf } from "../model/route.js";
import { sameContent } from "../model/same.js";
import type { Transport } from "../translate/config-source.js";
import { changedParts } from "./gateway-snapshot.js";
import { type GuaranteeChange, guaranteeChanges, guaranteesIn } from "./guarantees.js";
import type { Resource } from "./resource.js";
import { ResourceFactory, type TranslationFault, type Wanted } from "./resource-factory.js";
import { type ResourceNames, touchedBy } from "./touched.js";

/** Differences between the transports are constant, but for hops: this is the one with everything. */
const transport: Transport = "ads-hop";

/** One resource that would be another one. `before` undefined: it comes; `after` undefined: it goes. */
export interface PreviewedResource {
  readonly type: ResourceType;
  readonly name: string;
  readonly before: Resource | undefined;
  readonly after: Resource | undefined;
  /** Routes of a RouteConfiguration that differ, sorted; undefined: all of it. */
  readonly parts: readonly string[] | undefined;
}

/** What a change does, for all gateways. */
export interface Preview {
  /** The state that it was tried on. */
  readonly revision: Revision;
  readonly id: string;
  /** gateway → resources that would be others, by type and name; gateways sorted, and only those for which something would. */
  readonly gateways: ReadonlyMap<string, readonly PreviewedResource[]>;
  /** Clusters whose drains would keep their deadline by other means, by name. */
  readonly guarantees: readonly GuaranteeChange[];
  /** What could not be translated with the change: its last good form would stay. */
  readonly faults: readonly TranslationFault[];
}

/** undefined: the state is not the one that the changes were made on, because another writer came in between. */
export function preview(state: DesiredState, changes: readonly Change[]): Preview | undefined {
  if (!changes.every((change) => sameContent(currentOf(state, change), change.before))) return undefined;
  const names = new Map<string, ResourceNames>();
  const after = new Map<string, ReadonlyMap<string, Wanted>>();
  const faults: TranslationFault[] = [];
  const gatewaysBefore = gatewaysOf(state, changes);
  const guaranteed = state.tryOut(changes, () => {
    const factory = new ResourceFactory((fault) => faults.push(fault));
    for (const gateway of new Set([...gatewaysBefore, ...gatewaysOf(state, changes)])) {
      const touched = touchedBy(state, changes, gateway);
      names.set(gateway, touched);
      after.set(gateway, translate(state, factory, gateway, touched));
    }
    return guaranteesIn(state, changes);
  });
  const factory = new ResourceFactory(() => {}); // What can't be translated now was told when it was written.
  const gateways = new Map<string, readonly PreviewedResource[]>();
  for (const [gateway, touched] of [...names].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const differing = compare(touched, translate(state, factory, gateway, touched), after.get(gateway) ?? new Map());
    if (differing.length > 0) gateways.set(gateway, differing);
  }
  const guarantees = guaranteeChanges(guaranteesIn(state, changes), guaranteed);
  return { revision: state.revision, id: state.id, gateways, guarantees, faults };
}

function currentOf(state: DesiredState, change: Change): unknown {
  switch (change.kind) {
    case "cluster":
      return state.clusters.get(change.name);
    case "endpoint": {
      const [cluster = "", key = ""] = change.name.split("/");
      return state.endpoints.get(cluster)?.get(key);
    }
    case "listener":
      return state.listeners.get(change.name);
    case "route":
      return state.routes.get(change.name);
  }
}

/** Gateways whose listeners the changes reach, in the state as it is. */
function gatewaysOf(state: DesiredState, changes: readonly Change[]): ReadonlySet<string> {
  const listeners = new Set<string>();
  const addRoutesOf = (cluster: string): void => {
    for (const name of state.routesOfCluster(cluster)) {
      const route = state.routes.get(name);
      if (route) for (const listener of listenersOf(route)) listeners.add(listener);
    }
  };
  for (const change of changes) {
    if (change.kind === "cluster") addRoutesOf(change.name);
    else if (change.kind === "endpoint") addRoutesOf((change.after ?? change.before)?.cluster ?? "");
    else if (change.kind === "listener") listeners.add(change.name);
    else for (const route of [change.before, change.after]) if (route) for (const name of listenersOf(route)) listeners.add(name);
  }
  return new Set([...listeners].flatMap((name) => state.listeners.get(name)?.gateways ?? []));
}

/** `<type> <name>` → its form. */
function translate(
  state: DesiredState,
  factory: ResourceFactory,
  gateway: string,
  names: ResourceNames,
): ReadonlyMap<string, Wanted> {
  const form: Record<ResourceType, (name: string) => Wanted> = {
    cluster: (name) => factory.cluster(state, name, gateway, transport),
    endpoint: (name) => factory.endpoint(state, name, gateway, transport, false),
    listener: (name) => factory.listener(state, name, gateway, transport),
    route: (name) => factory.route(state, name, gateway),
  };
  return new Map(resourceTypes.flatMap((type) => [...names[type]].map((name) => [`${type} ${name}`, form[type](name)] as const)));
}

function compare(
  names: ResourceNames,
  before: ReadonlyMap<string, Wanted>,
  after: ReadonlyMap<string, Wanted>,
): PreviewedResource[] {
  return resourceTypes.flatMap((type) =>
    [...names[type]].sort().flatMap((name): PreviewedResource[] => {
      const [old, wanted] = [before.get(`${type} ${name}`), after.get(`${type} ${name}`)];
      if (wanted === "kept") return [];
      const current = old === "kept" ? undefined : old;
      if (current?.hash === wanted?.hash) return [];
      return [{ type, name, before: current, after: wanted, parts: wanted && changedParts(current, wanted) }];
    }),
  );
}
