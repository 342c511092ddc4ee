// The watch of drains with what it has to know of the configuration: which resources have a cluster's endpoints, and what was replaced.
// In: the other rooms, as app.ts has them. Out: DrainWatch, and what to tell it of revisions. Called by app.ts.
import type { DesiredState } from "../model/desired-state.js";
import type { CommittedRevision } from "../model/revision.js";
import { clustersOf, type Route, type TcpRoute, type UdpRoute } from "../model/route.js";
import { Replacements } from "./replacements.js";
import { type ToldHealth, toldHealth } from "./told-health.js";
import { DrainWatch, type DrainWatchOptions } from "./watch.js";

type FromApp = Omit<DrainWatchOptions, "resourcesOf" | "replacements">;

/** What the watch is made of. */
export interface CreateWatchOptions extends FromApp {
  /** Undefined before the first load. */
  readonly state: () => DesiredState | undefined;
  /** Name of the cluster that a TCP or UDP route has for itself. */
  readonly splitClusterName: (route: TcpRoute | UdpRoute) => string;
  /** Its route; undefined: it is no such name. */
  readonly splitRouteName: (resource: string) => string | undefined;
}

export interface WatchOfDrains {
  readonly watch: DrainWatch;
  /** Whether a revision may have made hosts of the cluster resource come or go of late (`Explains`). */
  explains(resource: string, at: number): boolean;
  /** What this replica's Envoys tell of the health of a cluster's endpoints. */
  toldHealth(cluster: string): readonly ToldHealth[];
  /** Each revision before it is published; undefined: a full load. */
  onRevision(committed: CommittedRevision | undefined): void;
}

export function createDrainWatch({ state, splitClusterName, splitRouteName, ...options }: CreateWatchOptions): WatchOfDrains {
  const routes = (names: Iterable<string>): Route[] => [...names].flatMap((name) => state()?.routes.get(name) ?? []);
  const ownClusters = (names: Iterable<string>): readonly string[] =>
    routes(names).flatMap((route) => (route.protocol === "http" ? [] : splitClusterName(route)));
  const resourcesOf = (cluster: string, route?: string): readonly string[] =>
    route === undefined ? [cluster, ...ownClusters(state()?.routesOfCluster(cluster) ?? [])] : ownClusters([route]);
  const clustersIn = (resource: string): readonly string[] => {
    const route = splitRouteName(resource);
    return route === undefined ? [resource] : routes([route]).flatMap(clustersOf);
  };
  const replacements = new Replacements({
    now: () => options.clock.now(),
    routesOfListener: (listener) => routes(state()?.routesOfListener(listener) ?? []),
    routesOfCluster: (cluster) => routes(state()?.routesOfCluster(cluster) ?? []),
    changesOfOverlay: (name) => state()?.overlays.get(name)?.changes ?? [],
  });
  return {
    watch: new DrainWatch({ ...options, resourcesOf, replacements }),
    explains: (resource, at) => clustersIn(resource).some((cluster) => replacements.explains(cluster, at)),
    toldHealth: (cluster) => {
      const asked = { resources: resourcesOf(cluster), touchedAt: replacements.touchedAt(cluster), now: options.clock.now() };
      return [...options.loads.nodes()].flatMap((node) => toldHealth(options.loads.of(node, asked.now), asked));
    },
    onRevision: (committed) => (committed ? replacements.revision(committed) : replacements.loaded()),
  };
}
