// Writes that are done in another way than as usual: only tried, only on top of one revision, and once for one key.
// "Mutant" comments name the fault that the test is there to catch; each was tried and made its test fail.
import { beforeAll, describe, expect, test } from "vitest";
import type { Store, WriteChoices, Written } from "../../src/store/store.js";
import { databaseProxy, freshDatabase, sql, type TestDatabase } from "../support/postgres.js";
import { author, cluster, endpoint, openStore } from "./samples.js";

let database: TestDatabase;
let store: Store;
beforeAll(async () => {
  database = await freshDatabase();
  store = await openStore(database.url);
});

const put = (name: string, choices: WriteChoices, connectTimeoutMs = 5_000, into = store) =>
  into.write(author, (tx) => tx.put("cluster", cluster(name, { connectTimeoutMs })), choices);
const revision = async (): Promise<number> => (await store.head()).revision;
const keyed = (key: string, requestHash = "h"): WriteChoices => ({ idempotency: { key, requestHash } });

describe("a dry run", () => {
  test("tells what would change, and leaves nothing behind", async () => {
    await put("there", {});
    const head = await store.head();
    const tried = await store.write(
      author,
      async (tx) => {
        await tx.put("cluster", cluster("there", { connectTimeoutMs: 1 }));
        await tx.put("endpoint", endpoint("there", 1));
        return "value";
      },
      { dryRun: true, ...keyed("dry") },
    );
    expect(tried).toMatchObject({ value: "value", committed: undefined, replayed: false });
    expect(tried.changes).toMatchObject([
      { kind: "cluster", name: "there", before: { connectTimeoutMs: 5_000 }, after: { connectTimeoutMs: 1 } },
      { kind: "endpoint", name: "there/10.0.0.7:1", before: undefined, after: { port: 1 } },
    ]);
    expect(await store.head()).toEqual(head);
    expect(await store.read.get("cluster", "there")).toMatchObject({ object: { connectTimeoutMs: 5_000 } });
    expect((await put("dry", keyed("dry"))).replayed).toBe(false); // The key is still free.
    const tryAgain = await put("dry", { dryRun: true, ...keyed("dry") }, 9);
    expect(tryAgain).toMatchObject({ replayed: false, changes: [{ name: "dry" }] }); // A key that is used answers no dry run.
  });
});

describe("a write on top of one revision", () => {
  test("is refused when another revision came in between, even at the last moment", async () => {
    // Mutant: only the look at the beginning of the transaction, which both pass.
    const base = await revision();
    let begun = 0;
    let allBegun: () => void = () => {};
    const barrier = new Promise<void>((resolve) => {
      allBegun = resolve;
    });
    const outcomes = await Promise.allSettled(
      [1, 2, 3].map((at) =>
        store.write(
          author,
          async (tx) => {
            begun += 1;
            if (begun === 3) allBegun();
            await barrier;
            await tx.put("cluster", cluster(`on-top-${at}`));
          },
          { baseRevision: base },
        ),
      ),
    );
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const outcome of outcomes)
      if (outcome.status === "rejected")
        expect(outcome.reason).toMatchObject({ code: "precondition_failed", facts: { current: base + 1 } });
    expect(await revision()).toBe(base + 1);
  });

  test("is refused at once when it was late from the beginning, and never for a base that was not there yet", async () => {
    const base = await revision();
    await expect(put("late", { baseRevision: base - 1 })).rejects.toMatchObject({ code: "precondition_failed" });
    await expect(put("early", { baseRevision: base + 1 })).rejects.toMatchObject({ code: "precondition_failed" });
    expect(await revision()).toBe(base);
  });
});

describe("a write under a key", () => {
  test("is done once, and a repeat gets the first answer, whatever has happened since", async () => {
    // Mutant: the answer is not looked up, and the write done again.
    const first = await put("once", keyed("once"), 1);
    await put("once", {}, 2);
    const again = await put("once", keyed("once"), 1);
    expect(again).toEqual({ value: "created", committed: first.committed, changes: [], replayed: true });
    expect(await store.read.get("cluster", "once")).toMatchObject({ object: { connectTimeoutMs: 2 } });
  });

  test("of many that come together is done by one", async () => {
    const before = await revision();
    const outcomes = await Promise.all(Array.from({ length: 12 }, (_, at) => put("together", keyed("together"), at + 1)));
    expect(outcomes.filter(({ replayed }) => !replayed)).toHaveLength(1);
    expect(new Set(outcomes.map(({ committed }) => committed?.revision))).toEqual(new Set([before + 1]));
    expect(await revision()).toBe(before + 1);
  });

  test("for another request is refused, and changes nothing", async () => {
    await put("reused", keyed("reused", "one"));
    const before = await revision();
    await expect(put("reused", keyed("reused", "other"), 9)).rejects.toMatchObject({ code: "idempotency_key_reused" });
    expect(await revision()).toBe(before);
  });

  test("that changes nothing has its answer kept too", async () => {
    await put("same", {});
    expect(await put("same", keyed("same"))).toMatchObject({ value: "unchanged", committed: undefined, replayed: false });
    await put("same", {}, 7);
    expect(await put("same", keyed("same"))).toMatchObject({ value: "unchanged", committed: undefined, replayed: true });
  });

  test("that fails leaves the key free", async () => {
    const failing = store.write(author, () => Promise.reject(new Error("no")), keyed("failed"));
    await expect(failing).rejects.toThrow("no");
    expect((await put("failed", keyed("failed"))).replayed).toBe(false);
  });

  test("whose answer was lost is not done again", async () => {
    const proxy = await databaseProxy(database.url);
    const behind = await openStore(proxy.url, { queryTimeoutMs: 1_000 });
    await put("warm", {}, 1, behind);
    proxy.whenSent("commit_revision", () => {
      proxy.become("silent"); // The commit goes through; nobody hears of it, and it can't be looked up.
      setTimeout(() => proxy.become("closed"), 300);
    });
    await expect(put("lost", keyed("lost"), 1, behind)).rejects.toMatchObject({ facts: { outcome: "unknown" } });
    const before = await revision();
    const again: Written<string> = await put("lost", keyed("lost"), 1);
    expect(again).toMatchObject({ value: "created", replayed: true, committed: { revision: before } });
    expect(await revision()).toBe(before);
  });

  test("is forgotten after a day, a few at a time", async () => {
    for (const at of Array.from({ length: 30 }).keys()) await put("old", keyed(`old-${at}`));
    await sql(database.url, "update idempotency_keys set at = at - interval '25 hours' where key like 'old-%'");
    const old = async () =>
      (await sql<{ n: number }>(database.url, "select count(*)::int as n from idempotency_keys where key like 'old-%'"))[0]?.n;
    await put("new", keyed("new-1"));
    expect(await old()).toBe(10);
    await put("new", keyed("new-2"));
    expect(await old()).toBe(0);
  });
});
