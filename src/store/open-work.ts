// Which jobs have anything to do: the feed's query, which every replica asks anyway, tells with each answer whether a drain, a lease or a
// rollout is there. In: the feed's answers. Out: leave for a job's loop not to ask, and a call when work has come. Never the truth: what
// is due, a job reads itself. While the feed is silent, every job asks for itself. Called by store.ts; used by drain/ and rollout/.
import type { LookedFor } from "../telemetry/look-loop.js";

/** What may be open; a drain is watched, too. */
export const workKinds = ["drains", "rebalances", "leases", "rollouts"] as const;
export type WorkKind = (typeof workKinds)[number];
/** As the feed's query brings it. */
export type WorkSeen = Readonly<Record<WorkKind, boolean>>;

/** An answer that is older says nothing: a job that believes it would be late. In ms. */
const maxAgeMs = 1_000;

/** The columns that the feed's query has for it: looks into small tables by their indexes. */
export const workColumns = `
  exists (select from drains where ended_at is null) as drains, exists (select from rebalances where ended_at is null) as rebalances,
  exists (select from endpoint_leases) as leases, exists (select from rollouts where state in ('staging', 'watching')) as rollouts`;

/** One per store. */
export class OpenWork {
  #seen: WorkSeen | undefined;
  #seenAt = Number.NEGATIVE_INFINITY;
  readonly #listeners: Readonly<Record<WorkKind, Set<() => void>>> = {
    drains: new Set(),
    rebalances: new Set(),
    leases: new Set(),
    rollouts: new Set(),
  };

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** `askedAt`, by the same clock: what came after the question was sent is not in the answer. */
  note(seen: WorkSeen, askedAt: number): void {
    const before = this.#seen;
    this.#seen = seen;
    this.#seenAt = askedAt;
    for (const kind of workKinds) if (seen[kind] && !before?.[kind]) for (const call of this.#listeners[kind]) call();
  }

  /** False: there was none of it a moment ago. */
  mayBe(kind: WorkKind): boolean {
    return this.#seen?.[kind] === true || this.now() - this.#seenAt > maxAgeMs;
  }

  /** For the loop of a job. `isBusy`: it saw some itself when it last looked, and goes on until it sees none. */
  of(kind: WorkKind, isBusy: () => boolean = () => false): LookedFor {
    return { mayBe: () => isBusy() || this.mayBe(kind), onCame: (callback) => this.onCame(kind, callback) };
  }

  /** Called when some has come where there was none. Returns the unsubscription. */
  onCame(kind: WorkKind, callback: () => void): () => void {
    const entry = (): void => callback();
    this.#listeners[kind].add(entry);
    return () => this.#listeners[kind].delete(entry);
  }
}
