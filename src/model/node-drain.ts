// The drain of an Envoy: it is to be stopped, so it sees its gateway first with a failing health check, then without listeners. Pure.
// Called by: snapshot (views), store (rows), drain (what is next), api (bodies).

/** lame-duck: listeners accept, their health check fails. withdrawn: it has no listeners, and lets go of its connections. */
export type NodeDrainPhase = "lame-duck" | "withdrawn";

/** What a revision did to the drain of an Envoy: `phase` is the one that it is in from then on; undefined: its listeners come back. */
export interface NodeDrainChange {
  readonly node: string;
  readonly phase: NodeDrainPhase | undefined;
}

/** phase → what stands for a rollout's name in the view of such Envoys; no rollout can be called so. */
const variants = { "lame-duck": "~lame-duck", withdrawn: "~drained" } as const satisfies Record<NodeDrainPhase, string>;

/** The variant of its gateway that an Envoy in the phase sees. */
export function variantOfPhase(phase: NodeDrainPhase): string {
  return variants[phase];
}

/** The way back; undefined: it is a rollout's name, or none. */
export function phaseOfVariant(variant: string | undefined): NodeDrainPhase | undefined {
  if (variant === variants["lame-duck"]) return "lame-duck";
  return variant === variants.withdrawn ? "withdrawn" : undefined;
}

/** How long its connections are waited for, unless the caller says otherwise: twice the drain time that `chancery bootstrap` suggests. In ms. */
export const standardNodeDrainTimeoutMs = 60_000;
/** How long the health check fails first where a listener of the gateway has one, unless the caller says otherwise. In ms. */
export const standardLameDuckMs = 10_000;
/** Longest of either. In ms. */
export const maxNodeDrainTimeMs = 3_600_000;
/** Envoys that may be drained at once; one more is refused. */
export const maxNodeDrains = 1_000;
/** A drained Envoy that has been away for so long does not come back: its drain is forgotten. In ms. */
export const forgetAfterMs = 3_600_000;
