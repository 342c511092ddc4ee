// One revision and one gateway: who owes an answer, who does not have it. Revisions that were published together and changed the
// same types share a cohort, so that a burst of 200 revisions costs one set of 3,000 nodes and not 200.
// Owned by: tracker.ts.
import type { GatewaySync, ResourceException } from "../model/node.js";
import { type ResourceType, resourceTypes } from "../model/resource-type.js";
import type { Revision } from "../model/revision.js";
import { type Answers, overlaps, type RevisionChanges, typeBits } from "./node-report.js";

/** Names listed per revision, gateway and list; the counts go on. */
export const maxNamed = 100;
/** Letters of an Envoy's own text that are kept. */
export const maxDetailLength = 2_000;

/** Revisions that became visible to nodes at the same moment, for one gateway. */
export class Cohort {
  /** Nodes that have not acked all of `required`. */
  readonly pending = new Set<Answers>();
  /** Ids of nodes that left before they answered; bounded. */
  readonly gone = new Set<string>();
  readonly revisions = new Set<TrackedRevision>();

  constructor(
    readonly gateway: string,
    /** Revision at which they were published: what a node was sent is of this one or newer. */
    readonly published: Revision,
    /** Mask of the types that they changed. */
    readonly types: number,
    /** type → revision that must be acked; 0: nothing of it changed. */
    readonly required: Readonly<Record<ResourceType, Revision>>,
  ) {}

  /** Whether the node asks for anything that these revisions changed. */
  concerns(node: Answers): boolean {
    return (node.subscribed & this.types) !== 0;
  }
  owes(node: Answers): boolean {
    for (const type of resourceTypes) if (this.owesType(node, type)) return true;
    return false;
  }
  owesType(node: Answers, type: ResourceType): boolean {
    return (node.subscribed & typeBits[type]) !== 0 && node.acked[type] < this.required[type];
  }
  leave(id: string): void {
    if (this.gone.size < maxNamed) this.gone.add(id);
  }
}

/** How far one gateway's nodes on this replica are with one revision. */
export class TrackedRevision {
  /** node → what it does not have of this revision. */
  readonly without = new Map<Answers, readonly ResourceException[]>();

  constructor(
    readonly revision: Revision,
    readonly cohort: Cohort,
    /** undefined: not known, so it may have changed anything (a revision from before this replica's load). */
    readonly changes: RevisionChanges | undefined,
  ) {}

  /**
   * What the node does not have of this revision.
   * Of a type that it still owes, only a refusal of these bytes or newer ones counts: an older one says nothing about them.
   * Of a type that it has answered, a refusal of newer bytes counts only if it never had these (`hadIt` false).
   */
  missing(node: Answers, hadIt: boolean): readonly ResourceException[] {
    if (node.exceptions.length === 0) return node.exceptions;
    return node.exceptions.filter((exception) => {
      if (!overlaps(exception, this.changes)) return false;
      if (!this.changes && exception.revision < this.revision) return false;
      if (this.cohort.owesType(node, exception.type)) return exception.revision >= this.revision;
      return !hadIt || exception.revision <= this.cohort.published;
    });
  }

  /** `total`: nodes connected that ask for something that it changed. */
  sync(total: number): GatewaySync {
    const refused: GatewaySync["refused"][number][] = [];
    const lagging: string[] = [];
    const lags = (node: Answers): void => {
      if (lagging.length < maxNamed) lagging.push(node.id);
    };
    let answeredWithout = 0;
    for (const [node, exceptions] of this.without) {
      if (!this.cohort.pending.has(node)) answeredWithout += 1;
      const refusals = exceptions.filter((exception) => exception.kind === "refused");
      if (refusals.length === 0) lags(node);
      for (const { type, name, detail } of refusals.slice(0, maxNamed)) {
        if (refused.length < maxNamed)
          refused.push({ node: node.id, type, resource: name, detail: detail.slice(0, maxDetailLength) });
      }
    }
    for (const node of this.cohort.pending) {
      if (lagging.length >= maxNamed) break; // 3,000 names in a row are no use to anyone, and cost 2 ms to sort.
      if (!this.without.has(node)) lags(node);
    }
    return {
      total,
      acked: Math.max(0, total - this.cohort.pending.size - answeredWithout),
      refused: refused.sort((a, b) => compare(a.node, b.node) || compare(a.type, b.type) || compare(a.resource, b.resource)),
      lagging: lagging.sort(compare),
      gone: [...this.cohort.gone].sort(compare),
    };
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
