// The judge of a chaos run: pure, so that each fault can be made up and must be found (checker.test.ts).
// In: what the writers were told and what the database holds. Out: every way in which the two do not agree. Called by chaos.pg.test.ts.
import type { RecordedRevision, RunHistory, Sets, WriteAttempt } from "./history.js";

/** Each list is empty after a good run; texts name the token or the revision. */
export interface Verdict {
  /** Acknowledged, in no revision, and not told as lost by the product. */
  readonly lost: readonly string[];
  /** In more than one revision. */
  readonly twice: readonly string[];
  /** Told as not done, and in a revision. */
  readonly undead: readonly string[];
  /** Acknowledged with one revision number, and written under another. */
  readonly misnumbered: readonly string[];
  /** A revision that holds less, more or other than its write. */
  readonly torn: readonly string[];
  /** Of nobody's write. */
  readonly strange: readonly string[];
  /** Revision numbers that are missing, or there twice; or a counter that is not the last one. */
  readonly gaps: readonly string[];
  /** A change whose `before` is not the `after` of the change before it. */
  readonly leaps: readonly string[];
  /** Objects that are not what the last change made of them. */
  readonly drifted: readonly string[];
  /** Where the hash chain does not hold. */
  readonly chain: readonly string[];
  /** Replicas that do not serve the newest revision. */
  readonly behind: readonly string[];
}

/** Finds everything that must not be. */
export function judge(history: RunHistory): Verdict {
  const byToken = new Map<string, RecordedRevision[]>();
  for (const revision of history.revisions) {
    const same = byToken.get(revision.token);
    if (same) same.push(revision);
    else byToken.set(revision.token, [revision]);
  }
  const attempts = new Map(history.attempts.map((attempt) => [attempt.token, attempt]));
  const there = (attempt: WriteAttempt): readonly RecordedRevision[] => byToken.get(attempt.token) ?? [];
  const isMissing = (attempt: WriteAttempt): boolean => attempt.outcome === "acked" && there(attempt).length === 0;
  const tokens = (wrong: (attempt: WriteAttempt) => boolean): string[] =>
    history.attempts.filter(wrong).map(({ token }) => token);
  const isTold = ({ revision = 0 }: WriteAttempt): boolean =>
    (history.toldLost ?? []).some(([from, to]) => from <= revision && revision <= to);
  return {
    lost: tokens((attempt) => isMissing(attempt) && !isTold(attempt)),
    twice: tokens((attempt) => there(attempt).length > 1),
    undead: tokens((attempt) => attempt.outcome === "refused" && there(attempt).length > 0),
    misnumbered: tokens(
      (attempt) =>
        attempt.outcome === "acked" &&
        there(attempt).length > 0 &&
        !there(attempt).some(({ revision }) => revision === attempt.revision),
    ),
    torn: tokens((attempt) => there(attempt).some((revision) => !isWhole(revision, attempt.sets))),
    strange: [...byToken.keys()].filter((token) => !attempts.has(token)),
    gaps: gapsIn(history),
    ...replayed(history),
    chain: chainBreaks(history),
    behind: Object.entries(history.served)
      .filter(([, revision]) => revision !== history.counter)
      .map(([replica, revision]) => `${replica} serves ${revision}, and the newest is ${history.counter}`),
  };
}

/** How many acknowledged writes are in no revision, told or not. */
export function countMissing({ attempts, revisions }: RunHistory): number {
  const tokens = new Set(revisions.map(({ token }) => token));
  return attempts.filter(({ outcome, token }) => outcome === "acked" && !tokens.has(token)).length;
}

/** The lists of a verdict that are not empty, for people: `lost 3: a, b, c`. */
export function faultsIn(verdict: Verdict): readonly string[] {
  return Object.entries(verdict)
    .filter(([, found]: [string, readonly string[]]) => found.length > 0)
    .map(([what, found]: [string, readonly string[]]) => `${what} ${found.length}: ${found.slice(0, 5).join(", ")}`);
}

function isWhole({ changes }: RecordedRevision, sets: Sets): boolean {
  const made = new Map(changes.map(({ name, after }) => [name, after]));
  const wanted = Object.entries(sets);
  return made.size === wanted.length && wanted.every(([name, value]) => made.has(name) && made.get(name) === value);
}

function gapsIn({ initial, revisions, counter }: RunHistory): string[] {
  const before = initial?.revision ?? 0;
  const wrong = revisions.flatMap(({ revision }, index) => {
    const expected = (revisions[index - 1]?.revision ?? before) + 1;
    return revision === expected ? [] : [`${revision} where ${expected} should be`];
  });
  const last = revisions.at(-1)?.revision ?? before;
  return counter === last ? wrong : [...wrong, `the counter says ${counter}, and ${last} is the last`];
}

/** Runs through the changes from the beginning: each must begin where the last one ended, and the tables where all have ended. */
function replayed({ initial, revisions, objects }: RunHistory): Pick<Verdict, "leaps" | "drifted"> {
  const state = new Map(Object.entries(initial?.objects ?? {}));
  const leaps: string[] = [];
  for (const { revision, changes } of revisions) {
    for (const { name, before, after } of changes) {
      if (state.get(name) !== before) leaps.push(`${name} in revision ${revision}`);
      if (after === undefined) state.delete(name);
      else state.set(name, after);
    }
  }
  const names = new Set([...state.keys(), ...Object.keys(objects)]);
  return { leaps, drifted: [...names].filter((name) => state.get(name) !== objects[name]) };
}

function chainBreaks({ revisions, auditBreak }: RunHistory): string[] {
  const links = revisions.flatMap(({ revision, previousHash }, index) => {
    const before = revisions[index - 1];
    return before === undefined || before.hash === previousHash ? [] : [`${revision} does not follow ${before.revision}`];
  });
  return auditBreak === undefined ? links : [...links, auditBreak];
}
