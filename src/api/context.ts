// What the calls of the admin API share: the rooms that they reach, and the limits that they keep.
// Made once by server.ts, given to every noun file.

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from "fastify";
import type { Revision } from "../model/revision.js";
import type { Planner } from "../plan/plan.js";
import type { ValidationState, Validator } from "../plan/validate.js";
import type { Fleet } from "../status/fleet.js";
import type { Store } from "../store/store.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import type { CallerWaits } from "./caller-waits.js";
import type { EndWaits } from "./end-waits.js";
import type { TellHealth } from "./last-endpoint.js";
import type { Writes } from "./writes.js";

/** Fastify, with request types taken from TypeBox schemas. */
export type Api = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

/** Bounds of the admin API; each says what happens at it. */
export interface ApiLimits {
  /** Larger bodies get 413. */
  readonly maxBodyBytes: number;
  /** The same for calls that take many endpoints. */
  readonly maxEndpointsBodyBytes: number;
  /** Connections beyond it are closed at once. */
  readonly maxConnections: number;
  /** Requests being answered at once; the next one gets 429, unless it asks how the process is. */
  readonly maxInFlight: number;
  /** Calls with `?wait=` under way; the next one gets 429 and changes nothing. */
  readonly maxWaits: number;
  /** Streams of revisions (`follow=true`) open at once; the next one gets 429. */
  readonly maxFollowers: number;
  /** A request that has not come in whole by then gets 408. */
  readonly requestTimeoutMs: number;
  readonly headersTimeoutMs: number;
  /** An idle connection is closed; so is one that a client does not read from. Above the longest wait. */
  readonly connectionTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  /** When the server closes, connections that are still busy by then are cut. */
  readonly closeTimeoutMs: number;
}

/** What holds unless the composition root says otherwise. */
export const defaultApiLimits: ApiLimits = {
  maxBodyBytes: 256 * 1024,
  maxEndpointsBodyBytes: 4 * 1024 * 1024,
  maxConnections: 1000,
  maxInFlight: 1000,
  maxWaits: 500,
  maxFollowers: 100,
  requestTimeoutMs: 10_000,
  headersTimeoutMs: 5000,
  connectionTimeoutMs: 150_000,
  keepAliveTimeoutMs: 60_000,
  closeTimeoutMs: 5_000,
};

/** What /readyz tells. */
export interface Readiness {
  readonly ready: boolean;
  /** The revision that this replica serves. */
  readonly revision: Revision;
  /** What it waits for, in words; empty when ready. */
  readonly waitingFor: readonly string[];
  /** Whether writes are shown to a real Envoy before their commit. */
  readonly validation?: ValidationState;
  /** last-known-good: the database has not answered since the start, and what was kept on disk is served. */
  readonly serving?: "live" | "last-known-good";
  /** Of what is served then; ageMs: since it was written. */
  readonly lastKnownGood?: { readonly revision: Revision; readonly ageMs: number; readonly writtenAt: string };
  /** The last time that the database turned out to hold another history, and what of the one before is lost, as this replica knew it. */
  readonly otherHistory?: {
    readonly at: string;
    readonly lostRevisions: number;
    readonly from?: Revision;
    readonly to?: Revision;
    readonly isWhole: boolean;
  };
  /** Whether a start without the database would find a state on disk. */
  readonly stateFile?: { readonly state: "off" | "kept" | "failing"; readonly reason?: string; readonly revision?: Revision };
}

/** What the API is made of. */
export interface ApiOptions {
  readonly store: Store;
  readonly fleet: Pick<Fleet, "waitSync" | "lookSync" | "nodes" | "node">;
  readonly planner: Pick<Planner, "plan" | "gatewaysOf">;
  readonly ready: () => Readiness;
  /** Asks a real Envoy before each commit; left out: nobody is asked. */
  readonly validator?: Validator | undefined;
  /** Told that a drain has begun, so that nobody waits for the next look. */
  readonly onDrain?: (() => void) | undefined;
  /** What Envoys tell of the health of a cluster's endpoints, for drains; left out: nothing. */
  readonly tellHealth?: TellHealth | undefined;
  /** The same of a rebalance, or its end. */
  readonly onRebalance?: (() => void) | undefined;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly limits?: Partial<ApiLimits>;
}

/** What every call gets. */
export interface ApiContext extends Omit<ApiOptions, "limits"> {
  readonly limits: ApiLimits;
  readonly writes: Writes;
  readonly callerWaits: CallerWaits;
  /** Who waits for the end of rollouts. */
  readonly rolloutEnds: EndWaits;
  /** Aborts when the server closes. */
  readonly closing: AbortSignal;
}
