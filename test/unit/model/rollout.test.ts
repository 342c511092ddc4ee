// Who is in a stage: as many as asked for, the same on every replica, and whoever is in a stage is in all later ones.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cohortOf, positionOf, type RolloutStage, sees, wholeShare } from "../../../src/model/rollout.js";

const nodesOf = (count: number): string[] => Array.from({ length: count }, (_, index) => `edge-${index}`);
const overlay = (share: number) => ({ name: "r1", changes: [], shares: new Map([["edge", share]]) });

describe("the cohort of a stage", () => {
  test("is as large as asked for, rounded up, and the share holds exactly it", () => {
    // Mutants: a share one too small (the last of them does not see it); rounding down (10 % of 5 is nobody).
    const stage = fc.oneof(
      fc.record({ nodes: fc.integer({ min: 1, max: 50 }) }),
      fc.record({ percent: fc.integer({ min: 1, max: 100 }) }),
    );
    fc.assert(
      fc.property(stage, fc.integer({ min: 0, max: 60 }), (wanted: RolloutStage, count) => {
        const nodes = nodesOf(count);
        const cohort = cohortOf("r1", wanted, nodes);
        const size = "nodes" in wanted ? Math.min(wanted.nodes, count) : Math.ceil((count * wanted.percent) / 100);
        expect(cohort.nodes).toHaveLength(size);
        expect(nodes.filter((node) => sees(overlay(cohort.share), "edge", node)).sort()).toEqual(cohort.nodes);
      }),
      { seed: 4, numRuns: 300 },
    );
  });
  test("grows: whoever is in a stage is in the next", () => {
    // Mutant: positions drawn anew for each stage: Envoys would go back and forth.
    const [first, second] = [cohortOf("r1", { nodes: 3 }, nodesOf(40)), cohortOf("r1", { percent: 25 }, nodesOf(40))];
    expect(second.nodes).toEqual(expect.arrayContaining([...first.nodes]));
  });
  test("is another one in another rollout", () => {
    // Mutant: a position by the node alone: the same Envoy would go first each time.
    const firsts = new Set(Array.from({ length: 20 }, (_, at) => cohortOf(`r${at}`, { nodes: 1 }, nodesOf(20)).nodes[0]));
    expect(firsts.size).toBeGreaterThan(5);
  });
  test("of another gateway, or of no share, is nobody; a whole share is everybody", () => {
    expect(sees(overlay(wholeShare), "inner", "edge-1")).toBe(false);
    expect(nodesOf(50).some((node) => sees(overlay(0), "edge", node))).toBe(false);
    expect(nodesOf(50).every((node) => sees(overlay(wholeShare), "edge", node))).toBe(true);
    expect(positionOf("r1", "edge-1")).toBe(positionOf("r1", "edge-1"));
  });
});
