// Which revisions this replica has served or acknowledged: what the database is asked for when it turns out to hold another history, so that
// what was lost is told by number. In: revisions as they are served and committed. Out: whether one is missing, and which are lost.
// Called by follower.ts.
import type { Revision } from "../model/revision.js";
import type { FeedAnswer, RevisionMark } from "../store/store.js";

/** A history was left for another one. */
export interface OtherHistory {
  /** ms since 1970. */
  readonly at: number;
  /** Revisions of the history that was left, as far as this replica knew them, that the other one lacks; the numbers may be taken again. */
  readonly lost: number;
  /** The first and the last of them; undefined: none was lost that this replica knew. */
  readonly from: Revision | undefined;
  readonly to: Revision | undefined;
  /** Whether the two have a revision in common that this replica knew; without one there may be more before `from`. */
  readonly isWhole: boolean;
}

/** Marks kept of each kind: a failover that loses more is told as losing so many. 100 bytes each. */
const maxMarks = 10_000;

/** The newest revisions of one history, as this replica knows them. */
export class KnownHistory {
  /** In their order, without a gap. */
  #served: RevisionMark[] = [];
  /** Committed by this process and not read yet. After a failover they may be of both histories, until the feed was read. */
  #acknowledged: RevisionMark[] = [];

  /** Everything was read: this is where the history is now. `before`: what was acknowledged when that read began, which it has or never will. */
  restart(mark: RevisionMark, before: readonly RevisionMark[]): void {
    this.#served = [mark];
    this.#acknowledged = this.#acknowledged.filter((one) => !before.includes(one) && one.revision > mark.revision);
  }

  /** The revision that follows the last one. */
  add({ revision, id }: RevisionMark): void {
    this.#served.push({ revision, id });
    if (this.#served.length > 2 * maxMarks) this.#served.splice(0, maxMarks);
    if (this.#acknowledged.length > 0) this.#acknowledged = this.#acknowledged.filter((one) => one.revision > revision);
  }

  /** This process has committed it, and its writer is told so: it is to be missed when it is lost, even if nobody has read it. */
  acknowledge(mark: RevisionMark): void {
    if (mark.revision <= (this.#served.at(-1)?.revision ?? 0)) return;
    this.#acknowledged.push(mark);
    if (this.#acknowledged.length > maxMarks) this.#acknowledged.shift();
  }

  /** To be taken before a read whose answer is held against it: a later one may not be in it. */
  get acknowledged(): readonly RevisionMark[] {
    return [...this.#acknowledged];
  }

  /** What to ask the database for. The revision before every write has no id, and is in every history. */
  get marks(): readonly RevisionMark[] {
    return [...this.#served, ...this.#acknowledged].filter(({ id }) => id !== "");
  }

  /** `kept`: ids of `marks` that the database has. */
  lostBut(kept: ReadonlySet<string>, at: number): OtherHistory {
    const isKept = ({ id }: RevisionMark): boolean => id === "" || kept.has(id);
    const lastCommon = this.#served.findLast(isKept)?.revision;
    // What is missing before a common one was pruned.
    const lost = [...this.#served, ...this.#acknowledged].filter((one) => !isKept(one) && one.revision > (lastCommon ?? 0));
    const numbers = lost.map(({ revision }) => revision).sort((a, b) => a - b);
    return { at, lost: lost.length, from: numbers[0], to: numbers.at(-1), isWhole: lastCommon !== undefined };
  }
}

/** Whether a read that began after these were acknowledged says that one is not there, or that its number is another's. */
export function contradicts(answer: FeedAnswer, acknowledged: readonly RevisionMark[]): boolean {
  if (answer.kind !== "next" || acknowledged.length === 0) return false;
  const ids = new Map(answer.revisions.map(({ revision, id }) => [revision, id]));
  return acknowledged.some(({ revision, id }) => answer.head < revision || (ids.get(revision) ?? id) !== id);
}
