// The table of one type: what a stream at any position lacks, what was there then, and one version for all of it. Mutants that were
// tried, and are caught: a change is not in the log; a touched name is not sent again; the oldest form kept is not the one that was
// current; forms that nobody was shown are remembered; the sum forgets what goes; the log is cut one step too far.
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { hashOf, type Resource, type Seq } from "../../../src/snapshot/resource.js";
import { ResourceTable } from "../../../src/snapshot/resource-table.js";

function resource(name: string, form: string | number): Resource {
  const bytes = Buffer.from(`${name} ${form}`);
  const hash = hashOf(bytes);
  return { name, hash, version: `${hash}.1`, bytes, revision: 1, clusters: [], parts: undefined, health: undefined };
}

let table: ResourceTable;
let seq: Seq = 0;
beforeEach(() => {
  table = new ResourceTable("cluster");
  seq = 0;
});

interface Step {
  readonly set?: Readonly<Record<string, string | number>>;
  readonly touched?: readonly string[];
  readonly removed?: readonly string[];
  readonly revision?: number | undefined;
  /** Streams are not woken after it. */
  readonly isHidden?: boolean;
}
function publish({ set = {}, touched = [], removed = [], revision = seq + 1, isHidden = false }: Step): Seq {
  seq += 1;
  const made = Object.entries(set).map(([name, form]) => resource(name, form));
  table.commit(seq, revision, made, touched, new Map(removed.map((name) => [name, seq])));
  if (!isHidden) table.show();
  return seq;
}
const textOf = (form: Resource | "unknown" | undefined): string | undefined =>
  typeof form === "object" ? form.bytes.toString() : form;

describe("what a stream lacks", () => {
  test("is each name that changed, was touched or went after its position, once, sorted", () => {
    publish({ set: { b: 1, a: 1, c: 1 } });
    publish({ set: { b: 2 } });
    publish({ touched: ["a"], set: { b: 3 } });
    publish({ removed: ["c"] });
    expect([0, 1, 2, 3, 4].map((from) => table.changedSince(from))).toEqual([
      ["a", "b", "c"],
      ["a", "b", "c"],
      ["a", "b", "c"],
      ["c"],
      [],
    ]);
    expect(["a", "b", "c", "d"].map((name) => table.seqOf(name))).toEqual([3, 3, 4, 0]);
    expect(table.names().sort()).toEqual(["a", "b"]);
    expect(table.resources().map(({ name }) => name)).toEqual(["a", "b"]);
    expect([table.size, table.seq, table.removedSeq]).toEqual([2, 4, 4]);
  });

  test("is not known when it is further back than the log, and known to its very beginning", () => {
    publish({ set: { a: 0, gone: 0 } });
    publish({ removed: ["gone"] });
    for (let at = 2; at < 4_096; at++) publish({ set: { a: at } });
    expect(table.changedSince(0)).toEqual(["a", "gone"]);
    publish({ set: { a: 9_999 } });
    expect(table.changedSince(0)).toBeUndefined();
    expect(table.changedSince(1)).toEqual(["a", "gone"]);
    publish({ set: { a: 10_000 } });
    expect(table.changedSince(1)).toBeUndefined();
    expect(table.changedSince(2)).toEqual(["a"]);
    expect(table.seqOf("gone")).toBe(0); // Nobody who is still served can have it.
  });
});

describe("what was current at a position", () => {
  test("is each of the last forms, also none; before it was born there was none", () => {
    publish({ set: { other: 1 } });
    publish({ set: { a: 1 } });
    publish({ set: { a: 2 } });
    publish({ removed: ["a"] });
    publish({ set: { a: 3 } });
    expect([1, 2, 3, 4, 5, 6].map((at) => textOf(table.at("a", at)))).toEqual([undefined, "a 1", "a 2", undefined, "a 3", "a 3"]);
    expect([table.createdSeq("a"), table.unreferencedSeq("a")]).toEqual([5, 4]);
    expect(table.at("never", 5)).toBeUndefined();
  });

  test("is unknown when it is older than the forms that are kept, and never another form", () => {
    for (let at = 1; at <= 8; at++) publish({ set: { a: at } });
    expect([1, 2, 3, 4, 5, 6, 7, 8].map((at) => textOf(table.at("a", at)))).toEqual([
      ...["unknown", "unknown", "unknown"],
      ...["a 4", "a 5", "a 6", "a 7", "a 8"],
    ]);
    expect(textOf(table.formWithHash("a", resource("a", 5).hash))).toBe("a 5");
    expect(table.formWithHash("a", resource("a", 1).hash)).toBeUndefined();
    expect(textOf(table.formOtherThan("a", resource("a", 8).hash))).toBe("a 7");
  });

  test("does not hold forms that came and went before any stream was woken", () => {
    publish({ set: { a: 1 } });
    publish({ set: { a: 2 }, isHidden: true });
    publish({ set: { a: 3 } });
    expect(table.formWithHash("a", resource("a", 2).hash)).toBeUndefined();
    expect(textOf(table.formWithHash("a", resource("a", 1).hash))).toBe("a 1");
  });
});

test("the revision of a position is the newest whose changes are all within it; letting go of what a grace kept is no revision", () => {
  publish({ set: { a: 1 }, revision: 10 });
  publish({ set: { a: 2 }, revision: 15 });
  seq += 1;
  table.commit(seq, undefined, [], [], new Map([["a", seq]]));
  publish({ set: { b: 1 }, revision: 20 });
  expect([0, 1, 2, 3, 4].map((at) => table.revisionAt(at, 33))).toEqual([9, 14, 19, 19, 33]);
  expect(table.revision).toBe(20);
});

test("equal content has an equal sum, whatever way it came about, and other content another one", () => {
  const step = fc.record({
    name: fc.constantFrom("a", "b", "c"),
    form: fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const [one, other] = [new ResourceTable("cluster"), new ResourceTable("cluster")];
      const content = new Map<string, number>();
      for (const [at, { name, form }] of steps.entries()) {
        if (form === undefined) content.delete(name);
        else content.set(name, form);
        const removed = form === undefined ? new Map([[name, at + 1]]) : new Map<string, Seq>();
        one.commit(at + 1, at + 1, form === undefined ? [] : [resource(name, form)], [], removed);
      }
      const rows = [...content].map(([name, form]) => resource(name, form));
      other.commit(1, 1, rows, [], new Map());
      expect([one.sum, one.size]).toEqual([other.sum, other.size]);
      other.commit(2, 2, [resource("d", 0)], [], new Map());
      expect(other.sum).not.toBe(one.sum);
    }),
    { seed: 7, numRuns: 300 },
  );
});
