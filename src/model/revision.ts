// One committed change of the whole configuration, and what it changed. Pure.
import type { Cluster } from "./cluster.js";
import type { Endpoint } from "./endpoint.js";
import type { Listener } from "./listener.js";
import type { NodeDrainChange } from "./node-drain.js";
import type { Route } from "./route.js";

/** Postgres bigint, as a JavaScript number: 2^53 revisions are 285 years at a million a second. */
export type Revision = number;

/** kind → what its objects are. `generation` is the form that translation emits (ADR 0004). */
export interface ObjectKinds {
  cluster: Cluster;
  endpoint: Endpoint;
  listener: Listener;
  route: Route;
}
export type Kind = keyof ObjectKinds;
export const kinds = ["cluster", "endpoint", "listener", "route"] as const satisfies readonly Kind[];

/** One object that a revision made, changed (both there) or removed (`after` undefined). An endpoint's name is `<cluster>/<addressKey>`. */
export type Change = {
  [K in Kind]: {
    readonly kind: K;
    readonly name: string;
    readonly before: ObjectKinds[K] | undefined;
    readonly after: ObjectKinds[K] | undefined;
  };
}[Kind];

/** What a revision did to a staged rollout (rollout.ts): began it (`changes`), moved it to another stage, or ended it (`after` undefined). */
export interface OverlayChange {
  readonly name: string;
  readonly after: { readonly shares: ReadonlyMap<string, number>; readonly changes: readonly Change[] | undefined } | undefined;
}

/** A revision as the feed brings it. `id` is random: the same number with another id is another history. */
export interface CommittedRevision {
  readonly revision: Revision;
  readonly id: string;
  readonly changes: readonly Change[];
  /** What it did to staged rollouts; left out: nothing. */
  readonly overlays?: readonly OverlayChange[];
  /** What it did to drains of Envoys; left out: nothing. */
  readonly nodeDrains?: readonly NodeDrainChange[];
}

/** Who asked for a change; kept with the revision, sent home with a refusal. */
export interface Author {
  readonly author: string;
  readonly requestId: string;
  readonly reason: string | undefined;
}

/** The change that takes this one back. */
export function inverseOf(change: Change): Change {
  switch (change.kind) {
    case "cluster":
      return { ...change, before: change.after, after: change.before };
    case "endpoint":
      return { ...change, before: change.after, after: change.before };
    case "listener":
      return { ...change, before: change.after, after: change.before };
    case "route":
      return { ...change, before: change.after, after: change.before };
  }
}
