// Staged rollouts as rows and as the feed brings them. In: JSON of ours. Out: model objects.
// Called by revision-feed.ts, desired-state.ts and rollout-store.ts.
import type { OverlayChange } from "../model/revision.js";
import type { Overlay } from "../model/rollout.js";
import { type SpecChange, toChange } from "./row-change.js";

/** The kind under which `changes` has what a revision did to a rollout; it is no kind of object. */
export const overlayKind = "rollout";

/** The same of a gateway's policy: for the history alone, as no snapshot depends on it. */
export const policyKind = "rollout-policy";

/** As `changes.after` holds it. A move to another stage has no `changes`: they are as they were. */
export interface OverlaySpec {
  readonly shares: Readonly<Record<string, number>>;
  readonly changes?: readonly SpecChange[];
}

/** As the table holds one that is under way. */
export interface OverlayRow {
  readonly name: string;
  readonly shares: Readonly<Record<string, number>>;
  readonly changes: readonly SpecChange[];
}

/** For the feed. */
export function fromOverlaySpec({ shares, changes }: OverlaySpec): NonNullable<OverlayChange["after"]> {
  return { shares: new Map(Object.entries(shares)), changes: changes?.map(toChange) };
}

/** For a full load. */
export function fromOverlayRow({ name, shares, changes }: OverlayRow): Overlay {
  return { name, shares: new Map(Object.entries(shares)), changes: changes.map(toChange) };
}
