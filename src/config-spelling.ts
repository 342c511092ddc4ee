// "Did you mean …?" for a misspelt key. Pure. Called by: config.ts.

/** Edits (insert, delete, replace, swap of neighbours) that make `from` into `to`. */
function editDistance(from: string, to: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    for (let column = 1; column <= to.length; column++) {
      const same = from[row - 1] === to[column - 1];
      let best = Math.min(
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + (same ? 0 : 1),
      );
      if (row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1])
        best = Math.min(best, (before[column - 2] ?? 0) + 1);
      current.push(best);
    }
    before = previous;
    previous = current;
  }
  return previous[to.length] ?? 0;
}

/** The known word that `given` most likely is: at most one edit per 8 letters (never more than 3) away. undefined: none is near. */
export function nearest(given: string, known: readonly string[]): string | undefined {
  const allowed = Math.min(3, Math.max(1, Math.floor(given.length / 8)));
  let found: { word: string; distance: number } | undefined;
  for (const word of known) {
    if (Math.abs(word.length - given.length) > allowed) continue;
    const distance = editDistance(given.toUpperCase(), word.toUpperCase());
    if (distance <= allowed && distance < (found?.distance ?? Number.POSITIVE_INFINITY)) found = { word, distance };
  }
  return found?.word;
}
