// One Envoy on this replica: all streams of its node id, seen as one. The newest stream wins, because an Envoy that comes back is
// often here before its old stream is known to be dead.
// In: NodeReports. Out: what it subscribes to, has acked and does not have. Owned by: tracker.ts.
import type { ResourceException, StreamKind } from "../model/node.js";
import { phaseOfVariant } from "../model/node-drain.js";
import { type ResourceType, resourceTypes } from "../model/resource-type.js";
import type { Revision } from "../model/revision.js";
import { variantOfView } from "../model/rollout.js";
import { type Answers, allNews, exceptionsBit, type NodeReport, oneStreamPerNode, typeBits } from "./node-report.js";
import type { Cohort, TrackedRevision } from "./tracked-revision.js";

function isAds(kind: StreamKind): boolean {
  return kind === "ads-delta" || kind === "ads-sotw";
}

function isNewer(one: NodeReport, other: NodeReport): boolean {
  return one.openedAt !== other.openedAt ? one.openedAt > other.openedAt : one.ordinal > other.ordinal;
}

/** Said no to by the Envoy, in its own words. */
export function isRefusal(exception: ResourceException): boolean {
  return exception.kind === "refused";
}

/** Whether two readings say the same, in the same order. */
export function sameExceptions(before: readonly ResourceException[], after: readonly ResourceException[]): boolean {
  if (before.length !== after.length) return false;
  return before.every((one, index) => {
    const other = after[index];
    if (one === other) return true;
    return (
      other !== undefined &&
      one.type === other.type &&
      one.name === other.name &&
      one.kind === other.kind &&
      one.revision === other.revision &&
      one.detail === other.detail &&
      String(one.parts) === String(other.parts)
    );
  });
}

/** What one reading of a node's streams found other than the last one. */
export interface Difference {
  /** It asks for other types, or has acked less than before (the database has another history): all must be compared anew. */
  readonly restarts: boolean;
  readonly exceptionsChanged: boolean;
  readonly refusalsChanged: boolean;
}

const settled: Difference = { restarts: false, exceptionsChanged: false, refusalsChanged: false };
const restarted: Difference = { ...settled, restarts: true };

/** One Envoy, as its streams on this replica describe it. */
export class FleetNode implements Answers {
  readonly #reports = new Set<NodeReport>();
  /** Streams that speak for the node now; the newest first. */
  #counting: readonly NodeReport[] = [];
  /** Mask of subscribed types. */
  subscribed = 0;
  /** As of the last reading of each type; it may have moved on by itself since (`readAcked`). */
  readonly acked: Record<ResourceType, Revision> = { cluster: 0, endpoint: 0, listener: 0, route: 0 };
  exceptions: readonly ResourceException[] = [];
  /** Cohorts that the node has not answered yet. */
  readonly pending = new Set<Cohort>();
  /** Revisions of which it does not have something that it answered. */
  readonly without = new Set<TrackedRevision>();

  constructor(readonly id: string) {}

