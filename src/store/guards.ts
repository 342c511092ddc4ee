// Guards against a change that takes too much at once (DESIGN §7): a list that came back empty, a script with the wrong filter.
// In: the net changes of a transaction, before its commit. Out: nothing, or `guard_refused` with the figures and what overrides it.
// Counts are those that the newest revision recorded. Called by write.ts, for dry runs too.
import { AppError } from "../errors.js";
import type { countGuards, Guard } from "../model/guard.js";
import { type Kind, kinds } from "../model/revision.js";
import { space } from "./objects.js";
import { type CountColumns, fromCountColumns, type ObjectCounts } from "./revisions.js";
import type { Transaction } from "./transaction.js";
import type { RowChange } from "./write-tx.js";

/** Fewer than so many gone are never too many. */
const minGone = 5;
/** More of what was there than this is too much in one revision. */
const maxGonePercent = 30;
/** kind → objects that one configuration may hold; above it Envoys and control planes have not been tried. */
export const maxObjects: ObjectCounts = { cluster: 50_000, endpoint: 500_000, listener: 10_000, route: 100_000 };

/** One guard that says no, with its figures. */
export interface GuardFault {
  readonly guard: (typeof countGuards)[number];
  readonly kind: Kind;
  /** Whose enabled endpoints are counted; left out: all objects of the kind. */
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
  /** cluster → its enabled endpoints before the changes, for those that lose some and stay. */
  readonly endpoints: ReadonlyMap<string, number>;
}

/** What the changes take and bring. */
interface Tally {
  readonly gone: readonly RowChange[];
  readonly created: readonly RowChange[];
  /** Enabled endpoints that go, or are disabled. */
  readonly out: readonly RowChange[];
  /** Endpoints that come enabled, or are enabled. */
  readonly in: readonly RowChange[];
}

function tally(changes: readonly RowChange[]): Tally {
  const endpoints = changes.filter(({ kind }) => kind === "endpoint");
  return {
    gone: changes.filter(({ after }) => isAbsent(after)),
    created: changes.filter(({ before }) => isAbsent(before)),
    out: endpoints.filter(({ before, after }) => isEnabled(before) && !isEnabled(after)),
    in: endpoints.filter(({ before, after }) => !isEnabled(before) && isEnabled(after)),
  };
}

function isAbsent(spec: unknown): boolean {
  return spec === undefined || spec === null;
}

/** Of an endpoint's spec. */
function isEnabled(spec: unknown): boolean {
  return typeof spec === "object" && spec !== null && "enabled" in spec && spec.enabled === true;
}

function clusterOf(name: string): string {
  return name.split("/")[0] ?? "";
}

/** One object, and a cluster's endpoints with it: who deletes that by its name means it. */
export function isSingleRemoval(changes: readonly RowChange[]): boolean {
  return isSingle(tally(changes).gone);
}

/** The same, or one endpoint that is disabled. */
function takesOne({ gone, out }: Tally): boolean {
  return isSingle([...new Set([...gone, ...out])]);
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
  const all = tally(changes);
  const { gone, created } = all;
  const mayTake = takesOne(all);
  const ofKinds = kinds.flatMap((kind): GuardFault[] => {
    const figures = figuresOf(counts.kinds[kind], countOf(gone, kind), countOf(created, kind));
    const maximum = maximums[kind];
    const isTooBig = figures.after > maximum && figures.after > figures.before;
    return [
      ...(mayTake ? [] : takingFaults(kind, figures, all)),
      ...(isTooBig ? [{ guard: "size" as const, kind, ...figures, maximum }] : []),
    ];
  });
  return mayTake ? ofKinds : [...ofKinds, ...clusterFaults(all, counts.endpoints)];
}

/**
 * A set of endpoints is judged by how many are left to serve: others in place of those that go are as good, which is how a fleet is
 * replaced at once. Routes, listeners and clusters are not like that: others are others, and each that goes counts.
 */
