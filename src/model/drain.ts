// A drain: endpoints on their way out, told truthfully when nothing uses them any more (DESIGN §9). Pure.
// Called by: store (rows), drain (what is next), api (bodies).
import type { DrainGuarantee } from "./drain-guarantee.js";
import type { Endpoint } from "./endpoint.js";

/** On an endpoint that is being drained. closing: what is left there is being closed. */
export type DrainMark = NonNullable<Endpoint["drain"]>;

/** draining and closing are open; the others are ends. */
export type DrainState = "draining" | "closing" | "removed" | "disabled" | "restored" | "cancelled";
/** What becomes of the endpoints at the end, as may be asked for. */
export const afterwards = ["remove", "disable"] as const;
/** restore: they serve again, as the steps of rebalances have it; such a drain never says that it is safe to stop. */
export type Afterwards = (typeof afterwards)[number] | "restore";

/** One endpoint of a drain, as it was when the drain began. */
export interface DrainedEndpoint {
  readonly cluster: string;
  /** Address key, `10.0.0.7:8080`. */
  readonly endpoint: string;
  readonly connectTimeoutMs: number;
  /** What can be done at the deadline about what is left. */
  readonly guarantee: DrainGuarantee;
  /** Its sessions stay, and bring new requests, until the deadline. Left out: they do not. */
  readonly sessionsStay?: boolean | undefined;
  /** The drain that had it already; this one waits for that one's end. */
  readonly joins: string | undefined;
  /** Drained in this route alone; left out: wherever it is used. */
  readonly route?: string | undefined;
}

/** How long a drain waits, unless its clusters or its caller say otherwise. In ms. */
export const standardDrainTimeoutMs = 30_000;
/** Longest. In ms. */
export const maxDrainTimeoutMs = 3_600_000;
/** Drains that may be open at once; one more is refused. */
export const maxOpenDrains = 1_000;
/** An Envoy that has been away for so long counts as gone: longer than a reconnection takes, as its reports need 5 s. In ms. */
export const goneAfterMs = 15_000;
