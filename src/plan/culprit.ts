// Who of many is at fault, by halving: a refusal of a whole says little. In: suspects, and a way to ask about some of them.
// Out: the one that is refused by itself, if there is one. Called by validate.ts.

/** What asking about some suspects can come to; `unknown` ends the search. */
export type Answer = "accepted" | "refused" | "unknown";

/**
 * At most 2 questions for each halving: 20 for 1,000 suspects. undefined: none alone is at fault (they are so only together, or with
 * something that is no suspect), or the search was ended.
 */
export async function findCulprit<T>(
  suspects: readonly T[],
  ask: (some: readonly T[]) => Promise<Answer>,
): Promise<T | undefined> {
  let left = suspects;
  while (left.length > 1) {
    const middle = Math.ceil(left.length / 2);
    const halves = [left.slice(0, middle), left.slice(middle)];
    let guilty: readonly T[] | undefined;
    for (const half of halves) {
      const answer = await ask(half);
      if (answer === "unknown") return undefined;
      if (answer === "accepted") continue;
      guilty = half;
      break;
    }
    if (!guilty) return undefined;
    left = guilty;
  }
  const [only] = left;
  // With one suspect from the start nothing has been asked yet.
  return only !== undefined && (suspects.length > 1 || (await ask([only])) === "refused") ? only : undefined;
}
