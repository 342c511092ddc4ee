// What a guard lets pass and what not, at its edges.
import { describe, expect, test } from "vitest";
import type { Kind } from "../../../src/model/revision.js";
import { guardFaults, isSingleRemoval } from "../../../src/store/guards.js";
import type { RowChange } from "../../../src/store/write-tx.js";

const there = { enabled: true };
const gone = (kind: Kind, name: string): RowChange => ({ kind, name, before: there, after: undefined, revision: 1 });
const made = (kind: Kind, name: string): RowChange => ({ kind, name, before: undefined, after: there, revision: 0 });
const many = (change: typeof gone, kind: Kind, count: number, prefix: string = kind): RowChange[] =>
  Array.from({ length: count }, (_, at) => change(kind, `${prefix}${kind === "endpoint" ? "/" : "-"}${at}`));

const counts = (more: Partial<Record<Kind, number>> = {}, endpoints: Readonly<Record<string, number>> = {}) => ({
  kinds: { cluster: 100, endpoint: 1_000, listener: 100, route: 100, ...more },
  endpoints: new Map(Object.entries(endpoints)),
});
const guards = (...given: Parameters<typeof guardFaults>): string[] =>
  guardFaults(...given).map(({ guard, kind, cluster }) => `${guard} ${kind}${cluster === undefined ? "" : ` ${cluster}`}`);

describe("shrink", () => {
  test.each([
    ["four of four and one more", 4, 5, []],
    ["five of five and one more kept", 5, 6, ["shrink route"]],
    ["30 % exactly", 30, 100, []],
    ["one above 30 %", 31, 100, ["shrink route"]],
    ["five of sixteen, which is above", 5, 16, ["shrink route"]],
    ["five of seventeen, which is below", 5, 17, []],
  ])("%s", (_, count, of, expected) => {
    expect(guards(many(gone, "route", count), counts({ route: of }))).toEqual(expected);
  });

  test("other objects in place of those that go are no excuse", () => {
    const changes = [...many(gone, "route", 40), ...many(made, "route", 40, "route")];
    expect(guards(changes, counts())).toEqual(["shrink route"]);
  });

  test("of one cluster's endpoints, also when there are many others", () => {
    const changes = many(gone, "endpoint", 6, "endpoint");
    expect(guards(changes, counts({}, { endpoint: 10 }))).toEqual(["shrink endpoint endpoint"]);
    expect(guards(changes, counts({}, { endpoint: 20 }))).toEqual([]);
  });
});

describe("a cluster's endpoints are judged by how many are left to serve", () => {
  const blue = many(gone, "endpoint", 10, "a");
  const green = (count: number) => many(made, "endpoint", count, "a").map((one) => ({ ...one, name: `${one.name}-new` }));
  const of = (changes: readonly RowChange[], before = 10, all = 10) => guards(changes, counts({ endpoint: all }, { a: before }));

  test.each([
    ["as many, or more, in their place", [...blue, ...green(10)], []],
    ["more", [...blue, ...green(11)], []],
    ["30 % less exactly", [...blue, ...green(7)], []],
    ["4 less", many(gone, "endpoint", 4, "a"), []],
    ["half of them", [...blue, ...green(5)], ["shrink endpoint", "shrink endpoint a"]],
    ["none", blue, ["emptied endpoint", "emptied endpoint a"]],
  ] as const)("%s in their place", (_, changes, expected) => {
    expect(of(changes)).toEqual(expected);
  });

  test("disabled ones in their place serve nobody", () => {
    const changes = [...blue, ...green(10).map((one) => ({ ...one, after: { enabled: false } }))];
    expect(of(changes)).toEqual(["emptied endpoint a"]);
  });

  test("disabling is as good as removing, one alone apart", () => {
    const off = (count: number) => many(gone, "endpoint", count, "a").map((one) => ({ ...one, after: { enabled: false } }));
    expect(of(off(10))).toEqual(["emptied endpoint a"]);
    expect(of(off(5))).toEqual(["shrink endpoint a"]);
    expect(of(off(4))).toEqual([]);
    expect(of(off(2), 2, 2)).toEqual(["emptied endpoint a"]);
    expect(of(off(1), 1, 1)).toEqual([]);
  });

  test("disabled ones that go are no loss", () => {
    const idle = blue.map((one) => ({ ...one, before: { enabled: false } }));
    expect(guards(idle, counts({ endpoint: 20 }))).toEqual([]);
    expect(guards(idle, counts({ endpoint: 10 }))).toEqual(["emptied endpoint"]); // Of the whole kind, nothing would be left.
  });

  test("the endpoints of another cluster are no replacement", () => {
    const elsewhere = many(made, "endpoint", 10, "b");
    expect(of([...blue, ...elsewhere])).toEqual(["emptied endpoint a"]);
  });
});

describe("emptied", () => {
  test("the last ones of a kind, however few, but not when others come", () => {
    expect(guards(many(gone, "listener", 2), counts({ listener: 2 }))).toEqual(["emptied listener"]);
    expect(guards([...many(gone, "listener", 2), made("listener", "other")], counts({ listener: 2 }))).toEqual([]);
  });

  test("a kind that was empty is not emptied", () => {
    expect(guards([], counts({ listener: 0 }))).toEqual([]);
  });
});

describe("the removal of one object passes", () => {
  test("the last one, and a cluster with all of its endpoints", () => {
    expect(guards([gone("route", "r")], counts({ route: 1 }))).toEqual([]);
    const cascade = [
      ...many(gone, "endpoint", 50, "endpoint").map(({ name }) => gone("endpoint", name.replace("endpoint/", "a/"))),
      gone("cluster", "a"),
    ];
    expect(isSingleRemoval(cascade)).toBe(true);
    expect(guards(cascade, counts({ cluster: 1, endpoint: 50 }))).toEqual([]);
  });

  test("but not two objects, nor a cluster beside another one's endpoints", () => {
    expect(isSingleRemoval([gone("route", "r"), gone("route", "s")])).toBe(false);
    expect(isSingleRemoval([gone("cluster", "a"), gone("endpoint", "b/1")])).toBe(false);
    expect(isSingleRemoval([gone("listener", "a"), gone("endpoint", "a/1")])).toBe(false);
    expect(isSingleRemoval([gone("endpoint", "a/1"), gone("endpoint", "a/2")])).toBe(false);
  });
});

test("size is told for a kind that grows above it, with the maximum, and not for one that shrinks back", () => {
  const most = { cluster: 3, endpoint: 3, listener: 3, route: 3 };
  const faults = guardFaults([made("cluster", "d")], counts({ cluster: 3 }), most);
  expect(faults).toEqual([{ guard: "size", kind: "cluster", before: 3, gone: 0, after: 4, maximum: 3 }]);
  expect(guards([gone("cluster", "d"), made("cluster", "e")], counts({ cluster: 9 }), most)).toEqual([]);
  expect(guards([made("cluster", "c")], counts({ cluster: 2 }), most)).toEqual([]);
});
