// What became of a write, in words.
import { expect, test } from "vitest";
import { ApiRefusal } from "../../../src/cli/api-client.js";
import { outcomeLines, refusalLines, report } from "../../../src/cli/outcome.js";

const sync = {
  gateways: {
    edge: {
      total: 3,
      acked: 1,
      refused: [{ node: "edge-2", type: "listener", resource: "web", detail: "cannot bind" }],
      lagging: ["edge-3"],
      gone: [],
    },
  },
  replicasBehind: [],
};

test("who has it, who refused and who is late are told by name", () => {
  expect(outcomeLines("route x: changed", { status: 202, body: { revision: 7, sync } })).toEqual([
    "route x: changed (revision 7)",
    "  edge: 1 of 3 Envoys have it",
    "    edge-2 refused listener web: cannot bind",
    "    waiting for edge-3",
  ]);
});

test("a gateway that nobody serves is no success in disguise", () => {
  const nobody = { gateways: { edge: { total: 0, acked: 0, refused: [], lagging: [], gone: [] } } };
  expect(outcomeLines("x", { status: 200, body: { revision: 7, sync: nobody } })[1]).toBe(
    "  edge: no Envoy is connected that this changes",
  );
});

test("a write that changed nothing says so", () => {
  expect(outcomeLines("x", { status: 200, body: { revision: 7, changed: false } })).toEqual(["x (nothing to change)"]);
});

test("what is not confirmed in time is a failure, after what is known was printed", () => {
  const lines: string[] = [];
  expect(() => report((line) => lines.push(line), "x", { status: 202, body: { revision: 7, sync } })).toThrow(
    /not every Envoy confirmed/,
  );
  expect(lines[0]).toBe("x (revision 7)");
});

test("an Envoy's refusal is told in its own words, an API's refusal in the API's", () => {
  const byEnvoy = new ApiRefusal(409, "refused_by_envoy", [], { revision: 7, sync }, "too long a sentence");
  expect(refusalLines(byEnvoy)).toContain("    edge-2 refused listener web: cannot bind");
  expect(refusalLines(byEnvoy)[0]).toMatch(/^Revision 7 is committed/);
  expect(refusalLines(new ApiRefusal(404, "not_found", [], {}, "There is no such object."))).toEqual([
    "There is no such object.",
  ]);
});
