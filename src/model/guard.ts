// What may stand in the way of a write, and can be told to let it pass; recorded with the revision. Pure.

/**
 * emptied: none of a kind, or of one cluster's endpoints, would be left. shrink: too much of a kind would be gone, or too few of one
 * cluster's endpoints would be left. size: too many. Of endpoints those count that are enabled: the others take no traffic.
 * drain: what is being drained would go (drain-guard.ts). last-endpoint: a drain would leave a cluster without any (api/drain-start.ts).
 * last-node: a gateway would be left without an Envoy that serves (api/node-drains.ts).
 * rollout: a gateway's policy stages its changes; that one is for api/ to ask about, and for the history to remember.
 */
export type Guard = "emptied" | "shrink" | "size" | "drain" | "last-endpoint" | "last-node" | "rollout";

/** Those that count what a change takes and makes: what only goes back to what was there has nothing to fear of them. */
export const countGuards = ["emptied", "shrink", "size"] as const satisfies readonly Guard[];
