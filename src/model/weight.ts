// Weights that add up to one fixed total, whatever the numbers that people wrote. Pure. Called by translate/ for HTTP splits.

/** A sticky canary keeps its users only if the sum of the weights never changes (facts: 0 of 54 kept otherwise). */
export const weightTotal = 10_000;

/**
 * Each weight's share of `total` by largest remainder, in the order given; the shares add up to `total`, or are all 0 when the
 * weights are. A weight above 0 gets at least 1, taken from the largest share: a canary that somebody asked for is never rounded
 * away. Weights are whole and at least 0; at most `total` of them are above 0.
 */
export function toTotal(weights: readonly number[], total: number = weightTotal): number[] {
  const sum = weights.reduce((left, right) => left + right, 0);
  if (sum === 0) return weights.map(() => 0);
  const shares = weights.map((weight) => Math.floor((weight * total) / sum));
  const left = total - shares.reduce((a, b) => a + b, 0);
  // Whole remainders, not fractions: floating point would make equal ones differ. Ties go to the earlier one.
  const byRemainder = weights
    .map((weight, at) => ({ at, remainder: (weight * total) % sum }))
    .sort((a, b) => b.remainder - a.remainder || a.at - b.at);
  for (const { at } of byRemainder.slice(0, left)) shares[at] = (shares[at] ?? 0) + 1;
  for (const [at, weight] of weights.entries()) {
    if (weight === 0 || shares[at] !== 0) continue;
    const largest = shares.indexOf(Math.max(...shares));
    shares[largest] = (shares[largest] ?? 0) - 1;
    shares[at] = 1;
  }
  return shares;
}
