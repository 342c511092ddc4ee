// Guards in the write transaction: what takes too much is refused with its figures, and changes nothing; an override is recorded.
import { beforeEach, expect, test } from "vitest";
import type { Guard } from "../../src/model/guard.js";
import type { Store } from "../../src/store/store.js";
import { freshDatabase } from "../support/postgres.js";
import { author, cluster, endpoint, openStore, route } from "./samples.js";

let store: Store;
const ports = (count: number): number[] => Array.from({ length: count }, (_, at) => at + 1);
const names = (of: string, count: number): string[] => ports(count).map((port) => `${of}/10.0.0.7:${port}`);
beforeEach(async () => {
  store = await openStore((await freshDatabase()).url);
  await store.write(author, async (tx) => {
    await tx.putAll("cluster", [cluster("a"), cluster("b")]);
    await tx.putAll("endpoint", [
      ...ports(10).map((port) => endpoint("a", port)),
      ...ports(100).map((port) => endpoint("b", port)),
    ]);
    await tx.putAll("route", [route("r", [], [{ cluster: "a", weight: 1 }]), route("s", [], [{ cluster: "b", weight: 1 }])]);
  });
});

const remove = (count: number, overrides: readonly Guard[] = [], dryRun = false) =>
  store.write(author, (tx) => tx.deleteAll("endpoint", names("a", count)), { overrides, dryRun });

test("more than 30 % of one cluster's endpoints is refused with the figures, in a dry run too, and nothing is changed", async () => {
  const refused = {
    code: "guard_refused",
    facts: { override: ["shrink"], guards: [{ guard: "shrink", kind: "endpoint", cluster: "a", before: 10, gone: 5, after: 5 }] },
  };
  const head = await store.head();
  await expect(remove(5)).rejects.toMatchObject(refused);
  await expect(remove(5, [], true)).rejects.toMatchObject(refused);
  await expect(remove(5, ["emptied", "size"])).rejects.toMatchObject(refused);
  expect(await store.head()).toEqual(head);
  expect(await store.read.endpointsOf("a")).toHaveLength(10);
});

test("an override lets it pass and is in the history", async () => {
  const { committed } = await remove(5, ["shrink"]);
  expect(await store.read.revision(committed?.revision ?? 0)).toMatchObject({ overrides: ["shrink"], counts: { endpoint: 105 } });
});

test("fewer pass by themselves", async () => {
  const { committed } = await remove(4);
  expect(await store.read.revision(committed?.revision ?? 0)).toMatchObject({ overrides: [] });
});

test("endpoints that go with their cluster count as the cluster", async () => {
  const both = store.write(author, async (tx) => {
    await tx.deleteAll("route", ["r"]);
    await tx.deleteAll("cluster", ["a"]);
  });
  expect((await both).changes).toHaveLength(12);
});

test("one object goes although it is the last one of its kind", async () => {
  await store.write(author, (tx) => tx.delete("route", "r"));
  await store.write(author, (tx) => tx.delete("route", "s"));
  await store.write(author, (tx) => tx.delete("cluster", "b"));
  const { committed } = await store.write(author, (tx) => tx.delete("cluster", "a"));
  expect(await store.read.revision(committed?.revision ?? 0)).toMatchObject({
    counts: { cluster: 0, endpoint: 0 },
    overrides: [],
  });
});

test("two writers that each take a part of a kind can't empty it together: the later one is refused, with what is left then", async () => {
  await store.write(author, (tx) =>
    tx.putAll(
      "route",
      ports(2).map((at) => route(`t${at}`, [], [{ cluster: "b", weight: 1 }])),
    ),
  );
  let second: Promise<unknown> | undefined;
  let runs = 0;
  const first = store.write(author, async (tx) => {
    runs += 1;
    await tx.deleteAll("route", ["r", "s"]);
    second ??= store.write(author, (other) => other.deleteAll("route", ["t1", "t2"]));
    if (runs === 1) await second; // Committed after this one looked at its own rows, and before it commits.
  });
  await expect(first).rejects.toMatchObject({
    code: "guard_refused",
    facts: { guards: [{ guard: "emptied", kind: "route", before: 2, after: 0 }] },
  });
  expect((await store.loadState()).routes.map(({ name }) => name)).toEqual(["r", "s"]);
});
