// By what means drains would keep their deadline after a change, where that differs. In: the state and the changes. Out: before and
// after, by cluster, for the plan. Called by preview.ts.
import type { DesiredState } from "../model/desired-state.js";
import { type DrainGuarantee, guaranteeOf } from "../model/drain-guarantee.js";
import type { Change } from "../model/revision.js";
import { clustersOf } from "../model/route.js";
import { sameContent } from "../model/same.js";

/** One cluster whose guarantee would be another one. `before` undefined: no route named it. */
export interface GuaranteeChange {
  readonly cluster: string;
  readonly before: DrainGuarantee | undefined;
  readonly after: DrainGuarantee;
}

/** cluster → its guarantee in the state as it is, of those that the changes may touch and that a route names. */
export function guaranteesIn(state: DesiredState, changes: readonly Change[]): ReadonlyMap<string, DrainGuarantee> {
  const names = new Set<string>();
  for (const change of changes) {
    if (change.kind === "cluster") names.add(change.name);
    if (change.kind !== "route") continue;
    for (const route of [change.before, change.after]) if (route) for (const name of clustersOf(route)) names.add(name);
  }
  return new Map(
    [...names].sort().flatMap((name) => {
      const cluster = state.clusters.get(name);
      const routes = [...state.routesOfCluster(name)].flatMap((route) => state.routes.get(route) ?? []);
      return cluster && routes.length > 0 ? [[name, guaranteeOf(cluster, routes)]] : [];
    }),
  );
}

export function guaranteeChanges(
  before: ReadonlyMap<string, DrainGuarantee>,
  after: ReadonlyMap<string, DrainGuarantee>,
): readonly GuaranteeChange[] {
  return [...after].flatMap(([cluster, guarantee]) => {
    const old = before.get(cluster);
    return sameContent(old, guarantee) ? [] : { cluster, before: old, after: guarantee };
  });
}
