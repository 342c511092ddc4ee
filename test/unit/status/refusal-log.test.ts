// New refusals are told once, whatever is read again; other bytes, other routes and other Envoys are other refusals.
import { beforeEach, expect, test } from "vitest";
import type { ResourceException } from "../../../src/model/node.js";
import { FleetNode } from "../../../src/status/fleet-node.js";
import { type NewRefusal, RefusalLog } from "../../../src/status/refusal-log.js";

const refused = (name: string, revision: number, more: Partial<ResourceException> = {}): ResourceException => ({
  type: "listener",
  name,
  parts: undefined,
  kind: "refused",
  revision,
  detail: "no",
  at: 1,
  ...more,
});
let told: NewRefusal[];
let log: RefusalLog;
beforeEach(() => {
  told = [];
  log = new RefusalLog((refusal) => told.push(refusal));
});
const shown = (): string[] => told.map(({ node, resource, parts, revision }) => `${node} ${resource} ${parts ?? ""} ${revision}`);

function answer(node: FleetNode, ...exceptions: ResourceException[]): void {
  node.exceptions = exceptions;
  log.look(node);
}

test("one refusal is told once, though it is read again, tried again and refused again", () => {
  const node = new FleetNode("edge-1");
  answer(node, refused("web", 7));
  log.look(node);
  answer(node);
  answer(node, refused("web", 7, { detail: "still no", at: 9 }));
  expect(shown()).toEqual(["edge-1 web  7"]);
  expect(told[0]).toMatchObject({ type: "listener", detail: "no", at: 1 });
});

test("other bytes, another route of the same resource and another Envoy are told", () => {
  const [one, other] = [new FleetNode("edge-1"), new FleetNode("edge-2")];
  answer(one, refused("web", 7));
  answer(one, refused("web", 8), refused("web", 8, { type: "route", parts: ["a"] }));
  answer(
    one,
    refused("web", 8),
    refused("web", 8, { type: "route", parts: ["a"] }),
    refused("web", 8, { type: "route", parts: ["b"] }),
  );
  answer(other, refused("web", 8));
  expect(shown()).toEqual(["edge-1 web  7", "edge-1 web  8", "edge-1 web a 8", "edge-1 web b 8", "edge-2 web  8"]);
});

test("what is held or unanswered is no refusal", () => {
  answer(new FleetNode("edge-1"), refused("web", 7, { kind: "held" }), refused("app", 7, { kind: "unanswered" }));
  expect(told).toEqual([]);
});

test("memory is bounded: after 10,000 others the oldest is told again, the newest is not", () => {
  const node = new FleetNode("edge-1");
  for (let revision = 1; revision <= 10_001; revision++) answer(node, refused("web", revision));
  expect(told).toHaveLength(10_001);
  answer(node, refused("web", 10_001));
  answer(node, refused("web", 1));
  expect(shown().slice(10_001)).toEqual(["edge-1 web  1"]);
});