  /** The newest stream; undefined when none is open. */
  get newest(): NodeReport | undefined {
    return this.#counting[0];
  }
  get gateway(): string {
    return this.newest?.node.gateway ?? "";
  }
  get view(): string {
    return this.newest?.view ?? "";
  }
  get streams(): readonly StreamKind[] {
    return [...new Set(this.#counting.map((report) => report.kind))].sort();
  }
  /** ms since the epoch: when its newest stream was opened. */
  get since(): number {
    return this.newest?.openedAt ?? 0;
  }
  /** The least of what it has acked over the types that it asks for; 0 when it asks for none. */
  get ackedRevision(): Revision {
    const asked = resourceTypes.filter((type) => this.subscribed & typeBits[type]).map((type) => this.readAcked(type));
    return asked.length > 0 ? Math.min(...asked) : 0;
  }

  /** Adds or removes a stream. True when other streams speak for the node than before. */
  setOpen(report: NodeReport, open: boolean): boolean {
    if (open) this.#reports.add(report);
    else this.#reports.delete(report);
    const before = this.#counting;
    const sorted = [...this.#reports].sort((one, other) => (isNewer(one, other) ? -1 : 1));
    const newest = sorted[0];
    if (!newest) this.#counting = [];
    else if (isAds(newest.kind)) this.#counting = [newest];
    else this.#counting = sorted.filter((other) => !isAds(other.kind) && other.view === newest.view);
    return before.length !== this.#counting.length || before.some((report, index) => report !== this.#counting[index]);
  }

  /** What it has acked of a type now: it moves on by itself where a revision changed nothing for the node. 0 when it does not ask. */
  readAcked(type: ResourceType): Revision {
    let acked: Revision | undefined;
    for (const report of this.#counting) {
      if (!report.subscribes(type)) continue;
      if (acked !== undefined && oneStreamPerNode[type]) break;
      acked = Math.min(acked ?? Number.POSITIVE_INFINITY, report.ackedRevision(type));
    }
    return acked ?? 0;
  }

  /** type → what it has acked now. */
  readAllAcked(): Record<ResourceType, Revision> {
    return {
      cluster: this.readAcked("cluster"),
      endpoint: this.readAcked("endpoint"),
      listener: this.readAcked("listener"),
      route: this.readAcked("route"),
    };
  }

  /** Whether it has acked the endpoints of these cluster resources as of the revision, or newer ones. */
  hasEndpointsOf(resources: readonly string[], revision: Revision): boolean {
    if (this.readAcked("endpoint") < revision) return false;
    return !this.exceptions.some(({ type, name }) => type === "endpoint" && resources.includes(name));
  }

  /** Whether it is known to have no listeners, in the view of a drained Envoy. */
  get hasNoListeners(): boolean {
    const { newest, view } = this;
    if (!newest || phaseOfVariant(variantOfView(view)) !== "withdrawn") return false;
    const own = this.#counting.filter((report) => report.subscribes("listener"));
    return own.length > 0 && !own.some((report) => report.isUnsettled("listener"));
  }

  /** Reads of its streams what `news` names (`typeBits`, `exceptionsBit`). Says what differs from the last time. */
  refresh(news: number = allNews): Difference {
    const { subscribed } = this;
    let fell = false;
    for (const type of resourceTypes) if (news & typeBits[type]) fell = this.#readType(type) || fell;
    const restarts = fell || subscribed !== this.subscribed;
    // Which streams speak for the node depends on what they ask for.
    return news & exceptionsBit || subscribed !== this.subscribed
      ? this.#readExceptions(restarts)
      : restarts
        ? restarted
        : settled;
  }

  /** Returns whether less is acked than before. */
  #readType(type: ResourceType): boolean {
    const isAsked = this.#counting.some((report) => report.subscribes(type));
    this.subscribed = isAsked ? this.subscribed | typeBits[type] : this.subscribed & ~typeBits[type];
    const acked = this.readAcked(type);
    const fell = acked < this.acked[type];
    this.acked[type] = acked;
    return fell;
  }

  #readExceptions(restarts: boolean): Difference {
    const speaking = new Set(resourceTypes.flatMap((type) => this.#speaking(type)));
    const exceptions = [...speaking].flatMap((report) => [...report.exceptions()]);
    const exceptionsChanged = !sameExceptions(this.exceptions, exceptions);
    const refusalsChanged = exceptionsChanged && !sameExceptions(this.exceptions.filter(isRefusal), exceptions.filter(isRefusal));
    if (exceptionsChanged) this.exceptions = exceptions;
    return { restarts, exceptionsChanged, refusalsChanged };
  }

  /** The streams that say what it has of the type: of several where the type has one, the newest. */
  #speaking(type: ResourceType): readonly NodeReport[] {
    const asking = this.#counting.filter((report) => report.subscribes(type));
    return oneStreamPerNode[type] ? asking.slice(0, 1) : asking;
  }
}
