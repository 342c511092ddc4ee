// The watch of drains with what it has to know of the configuration: which resources have a cluster's endpoints, and what was replaced.
// In: the other rooms, as app.ts has them. Out: DrainWatch, and what to tell it of revisions. Called by app.ts.
import type { DesiredState } from "../model/desired-state.js";
import type { Endpoint } from "../model/endpoint.js";
import type { CommittedRevision } from "../model/revision.js";
import type { Route, TcpRoute, UdpRoute } from "../model/route.js";
import { Replacements } from "./replacements.js";
import { DrainWatch, type DrainWatchOptions } from "./watch.js";

type FromApp = Omit<DrainWatchOptions, "resourcesOf" | "steadySince">;

/** What the watch is made of. */
export interface CreateWatchOptions extends FromApp {
  /** Undefined before the first load. */
  readonly state: () => DesiredState | undefined;
  /** Name of the cluster that a TCP or UDP route has for itself. */
  readonly splitClusterName: (route: TcpRoute | UdpRoute) => string;
  /** The drain that has the endpoint. */
  readonly drainOf: (endpoint: Endpoint) => string | undefined;
}

export interface WatchOfDrains {
  readonly watch: DrainWatch;
  /** Each revision before it is published; undefined: a full load. */
  onRevision(committed: CommittedRevision | undefined): void;
}

export function createDrainWatch({ state, splitClusterName, drainOf, ...options }: CreateWatchOptions): WatchOfDrains {
  const routes = (names: Iterable<string>): Route[] => [...names].flatMap((name) => state()?.routes.get(name) ?? []);
  const ownClusters = (names: Iterable<string>): readonly string[] =>
    routes(names).flatMap((route) => (route.protocol === "http" ? [] : splitClusterName(route)));
  const resourcesOf = (cluster: string, route?: string): readonly string[] =>
    route === undefined ? [cluster, ...ownClusters(state()?.routesOfCluster(cluster) ?? [])] : ownClusters([route]);
  const replacements = new Replacements({
    now: () => options.clock.now(),
    routesOfListener: (listener) => routes(state()?.routesOfListener(listener) ?? []),
    wasSettled: (endpoint) => {
      const drain = drainOf(endpoint);
      return drain !== undefined && watch.wasSettled(drain);
    },
  });
  const steadySince = (cluster: string, endpoint: string): number => replacements.steadySince(cluster, endpoint);
  const watch = new DrainWatch({ ...options, resourcesOf, steadySince });
  return {
    watch,
    onRevision: (committed) => (committed ? replacements.revision(committed.changes) : replacements.loaded()),
  };
}
