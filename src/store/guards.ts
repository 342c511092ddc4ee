// Guards against a change that takes too much at once (DESIGN §7): a list that came back empty, a script with the wrong filter.
// In: the net changes of a transaction, before its commit. Out: nothing, or `guard_refused` with the figures and what overrides it.
// Counts are those that the newest revision recorded. Called by write.ts, for dry runs too.
import { AppError } from "../errors.js";
import { type Kind, kinds } from "../model/revision.js";
import { space } from "./objects.js";
import { type CountColumns, fromCountColumns, type ObjectCounts } from "./revisions.js";
import type { Transaction } from "./transaction.js";
import type { RowChange } from "./write-tx.js";

/**
 * emptied: none of a kind would be left. shrink: too much of a kind, or of one cluster's endpoints, would be gone. size: too many.
 * drain: what is being drained would go (drain-guard.ts). last-endpoint: a drain would leave a cluster without any (api/drain-start.ts).
 */
export type Guard = "emptied" | "shrink" | "size" | "drain" | "last-endpoint";

/** Fewer than so many gone are never too many. */
const minGone = 5;
/** More of what was there than this is too much in one revision. */
const maxGonePercent = 30;
/** kind → objects that one configuration may hold; above it Envoys and control planes have not been tried. */
export const maxObjects: ObjectCounts = { cluster: 50_000, endpoint: 500_000, listener: 10_000, route: 100_000 };

/** One guard that says no, with its figures. */
export interface GuardFault {
  readonly guard: Extract<Guard, "emptied" | "shrink" | "size">;
  readonly kind: Kind;
  /** Of endpoints that would be gone from one cluster. */
  readonly cluster?: string;
  readonly before: number;
  readonly gone: number;
  readonly after: number;
  readonly maximum?: number;
}

/** What a guard compares the changes with. */
export interface GuardedCounts {
  /** Objects of each kind before the changes. */
  readonly kinds: ObjectCounts;
  /** cluster → its endpoints before the changes, for those that lose some and stay. */
  readonly endpoints: ReadonlyMap<string, number>;
}

/** What the changes take and bring. */
interface Tally {
  readonly gone: readonly RowChange[];
  readonly created: readonly RowChange[];
}

function tally(changes: readonly RowChange[]): Tally {
  return {
    gone: changes.filter(({ after }) => isAbsent(after)),
    created: changes.filter(({ before }) => isAbsent(before)),
  };
}

function isAbsent(spec: unknown): boolean {
  return spec === undefined || spec === null;
}

function clusterOf(name: string): string {
  return name.split("/")[0] ?? "";
}

/** One object, and a cluster's endpoints with it: who deletes that by its name means it. */
export function isSingleRemoval(changes: readonly RowChange[]): boolean {
  return isSingle(tally(changes).gone);
}

function isSingle(gone: readonly RowChange[]): boolean {
  if (gone.length <= 1) return true;
  const [first, ...others] = gone.filter(({ kind }) => kind !== "endpoint");
  if (first?.kind !== "cluster" || others.length > 0) return false;
  return gone.every(({ kind, name }) => kind !== "endpoint" || clusterOf(name) === first.name);
}

/** Every guard that says no to the changes; the pure part. */
export function guardFaults(
  changes: readonly RowChange[],
  counts: GuardedCounts,
  maximums: ObjectCounts = maxObjects,
): readonly GuardFault[] {
  const { gone, created } = tally(changes);
  const mayTake = isSingle(gone);
  const ofKinds = kinds.flatMap((kind): GuardFault[] => {
    const figures = figuresOf(counts.kinds[kind], countOf(gone, kind), countOf(created, kind));
    const maximum = maximums[kind];
    const isTooBig = figures.after > maximum && figures.after > figures.before;
    return [
      ...(mayTake ? [] : takingFaults(kind, figures)),
      ...(isTooBig ? [{ guard: "size" as const, kind, ...figures, maximum }] : []),
    ];
  });
  if (mayTake) return ofKinds;
  const ofClusters = [...counts.endpoints].flatMap(([cluster, before]): GuardFault[] => {
    const isOwn = ({ kind, name }: RowChange): boolean => kind === "endpoint" && clusterOf(name) === cluster;
    const figures = figuresOf(before, gone.filter(isOwn).length, created.filter(isOwn).length);
    return shrinks(figures) ? [{ guard: "shrink", kind: "endpoint", cluster, ...figures }] : [];
  });
  return [...ofKinds, ...ofClusters];
}