function clusterFaults(all: Tally, endpoints: GuardedCounts["endpoints"]): readonly GuardFault[] {
  return [...endpoints].flatMap(([cluster, before]): GuardFault[] => {
    const own = (changes: readonly RowChange[]): number => changes.filter(({ name }) => clusterOf(name) === cluster).length;
    const figures = figuresOf(before, own(all.out), own(all.in));
    const fault = { kind: "endpoint" as const, cluster, ...figures };
    if (figures.gone > 1 && figures.after <= 0) return [{ guard: "emptied", ...fault }];
    return isTooMuch(figures.before - figures.after, before) ? [{ guard: "shrink", ...fault }] : [];
  });
}

type Figures = Pick<GuardFault, "before" | "gone" | "after">;

function figuresOf(before: number, gone: number, created: number): Figures {
  return { before, gone, after: before - gone + created };
}

function countOf(changes: readonly RowChange[], wanted: Kind): number {
  return changes.filter(({ kind }) => kind === wanted).length;
}

function isTooMuch(gone: number, of: number): boolean {
  return gone >= minGone && gone * 100 > of * maxGonePercent;
}

function takingFaults(kind: Kind, figures: Figures, { gone, out }: Tally): readonly GuardFault[] {
  if (figures.gone > 0 && figures.after <= 0) return [{ guard: "emptied", kind, ...figures }];
  // Disabled endpoints that go are no loss: they took nothing.
  const idle = kind === "endpoint" ? figures.gone - gone.filter((one) => out.includes(one)).length : 0;
  const lost = kind === "endpoint" ? figures.before - figures.after - idle : figures.gone;
  return isTooMuch(lost, figures.before) ? [{ guard: "shrink", kind, ...figures }] : [];
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
  const all = tally(changes);
  if (all.created.length === 0 && takesOne(all)) return;
  const faults = guardFaults(changes, await readCounts(transaction, all));
  const standing = faults.filter(({ guard }) => !overrides.includes(guard));
  if (standing.length > 0) throw refusal(standing);
}

async function readCounts(transaction: Transaction, all: Tally): Promise<GuardedCounts> {
  const [row] = await transaction.query<CountColumns & { readonly [column: string]: number }>(
    "select clusters, endpoints, listeners, routes from revision_counter",
  );
  const counted = row ? fromCountColumns(row) : { cluster: 0, endpoint: 0, listener: 0, route: 0 };
  const removed = new Set(all.gone.flatMap(({ kind, name }) => (kind === "cluster" ? name : [])));
  /** cluster → enabled endpoints that it loses, and that it gains. */
  const moved = new Map<string, { out: number; in: number }>();
  for (const what of ["out", "in"] as const) {
    for (const { name } of all[what]) {
      const cluster = clusterOf(name);
      if (removed.has(cluster)) continue;
      const of = moved.get(cluster) ?? { out: 0, in: 0 };
      moved.set(cluster, { ...of, [what]: of[what] + 1 });
    }
  }
  const losing = [...moved].filter(([, of]) => of.out > of.in && of.out > 1);
  if (losing.length === 0) return { kinds: counted, endpoints: new Map() };
  const now = await transaction.query<{ cluster: string; enabled: number }>(
    `select cluster, count(*) filter (where (spec->>'enabled')::boolean) as enabled from endpoints
      where space = $1 and cluster = any($2) group by cluster`,
    [space, losing.map(([cluster]) => cluster)],
  );
  const left = new Map(now.map(({ cluster, enabled }) => [cluster, enabled]));
  return {
    kinds: counted,
    endpoints: new Map(losing.map(([cluster, of]) => [cluster, (left.get(cluster) ?? 0) + of.out - of.in])),
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
      return `none of ${before} ${cluster === undefined ? `${kind}s` : `enabled endpoints of cluster ${cluster}`} would be left`;
    case "shrink": {
      const of = cluster === undefined ? `${kind}s` : `enabled endpoints of cluster ${cluster}`;
      const lost = kind === "endpoint" ? before - after : gone;
      return `${lost} of ${before} ${of} (${Math.round((lost / before) * 100)} %) would be gone in one revision`;
    }
    case "size":
      return `there would be ${after} ${kind}s, and ${maximum} are the most`;
  }
}
