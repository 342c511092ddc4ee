// What is next for a drain, given what the database knows of it: wait, close what is left, or end, and whether the process may be
// stopped then. Pure: every time in the record is the database's. Called by drain-jobs.ts to see whether there is something to do, and
// again within the transaction that does it.
import { goneAfterMs } from "../model/drain.js";
import type { DrainNode, DrainRecord } from "../store/store.js";

/** A load verdict older than this is silence: reports come every second. In ms. */
const freshMs = 5_000;
/** What was closed shows in the reports only so much later: one that began before, and two that are believed. In ms. */
export const beliefMs = 4_000;

/** One step. `closeWithinMs`: how long closing may take, until what is left is told as it is. */
export type Step =
  | { readonly kind: "wait" }
  | { readonly kind: "close"; readonly closeWithinMs: number }
  | { readonly kind: "end"; readonly safeToStop: boolean; readonly leftOpen: number; readonly outcome: string };

/** What one Envoy is to a drain. gone: away for so long that it is not waited for. */
export type NodeVerdict = "unacked" | "silent" | "settling" | "in-flight" | "zero" | "gone";

/** What a node is to a drain now; `isReported`: some of its endpoints can have something in flight at all. */
export function verdictOf(node: DrainNode, isReported: boolean): NodeVerdict {
  if (!node.connected && node.awayMs >= goneAfterMs) return "gone";
  if (node.ackedAgeMs === undefined) return "unacked";
  if (!isReported) return "zero";
  if (node.verdict === undefined || node.loadAgeMs === undefined || node.loadAgeMs > freshMs) return "silent";
  return node.verdict;
}

/** False for a drain of UDP endpoints only: a session moves at its next datagram, so an ack is all there is to wait for. */
export function isReported({ endpoints }: Pick<DrainRecord, "endpoints">): boolean {
  return endpoints.some(({ guarantee }) => guarantee.kind !== "none-needed");
}

/** The drain's Envoys by what they are to it, and what is in flight on those that count. */
export interface Tally {
  /** verdict → names. */
  readonly names: Readonly<Record<NodeVerdict, readonly string[]>>;
  readonly inFlight: number;
  readonly unattributed: number;
}

/** What the nodes come to. */
export function tally(nodes: readonly DrainNode[], reported: boolean): Tally {
  const names: Record<NodeVerdict, string[]> = { unacked: [], silent: [], settling: [], "in-flight": [], zero: [], gone: [] };
  let inFlight = 0;
  let unattributed = 0;
  for (const node of nodes) {
    const verdict = verdictOf(node, reported);
    names[verdict].push(node.node);
    if (verdict === "gone" || verdict === "zero") continue;
    inFlight += node.inFlight;
    unattributed += node.unattributed;
  }
  return { names, inFlight, unattributed };
}

/** What to do now. A drain that has ended waits for ever. */
export function nextStep(drain: DrainRecord): Step {
  if (drain.endedAt !== undefined) return { kind: "wait" };
  const seen = tally(drain.nodes, isReported(drain));
  const isDone = isEveryNodeDone(drain, seen);
  if (isDone && !maySessionsCome(drain, seen)) return ending(drain, seen, true);
  if (drain.state === "closing") return (drain.closingInMs ?? 0) > 0 ? { kind: "wait" } : ending(drain, seen, isDone);
  if (drain.deadlineInMs > 0) return { kind: "wait" };
  const closeWithinMs = closingTime(drain);
  return closeWithinMs === undefined ? ending(drain, seen, false) : { kind: "close", closeWithinMs: closeWithinMs + beliefMs };
}

/** Where listeners reach the clusters and no Envoy has been seen, one may be on its way back to a control plane that has just started. */
function isTooEarlyForNone({ ageMs, gateways, nodes }: DrainRecord): boolean {
  return nodes.length === 0 && gateways.length > 0 && ageMs < goneAfterMs;
}

/** Nothing in flight now is no zero where sessions bring new requests: until the deadline, and until every Envoy has sent them away. */
function maySessionsCome({ endpoints, state, closingInMs = 0 }: DrainRecord, { names }: Tally): boolean {
  const areSessionsThere = names.zero.length > 0 && endpoints.some(({ sessionsStay }) => sessionsStay);
  return areSessionsThere && (state !== "closing" || closingInMs > 0);
}

