// The judge of what Envoys got: nothing older after something newer of one history, and nothing that nobody committed.
// Pure, so that each fault can be made up and must be found (order-checker.test.ts). In: what each Envoy got, in its order over all of its
// streams, and what the tables say of each history. Out: every place where they do not agree. Called by faulty-run.ts.
import type { RecordedChange } from "./history.js";

/** One history, as the tables of its primary tell it. */
export interface Timeline {
  /** The newest revision that it has in common with the history before; of the first one: 0. */
  readonly fork: number;
  readonly changes: ReadonlyMap<number, readonly RecordedChange[]>;
}

/** A form of a resource as it came: the hash of its bytes, and the revision at which its replica encoded it. */
export interface SeenVersion {
  readonly hash: string;
  readonly revision: number;
}

/** What one Envoy got. */
export interface Sightings {
  readonly node: string;
  /** object → the numbers that it held, as they came; repeats left out. Named as in a Sets. */
  readonly numbers: ReadonlyMap<string, readonly number[]>;
  /** resource → its versions as they came; repeats of a hash left out. */
  readonly versions: ReadonlyMap<string, readonly SeenVersion[]>;
}

interface Step {
  readonly revision: number;
  readonly value: number;
}

/** An empty list after a good run; texts name node, object, and what came after what. */
export function findRegressions(all: readonly Sightings[], histories: readonly Timeline[]): string[] {
  const steps = new Map<string, readonly (readonly Step[])[]>();
  const forks = histories.map(({ fork }) => fork);
  const stepsOf = (name: string): readonly (readonly Step[])[] => {
    const known = steps.get(name) ?? histories.map((history) => stepsIn(history, name));
    steps.set(name, known);
    return known;
  };
  return all.flatMap(({ node, numbers, versions }) => [
    ...[...numbers].flatMap(([name, seen]) =>
      wrongNumbers(seen, stepsOf(name), forks).map((text) => `${node}, ${name}: ${text}`),
    ),
    ...[...versions].flatMap(([name, seen]) => wrongVersions(seen, forks).map((text) => `${node}, ${name}: ${text}`)),
  ]);
}

function stepsIn({ changes }: Timeline, name: string): Step[] {
  return [...changes]
    .sort(([a], [b]) => a - b)
    .flatMap(([revision, made]) =>
      made.flatMap((change) => (change.name === name && change.after !== undefined ? [{ revision, value: change.after }] : [])),
    );
}

/**
 * Where the Envoy is, is a history and a place in it. It may go on in that history, or over to a later one, and there not before the fork:
 * what is older than that was overtaken in both.
 */
function wrongNumbers(seen: readonly number[], histories: readonly (readonly Step[])[], forks: readonly number[]): string[] {
  const wrong: string[] = [];
  let [at, place] = [0, 0];
  let last: number | undefined;
  for (const value of seen) {
    const next = histories.flatMap((steps, history) => {
      if (history < at) return [];
      const least = history === at ? place : lastBefore(steps, forks[history] ?? 0);
      const found = steps.findIndex((step, index) => index >= least && step.value === value);
      return found < 0 ? [] : [{ history, found }];
    })[0];
    if (next) [at, place] = [next.history, next.found];
    else {
      const isKnown = histories.some((steps) => steps.some((step) => step.value === value));
      wrong.push(isKnown ? `${value} came after ${last}, which is newer` : `${value} was never committed`);
    }
    last = value;
  }
  return wrong;
}

/** The place of what held at the fork. */
function lastBefore(steps: readonly Step[], fork: number): number {
  return Math.max(
    0,
    steps.findLastIndex(({ revision }) => revision <= fork),
  );
}

/** What is encoded at a lower revision and differs is older, but for one step back over each fork, to what was encoded after it. */
function wrongVersions(seen: readonly SeenVersion[], forks: readonly number[]): string[] {
  const wrong: string[] = [];
  let allowed = forks.length - 1;
  for (const [index, { revision, hash }] of seen.entries()) {
    const before = seen[index - 1];
    if (!before || revision >= before.revision) continue;
    if (allowed > 0 && forks.slice(1).some((fork) => revision >= fork && before.revision > fork)) allowed -= 1;
    else wrong.push(`version ${hash}.${revision} came after ${before.hash}.${before.revision}`);
  }
  return wrong;
}
