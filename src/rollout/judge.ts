// What is next for a staged rollout, by what its Envoys say: wait, bake, go on, or stop. Pure: every time in it is an age on the
// database's clock, so that any replica, whatever its own clock says, comes to the same. Called by driver.ts.
import type { RolloutPolicy } from "../model/rollout.js";
import type { OpenRollout, StoredRolloutNode, Traffic } from "../store/store.js";

/** An Envoy that is away for longer than this is lost; a stream that moves to another replica is away for less. */
export const lostAfterMs = 4_000;
/** An Envoy whose stream we ended ourselves must be back by then, with the changes offered to it. */
export const returnWithinMs = 5_000;
/** Every Envoy of a stage must have the changes by then. */
export const confirmWithinMs = 60_000;
/** Streams of one Envoy in one stage; more of them, and it goes down again and again. A replica that dies costs one. */
export const maxStreamsPerStage = 4;
/** Error rates are looked at from so many requests on. */
export const minRequests = 20;

/** Why a rollout is stopped; words of a metric's label. */
export type AbortCause = "nack" | "disconnect" | "error-rate" | "unconfirmed";

/** What is to be done now. */
export type Decision =
  | { readonly kind: "wait" }
  /** All Envoys of the stage have the changes: the time of baking begins. */
  | { readonly kind: "acked" }
  | { readonly kind: "next" }
  | { readonly kind: "abort"; readonly cause: AbortCause; readonly detail: string };

/** `nodes` that the stage began without (they joined later) count where they refuse, and are not waited for. */
export function judge({ rollout, nodes, traffic }: OpenRollout): Decision {
  const { policy, stage, attendedMs, bakedMs, expected } = rollout;
  const here = new Map(nodes.filter((node) => node.stage === stage).map((node) => [node.node, node]));
  const awaited = [...expected.values()].flat();
  const reason =
    (policy.abortOn.nack ? refusal([...here.values()]) : undefined) ??
    (policy.abortOn.disconnect ? loss(awaited, here, attendedMs) : undefined) ??
    errors(policy, traffic);
  if (reason) return { kind: "abort", ...reason };
  // One that is away and not missed by the policy, or refuses with the policy's leave, is not waited for.
  const missing = awaited.filter((node) => !(here.get(node)?.has || isExcused(here.get(node), policy)));
  if (missing.length > 0) {
    if (attendedMs < confirmWithinMs) return { kind: "wait" };
    const detail = `${nameSome(missing)} did not confirm the change within ${confirmWithinMs / 1000} s`;
    return { kind: "abort", cause: "unconfirmed", detail };
  }
  if (bakedMs === undefined) return { kind: "acked" };
  return bakedMs >= policy.bakeMs ? { kind: "next" } : { kind: "wait" };
}

type Reason = Omit<Extract<Decision, { readonly kind: "abort" }>, "kind">;

function isExcused(node: StoredRolloutNode | undefined, { abortOn }: RolloutPolicy): boolean {
  if (!node?.connected) return !abortOn.disconnect;
  return node.refusal !== undefined && !abortOn.nack;
}

function refusal(nodes: readonly StoredRolloutNode[]): Reason | undefined {
  const [first, ...others] = nodes.filter((node) => node.refusal);
  if (!first?.refusal) return undefined;
  const { type, resource, detail } = first.refusal;
  const more = others.length > 0 ? ` (and ${others.length} more Envoys)` : "";
  return { cause: "nack", detail: `${first.node} refused ${type} ${resource}: ${detail}${more}` };
}

function loss(awaited: readonly string[], here: ReadonlyMap<string, StoredRolloutNode>, attendedMs: number): Reason | undefined {
  const away = awaited.filter((node) => isLost(here.get(node), attendedMs));
  if (away.length > 0) return { cause: "disconnect", detail: `${nameSome(away)} went away` };
  const restless = awaited.filter((node) => (here.get(node)?.streams ?? 0) > maxStreamsPerStage);
  if (restless.length === 0) return undefined;
  return { cause: "disconnect", detail: `${nameSome(restless)} came and went more than ${maxStreamsPerStage} times` };
}

function isLost(node: StoredRolloutNode | undefined, attendedMs: number): boolean {
  return node ? (node.lostMs ?? 0) > lostAfterMs : attendedMs > returnWithinMs;
}

function errors({ abortOn }: RolloutPolicy, { stage, others }: OpenRollout["traffic"]): Reason | undefined {
  const { errorRate } = abortOn;
  if (errorRate === undefined || stage.requests < minRequests) return undefined;
  const [rate, usual] = [rateOf(stage), others.requests < minRequests ? 0 : rateOf(others)];
  if (rate - usual <= errorRate) return undefined;
  const compared = others.requests < minRequests ? "" : `, against ${percent(usual)} at the gateway's others`;
  const detail = `${stage.errors} of ${stage.requests} requests (${percent(rate)}) were answered by 5xx${compared}`;
  return { cause: "error-rate", detail };
}

function rateOf({ requests, errors: failed }: Traffic): number {
  return requests === 0 ? 0 : failed / requests;
}

function percent(rate: number): string {
  return `${(rate * 100).toFixed(1)} %`;
}

function nameSome(nodes: readonly string[]): string {
  const [some, rest] = [nodes.slice(0, 5).join(", "), nodes.length - 5];
  return rest > 0 ? `${some} and ${rest} more Envoys` : some;
}