function isEveryNodeDone(drain: DrainRecord, { names }: Tally): boolean {
  if (isTooEarlyForNone(drain)) return false;
  return names.unacked.length + names.silent.length + names.settling.length + names["in-flight"].length === 0;
}

/**
 * From the deadline on; undefined: nothing can be closed, and nothing ends by itself. What is bounded by its time is so from the ack on,
 * which may have come late.
 */
function closingTime({ ageMs, endpoints, nodes }: DrainRecord): number | undefined {
  const times = endpoints.flatMap(({ guarantee: { kind, closesWithinMs }, sessionsStay }) => {
    if (kind === "left-open") return sessionsStay ? 0 : []; // Its sessions are sent away all the same.
    return kind === "none-needed" ? [] : (closesWithinMs ?? 0);
  });
  if (times.length === 0) return undefined;
  const ackedAfterMs = nodes.map((node) => Math.max(0, ageMs - (node.ackedAgeMs ?? ageMs)));
  return Math.max(...times) + Math.max(0, ...ackedAfterMs);
}

/** Another drain that has some of the endpoints ends first: by itself, at its own deadline. */
function ending(drain: DrainRecord, seen: Tally, isDone: boolean): Step {
  if (drain.joined.some(({ ended }) => !ended)) return { kind: "wait" };
  const lost = drain.joined.filter(({ safeToStop }) => !safeToStop);
  const leftOpen = seen.inFlight + seen.unattributed + lost.reduce((sum, other) => sum + other.leftOpen, 0);
  const safeToStop = lost.length === 0 && (isDone || isClosed(drain, seen));
  return { kind: "end", safeToStop, leftOpen, outcome: safeToStop ? safeOutcome(seen, isDone) : unsafeOutcome(drain, seen) };
}

/**
 * Every Envoy sends nothing new, and what was there has been closed, or has ended by its time. An Envoy that is silent, or whose reports
 * have just begun anew, may never have learned of the deadline, as its control plane hangs: its work is over only where that needs no
 * telling.
 */
function isClosed(drain: DrainRecord, { names, inFlight, unattributed }: Tally): boolean {
  return (
    !isTooEarlyForNone(drain) &&
    names.unacked.length === 0 &&
    names["in-flight"].length === 0 &&
    inFlight + unattributed === 0 &&
    drain.endpoints.every(({ guarantee }) => guarantee.kind !== "left-open") &&
    (names.silent.length + names.settling.length === 0 || drain.endpoints.every(endsUntold))
  );
}

/** Sessions that stay bring new requests until an Envoy is told that the deadline has passed. */
function endsUntold({ guarantee: { kind }, sessionsStay }: DrainRecord["endpoints"][number]): boolean {
  return kind === "none-needed" || (kind === "bounded-by-timeout" && !sessionsStay);
}

function safeOutcome({ names }: Tally, isDone: boolean): string {
  if (!isDone) return "the deadline has passed, and what was in flight is closed";
  if (names.zero.length === 0) return "no Envoy has it";
  return "nothing is in flight";
}

function unsafeOutcome(drain: DrainRecord, { names, inFlight, unattributed }: Tally): string {
  const few = (list: readonly string[]): string =>
    list.slice(0, 5).join(", ") + (list.length > 5 ? ` and ${list.length - 5} more` : "");
  const lost = drain.joined.filter(({ safeToStop }) => !safeToStop).map(({ id }) => id);
  const reasons = [
    ...(inFlight > 0 ? [`${inFlight} in flight`] : []),
    ...(unattributed > 0 ? [`${unattributed} in the clusters that no report places`] : []),
    ...(names.unacked.length > 0 ? [`not acked by ${few(names.unacked)}`] : []),
    ...(names.silent.length > 0 ? [`no fresh load report from ${few(names.silent)}`] : []),
    ...(names.settling.length > 0 ? [`too early to believe ${few(names.settling)}`] : []),
    ...(lost.length > 0 ? [`drain ${few(lost)}, which had some of it, ended unsafe`] : []),
  ];
  return `the deadline has passed: ${reasons.join("; ") || "nothing is known"}`;
}
