// When an Envoy is known to have no listeners: in the view of a drained one, asked for, and settled on every stream that asks for them.
// Mutants tried and caught: the view alone; a stream that is not settled; one that does not ask for listeners.
import { expect, test } from "vitest";
import type { ResourceType } from "../../../src/model/resource-type.js";
import { FleetNode } from "../../../src/status/fleet-node.js";
import type { NodeReport } from "../../../src/status/node-report.js";

interface Said {
  readonly view?: string;
  readonly asks?: readonly ResourceType[];
  readonly unsettled?: boolean;
}

function nodeOf({ view = "edge/~drained", asks = ["cluster", "listener"], unsettled = false }: Said): FleetNode {
  const report: NodeReport = {
    node: { id: "edge-1", gateway: "edge", region: "", zone: "", envoyVersion: "" },
    view,
    kind: "ads-delta",
    openedAt: 1,
    ordinal: 1,
    subscribes: (type) => asks.includes(type),
    ackedRevision: () => 7,
    isUnsettled: (type) => type === "listener" && unsettled,
    exceptions: () => [],
  };
  const node = new FleetNode("edge-1");
  node.setOpen(report, true);
  return node;
}

test("a drained Envoy has no listeners once its stream has nothing left to say about them", () => {
  expect(nodeOf({}).hasNoListeners).toBe(true);
  expect(nodeOf({ unsettled: true }).hasNoListeners).toBe(false);
  expect(nodeOf({ asks: ["cluster"] }).hasNoListeners).toBe(false);
  for (const view of ["edge", "edge/~lame-duck", "edge/try"]) expect(nodeOf({ view }).hasNoListeners).toBe(false);
  expect(new FleetNode("edge-1").hasNoListeners).toBe(false);
});