type Figures = Pick<GuardFault, "before" | "gone" | "after">;

function figuresOf(before: number, gone: number, created: number): Figures {
  return { before, gone, after: before - gone + created };
}

function countOf(changes: readonly RowChange[], wanted: Kind): number {
  return changes.filter(({ kind }) => kind === wanted).length;
}

/** What comes in place of what goes does not make it less: another list may be the wrong list. */
function shrinks({ before, gone }: Figures): boolean {
  return gone >= minGone && gone * 100 > before * maxGonePercent;
}

function takingFaults(kind: Kind, figures: Figures): readonly GuardFault[] {
  if (figures.gone > 0 && figures.after <= 0) return [{ guard: "emptied", kind, ...figures }];
  return shrinks(figures) ? [{ guard: "shrink", kind, ...figures }] : [];
}

/**
 * Reads the counts only where a guard could say no: changes that neither make nor take objects cost nothing.
 * @throws guard_refused
 */
export async function checkGuards(
  transaction: Transaction,
  changes: readonly RowChange[],
  overrides: readonly Guard[],
): Promise<void> {
  const { gone, created } = tally(changes);
  if (created.length === 0 && isSingle(gone)) return;
  const faults = guardFaults(changes, await readCounts(transaction, gone, created));
  const standing = faults.filter(({ guard }) => !overrides.includes(guard));
  if (standing.length > 0) throw refusal(standing);
}

async function readCounts(
  transaction: Transaction,
  gone: readonly RowChange[],
  created: readonly RowChange[],
): Promise<GuardedCounts> {
  const [row] = await transaction.query<CountColumns & { readonly [column: string]: number }>(
    "select clusters, endpoints, listeners, routes from revision_counter",
  );
  const counted = row ? fromCountColumns(row) : { cluster: 0, endpoint: 0, listener: 0, route: 0 };
  const removed = new Set(gone.flatMap(({ kind, name }) => (kind === "cluster" ? name : [])));
  /** cluster → endpoints that it loses, less those that it gains. */
  const lost = new Map<string, { gone: number; created: number }>();
  for (const [list, what] of [
    [gone, "gone"],
    [created, "created"],
  ] as const) {
    for (const { kind, name } of list) {
      const cluster = clusterOf(name);
      if (kind !== "endpoint" || removed.has(cluster)) continue;
      const of = lost.get(cluster) ?? { gone: 0, created: 0 };
      lost.set(cluster, { ...of, [what]: of[what] + 1 });
    }
  }
  const losing = [...lost].filter(([, of]) => of.gone >= minGone);
  if (losing.length === 0) return { kinds: counted, endpoints: new Map() };
  const now = await transaction.query<{ cluster: string; endpoints: number }>(
    "select cluster, count(*) as endpoints from endpoints where space = $1 and cluster = any($2) group by cluster",
    [space, losing.map(([cluster]) => cluster)],
  );
  const left = new Map(now.map(({ cluster, endpoints }) => [cluster, endpoints]));
  return {
    kinds: counted,
    endpoints: new Map(losing.map(([cluster, of]) => [cluster, (left.get(cluster) ?? 0) + of.gone - of.created])),
  };
}

function refusal(faults: readonly GuardFault[]): AppError {
  const needed = [...new Set(faults.map(({ guard }) => guard))];
  const detail = `${faults.map(sentence).join("; ")}. If that is meant, override ${needed.join(",")}: it is recorded with the revision.`;
  return new AppError("guard_refused", { guards: faults, override: needed, detail });
}

function sentence({ guard, kind, cluster, before, gone, after, maximum }: GuardFault): string {
  switch (guard) {
    case "emptied":
      return `none of ${before} ${kind}s would be left`;
    case "shrink": {
      const of = cluster === undefined ? `${kind}s` : `endpoints of cluster ${cluster}`;
      return `${gone} of ${before} ${of} (${Math.round((gone / before) * 100)} %) would be gone in one revision`;
    }
    case "size":
      return `there would be ${after} ${kind}s, and ${maximum} are the most`;
  }
}
