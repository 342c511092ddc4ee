// What ends the work that is left on a drained endpoint at its deadline. Pure.
import type { Cluster } from "./cluster.js";
import type { Route } from "./route.js";

export interface DrainGuarantee {
  readonly kind: "kill-switch" | "bounded-by-timeout" | "left-open" | "none-needed";
  /** Longest time from the deadline on; undefined: nothing is promised. In ms. */
  readonly closesWithinMs: number | undefined;
  readonly because: string;
}

export function guaranteeOf(cluster: Cluster, _routes: readonly Route[], _timeoutMs?: number): DrainGuarantee {
  if (cluster.protocol === "udp")
    return { kind: "none-needed", closesWithinMs: 0, because: "a UDP session moves at its next datagram" };
  return { kind: "left-open", closesWithinMs: undefined, because: "nothing closes it" };
}
