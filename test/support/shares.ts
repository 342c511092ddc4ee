// Is a split what the weights say? Bounds by the binomial distribution, so that a test fails for a fault and not for bad luck.
import { expect } from "vitest";

/** 4 σ: a right split falls outside once in 16,000 times. */
const sigmas = 4;

/** Expects `counts` (backend → answers) to be `weights` within 4 σ. A weight of 0 or of all is exact. */
export function expectShares(counts: ReadonlyMap<string, number>, weights: Readonly<Record<string, number>>): void {
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const sum = Object.values(weights).reduce((all, weight) => all + weight, 0);
  expect(total, "answers").toBeGreaterThan(0);
  for (const [backend, weight] of Object.entries(weights)) {
    const share = weight / sum;
    const allowed = sigmas * Math.sqrt(total * share * (1 - share));
    const message = `${backend} at ${weight} of ${sum}: ${counts.get(backend) ?? 0} of ${total}, wanted ${share * total} ± ${allowed.toFixed(0)}`;
    expect(Math.abs((counts.get(backend) ?? 0) - share * total), message).toBeLessThanOrEqual(allowed);
  }
  const strange = [...counts.keys()].filter((backend) => weights[backend] === undefined);
  expect(strange, "answers from elsewhere").toEqual([]);
}
