// What a chaos run leaves behind, in two halves: what the writers were told, and what the database holds after the last fault.
// In: nothing. Out: shapes only. Written by writers.ts and evidence.ts, judged by checker.ts.

/**
 * name → the number that the object holds after the write; undefined: it is gone. A cluster goes by its name and holds the number as its
 * bound of connections; a route is `route <name>` and holds it as its timeout.
 */
export type Sets = Readonly<Record<string, number | undefined>>;

/** One write as its writer knows it. `token` is in no other write, and travels with it as the reason of its revision. */
export interface WriteAttempt {
  readonly token: string;
  readonly sets: Sets;
  /** acked: an answer said that it is committed. refused: an answer said that it is not. unknown: the run ended before an answer. */
  readonly outcome: "acked" | "refused" | "unknown";
  /** As the answer said; of an acked write only. */
  readonly revision: number | undefined;
  /** Requests that were sent for it. */
  readonly tries: number;
}

/** One change of one object, in a revision. undefined: the object was not there. */
export interface RecordedChange {
  readonly name: string;
  readonly before: number | undefined;
  readonly after: number | undefined;
}

/** One row of `revisions`, with its changes. */
export interface RecordedRevision {
  readonly revision: number;
  readonly token: string;
  readonly hash: string;
  readonly previousHash: string;
  readonly changes: readonly RecordedChange[];
}

/** All that a run can be judged by. */
export interface RunHistory {
  readonly attempts: readonly WriteAttempt[];
  /** What the objects were when the writers began; left out: there were none, and no revision. */
  readonly initial?: { readonly revision: number; readonly objects: Readonly<Record<string, number>> };
  /** Since then, sorted by revision. */
  readonly revisions: readonly RecordedRevision[];
  /** What revision_counter says. */
  readonly counter: number;
  /** Objects as their table has them now: name → number. */
  readonly objects: Readonly<Record<string, number>>;
  /** The first place where `GET /v1/audit` finds the history edited, in its words; undefined: it is whole. */
  readonly auditBreak: string | undefined;
  /** replica → the revision that it serves, some seconds after the last fault. */
  readonly served: Readonly<Record<string, number>>;
  /** Revisions that the product itself told as lost, after a failover to a standby that lagged: from and to, both included. */
  readonly toldLost?: readonly (readonly [number, number])[];
}
