// The history as people read it: every revision with who made it, what lies between two, and pages that neither skip nor repeat.

import { beforeAll, describe, expect, test } from "vitest";
import { DesiredState } from "../../src/model/desired-state.js";
import type { Revision } from "../../src/model/revision.js";
import type { RevisionFilter, Store } from "../../src/store/store.js";
import { isPortable } from "../support/database-mode.js";
import { freshDatabase } from "../support/postgres.js";
import { author, cluster, endpoint, listener, openStore, route } from "./samples.js";

let store: Store;
beforeAll(async () => {
  store = await openStore((await freshDatabase()).url);
  const by = (name: string) => ({ ...author, author: name });
  await store.write(by("ada"), (tx) => tx.put("cluster", cluster("a"))); // 1
  await store.write({ ...by("bob"), reason: "more" }, (tx) => tx.putAll("endpoint", [endpoint("a", 1), endpoint("a", 2)])); // 2
  await store.write(by("ada"), (tx) => tx.put("cluster", cluster("a", { connectTimeoutMs: 7 }))); // 3
  await store.write(by("bob"), (tx) => tx.put("listener", listener("web", 80))); // 4
  await store.write(by("bob"), (tx) => tx.delete("endpoint", "a/10.0.0.7:1")); // 5
  await store.write(by("ada"), (tx) => tx.put("cluster", cluster("a"))); // 6
  await store.write(by("ada"), (tx) => tx.put("route", route("r", ["web"], [{ cluster: "a", weight: 1 }]))); // 7
});

const numbers = async (filter: RevisionFilter = {}, before?: Revision, limit = 100) =>
  (await store.history.list({ filter, before, limit })).items.map(({ revision }) => revision);

describe("the list", () => {
  test("is newest first, with what was changed and why", async () => {
    expect(await numbers()).toEqual([7, 6, 5, 4, 3, 2, 1]);
    const { items } = await store.history.list({ before: 3, limit: 1 });
    expect(items).toMatchObject([
      { revision: 2, author: "bob", reason: "more", changes: 2, overrides: [], counts: { endpoint: 2 } },
    ]);
    expect(items[0]?.hash).toMatch(/^[0-9a-f]{64}$/);
  });

  test("comes in pages that neither skip nor repeat, with any filter", async () => {
    const filters: RevisionFilter[] = [{}, { author: "ada" }, { kind: "cluster" }, { kind: "cluster", name: "a", author: "ada" }];
    for (const filter of filters) {
      const all = await numbers(filter);
      const paged: number[] = [];
      let before: Revision | undefined;
      do {
        const { items, next } = await store.history.list({ filter, before, limit: 2 });
        paged.push(...items.map(({ revision }) => revision));
        before = next;
      } while (before !== undefined);
      expect(paged).toEqual(all);
    }
  });

  test("is filtered by author, kind and object, each and together", async () => {
    expect(await numbers({ author: "bob" })).toEqual([5, 4, 2]);
    expect(await numbers({ kind: "cluster" })).toEqual([6, 3, 1]);
    expect(await numbers({ kind: "endpoint", name: "a/10.0.0.7:1" })).toEqual([5, 2]);
    expect(await numbers({ kind: "endpoint", name: "a/10.0.0.7:1", author: "ada" })).toEqual([]);
    expect(await numbers({ kind: "cluster", author: "ada" }, 6)).toEqual([3, 1]);
  });
});

test("who follows gets what came after, and notices another history", async () => {
  const third = await store.read.revision(3);
  const next = await store.history.after({ revision: 3, id: third?.id ?? "" }, 2);
  expect(next).toMatchObject({ kind: "next", revisions: [{ revision: 4 }, { revision: 5 }] });
  expect(await store.history.after({ revision: 0, id: "" }, 1)).toMatchObject({ kind: "next", revisions: [{ revision: 1 }] });
  const other = { kind: "other-history" };
  expect(await store.history.after({ revision: 3, id: "11111111-1111-4111-8111-111111111111" }, 2)).toEqual(other);
  expect(await store.history.after({ revision: 99, id: third?.id ?? "" }, 2)).toEqual(other);
});

describe("what lies between two revisions", () => {
  test("is each object that differs, once, as it is at the one and at the other", async () => {
    const found = await store.history.differences({ from: 1, to: 5 }, { limit: 10 });
    expect(found.map(({ kind, name }) => `${kind} ${name}`)).toEqual(["cluster a", "endpoint a/10.0.0.7:2", "listener web"]);
    expect(found[0]).toMatchObject({ before: { connectTimeoutMs: 5_000 }, after: { connectTimeoutMs: 7 } });
    expect(found[1]).toMatchObject({ before: undefined, after: { port: 2 } });
  });

  test("is the same backwards, with the sides changed", async () => {
    const forwards = await store.history.differences({ from: 0, to: 7 }, { limit: 100 });
    const backwards = await store.history.differences({ from: 7, to: 0 }, { limit: 100 });
    expect(backwards).toEqual(forwards.map(({ before, after, ...rest }) => ({ ...rest, before: after, after: before })));
    expect(await store.history.differences({ from: 4, to: 4 }, { limit: 100 })).toEqual([]);
  });

  test("comes in pages by kind and name", async () => {
    const all = await store.history.differences({ from: 0, to: 7 }, { limit: 100 });
    const paged = [];
    for (let after: { kind: string; name: string } | undefined; ; ) {
      const [one] = await store.history.differences({ from: 0, to: 7 }, { after, limit: 1 });
      if (!one) break;
      paged.push(one);
      after = one;
    }
    expect(paged).toEqual(all);
  });

  test("turns the one configuration into the other", async () => {
    const state = DesiredState.from(await store.loadState());
    const back = await store.history.differences({ from: 7, to: 2 }, { limit: 100 });
    const names = state.tryOut(back, () => ({
      clusters: [...state.clusters.values()].map(({ connectTimeoutMs }) => connectTimeoutMs),
      endpoints: [...(state.endpoints.get("a")?.keys() ?? [])].sort(),
      others: state.listeners.size + state.routes.size,
    }));
    expect(names).toEqual({ clusters: [5_000], endpoints: ["10.0.0.7:1", "10.0.0.7:2"], others: 0 });
  });

  test("of too many revisions is not looked through", async () => {
    await expect(store.history.differences({ from: 0, to: 100_001 }, { limit: 1 })).rejects.toMatchObject({
      code: "beyond_history",
    });
  });
});

describe("a write that looks at the whole configuration", () => {
  test("runs again when another one commits in between, and sees what that did", async () => {
    const seen: number[] = [];
    const { committed } = await store.write(author, async (tx) => {
      seen.push((await tx.differences(7)).length);
      if (seen.length === 1) await store.write(author, (other) => other.put("cluster", cluster("between")));
      await tx.put("cluster", cluster("last"));
    });
    expect(seen).toEqual([0, 1]);
    expect(committed?.revision).toBe((await store.head()).revision);
  });

  test.skipIf(isPortable)("between two given revisions does not care who else writes", async () => {
    let runs = 0;
    await store.write(author, async (tx) => {
      runs += 1;
      expect(await tx.differences(0, 1)).toHaveLength(1);
      await store.write(author, (other) => other.put("cluster", cluster(`beside-${runs}`)));
      await tx.put("cluster", cluster("mine"));
    });
    expect(runs).toBe(1);
  });
});
