// A staged rollout: a change that a growing part of a gateway's Envoys sees before all do. Pure.
// It is an overlay of objects over the desired state (DESIGN §13): base rows change only when it is promoted, so that whatever else is
// written meanwhile reaches every Envoy, those that see the overlay too.
import type { Change } from "./revision.js";

/** How many of a gateway's Envoys see the change: so many, or so many percent, rounded up. */
export type RolloutStage = { readonly nodes: number } | { readonly percent: number };

/** What stops a rollout and puts the Envoys of its stages back. */
export interface AbortOn {
  /** An Envoy refuses something that the change makes. */
  readonly nack: boolean;
  /** An Envoy goes away and stays away, or comes back again and again. */
  readonly disconnect: boolean;
  /**
   * Share of requests answered by 5xx, 0–1, by which the stage's Envoys may exceed the gateway's others over the same time (or 0, where
   * there are none). undefined: not looked at.
   */
  readonly errorRate: number | undefined;
}

/** How a change is rolled out. The last stage is everybody. */
export interface RolloutPolicy {
  readonly stages: readonly RolloutStage[];
  /** How long every Envoy of a stage must have had the change, without any reason to stop, before the next stage. ms. */
  readonly bakeMs: number;
  readonly abortOn: AbortOn;
}

/** One that is under way, as snapshots need it. */
export interface Overlay {
  readonly name: string;
  /** What it changes: `before` is what the base rows say as long as it is under way. */
  readonly changes: readonly Change[];
  /** gateway → share of its Envoys that see the changes, of `wholeShare`. */
  readonly shares: ReadonlyMap<string, number>;
}

/** A share that every Envoy is in. */
export const wholeShare = 2 ** 32;

/** Where an Envoy stands in a rollout, 0–2^32: the same on every replica, and another one in each rollout, so that not always the same go first. */
export function positionOf(rollout: string, node: string): number {
  // FNV-1a, and murmur3's last step, which spreads names that differ in their last letter over the whole range.
  let hash = 0x811c9dc5;
  for (const unit of `${rollout}\n${node}`) hash = Math.imul(hash ^ (unit.codePointAt(0) ?? 0), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The Envoys of a stage, those with the lowest positions first, and the share that holds exactly them; one that joins later may fall into it too. */
export function cohortOf(
  rollout: string,
  stage: RolloutStage,
  nodes: readonly string[],
): { readonly share: number; readonly nodes: readonly string[] } {
  const wanted = "nodes" in stage ? stage.nodes : Math.ceil((nodes.length * stage.percent) / 100);
  if (isWhole(stage)) return { share: wholeShare, nodes: [...nodes].sort() };
  const placed = nodes
    .map((node) => ({ node, position: positionOf(rollout, node) }))
    .sort((a, b) => a.position - b.position || (a.node < b.node ? -1 : 1));
  const chosen = placed.slice(0, wanted);
  const last = chosen.at(-1);
  if (!last) return { share: 0, nodes: [] };
  return { share: last.position + 1, nodes: chosen.map(({ node }) => node).sort() };
}

/** Whether the Envoy sees the overlay. */
export function sees({ name, shares }: Overlay, gateway: string, node: string): boolean {
  const share = shares.get(gateway) ?? 0;
  return share > 0 && positionOf(name, node) < share;
}

/** Whether a stage is everybody: there the change is promoted, and no overlay is needed any more. */
export function isWhole(stage: RolloutStage): boolean {
  return "percent" in stage && stage.percent >= 100;
}

/** The name under which Envoys that see a rollout, or are drained, are counted: a gateway's, or `<gateway>/<variant>`. Names of ours hold a `/`. */
export function viewName(gateway: string, variant: string | undefined): string {
  return variant === undefined ? gateway : `${gateway}/${variant}`;
}

/** What its Envoys see in place of the desired state; undefined: nothing else. */
export function variantOfView(view: string): string | undefined {
  const slash = view.indexOf("/");
  return slash < 0 ? undefined : view.slice(slash + 1);
}

/** The gateway of a view. */
export function gatewayOfView(view: string): string {
  const slash = view.indexOf("/");
  return slash < 0 ? view : view.slice(0, slash);
}
