// What is next for the drain of an Envoy, given what the database knows of it, and what is believed of its connections. Pure: times in a
// record are the database's. Called by node-drain-jobs.ts to see whether there is something to do, and again in the transaction that does it.
import { goneAfterMs } from "../model/drain.js";
import { forgetAfterMs } from "../model/node-drain.js";
import type { ConnectionCount } from "../status/metrics-stream.js";
import type { ConnectionsVerdict, NodeDrainEnd, NodeDrainRecord } from "../store/store.js";

/** What an Envoy said of its connections longer ago than this is silence: metrics come every second. In ms. */
const freshMs = 5_000;
/** After a gap in which nobody looked, a deadline that passed meanwhile waits for so long: Envoys and their metrics must be heard first. In ms. */
const hearMs = 8_000;

/** One step. `forget`: the Envoy does not come back. */
export type NodeDrainStep =
  | { readonly kind: "wait" }
  | { readonly kind: "withdraw" }
  | ({ readonly kind: "end" } & NodeDrainEnd)
  | { readonly kind: "forget" };

/** Where it is, for people and programs. */
export type NodeDrainState = "lame-duck" | "withdrawing" | "draining" | "drained";

/** Where it is. */
export function stateOf({ endedAt, phase, ackedAgeMs }: NodeDrainRecord): NodeDrainState {
  if (endedAt !== undefined) return "drained";
  if (phase === "lame-duck") return "lame-duck";
  return ackedAgeMs === undefined ? "withdrawing" : "draining";
}

/** What to do now. */
export function nextNodeStep(drain: NodeDrainRecord): NodeDrainStep {
  if (drain.endedAt !== undefined) return drain.awayMs >= forgetAfterMs ? { kind: "forget" } : { kind: "wait" };
  if (drain.phase === "lame-duck") return drain.withdrawInMs <= 0 ? { kind: "withdraw" } : { kind: "wait" };
  if (drain.awayMs >= goneAfterMs)
    return { kind: "end", safeToStop: true, leftOpen: 0, outcome: "it is gone: it has been away for 15 s" };
  if (isEmpty(drain)) return { kind: "end", safeToStop: true, leftOpen: 0, outcome: "no connection is left" };
  if (drain.deadlineInMs > 0 || (drain.attendedMs ?? hearMs) < hearMs) return { kind: "wait" };
  return {
    kind: "end",
    safeToStop: false,
    leftOpen: drain.connections ?? 0,
    outcome: `the deadline has passed: ${whyNot(drain)}`,
  };
}

/** Its metrics don't tell how many connections it has, and never did since its listeners went. */
export function isSilent({ reportAgeMs }: NodeDrainRecord): boolean {
  return reportAgeMs === undefined || reportAgeMs > freshMs;
}

function isEmpty(drain: NodeDrainRecord): boolean {
  return drain.ackedAgeMs !== undefined && drain.verdict === "zero" && !isSilent(drain);
}

function whyNot(drain: NodeDrainRecord): string {
  if (drain.ackedAgeMs === undefined) return "it has not confirmed that its listeners are gone";
  if (isSilent(drain)) return "its metrics do not tell how many connections are open";
  return drain.connections
    ? `${drain.connections} connections are open`
    : "it is too early to believe that no connection is open";
}

/**
 * What is believed of an Envoy's connections. `ackedAt`: when it was known to have no listeners, ms, this replica's clock; nothing new comes
 * from then on. Nothing is open when the newest two samples of every stream were made after that, and both say so: one that was made at
 * that moment may have missed what was just accepted. undefined: no stream is here, or one of them does not tell.
 */
export function believeConnections(
  ackedAt: number,
  streams: readonly (readonly ConnectionCount[])[],
  now: number,
): { readonly verdict: ConnectionsVerdict; readonly connections: number } | undefined {
  const newest = streams.map((samples) => samples.at(-1));
  if (streams.length === 0 || newest.some((sample) => !sample || now - sample.at > freshMs)) return undefined;
  const connections = newest.reduce((sum, sample) => sum + (sample?.connections ?? 0), 0);
  if (connections > 0) return { verdict: "open", connections };
  const isBelieved = streams.every(
    (samples) => samples.length === 2 && samples.every((sample) => sample.at > ackedAt && sample.connections === 0),
  );
  return { verdict: isBelieved ? "zero" : "settling", connections };
}
