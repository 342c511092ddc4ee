// What the work of a mutating call leaves behind in its transaction. In: the noun files. Out: writes.ts, which answers with it.
import type { Lint } from "../model/lint.js";
import type { Revision } from "../model/revision.js";
import type { AppliedObjects } from "../store/store.js";
import type { PlannedRebalance, RebalanceBody } from "./rebalance-body.js";

/** What the work leaves behind. */
export interface Outcome {
  /** As the answer shows it: after a removal, as it was. */
  readonly object: unknown;
  /** Under which name the answer shows it; left out: `object`. */
  readonly as?: "objects";
  /** In which it last changed before this write; 0 when it is new. Told when this write changes nothing. */
  readonly revision: Revision;
  readonly created: boolean;
  /** False: the answer has no ETag (sets, removals). */
  readonly tagged: boolean;
  readonly lint: readonly Lint[];
  /** Objects that belong to a set of files from then on. */
  readonly applied?: AppliedObjects;
  /** Of a shift of weights: what is begun for long connections, or, with a dry run, what would be. */
  readonly rebalance?: { readonly begun: RebalanceBody; readonly planned: PlannedRebalance };
  /** Of a write that was staged: the name of its rollout. */
  readonly rollout?: string;
}
