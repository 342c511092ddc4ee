// Pruning the history: what is old goes, a piece at a time, and nothing that anybody may still need; what is kept can be verified to the
// cut, and a cut that nobody was to make is found. Mutants that were tried, and are caught: the one revision before the window goes as
// well; live replicas are not asked; the newest are not spared; the audit takes any cut; the feed does not look at the cut.
import { randomUUID } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { type AuditAnswer, firstMark, type RetentionRule, type Store } from "../../src/store/store.js";
import { age } from "../support/aged-history.js";
import { freshDatabase, sql } from "../support/postgres.js";
import { author, cluster, openStore } from "./samples.js";

const rule: RetentionRule = { days: 30, least: 2 };
let url: string;
let store: Store;
/** revision → its id. */
let ids: ReadonlyMap<number, string>;

const write = (at: number, key?: string) =>
  store.write(author, (tx) => tx.put("cluster", cluster("a", { connectTimeoutMs: at })), {
    ...(key === undefined ? {} : { idempotency: { key, requestHash: "h" } }),
  });

beforeEach(async () => {
  ({ url } = await freshDatabase());
  store = await openStore(url, { apiPoolSize: 4 });
  const made: [number, string][] = [];
  for (let at = 1; at <= 10; at++) {
    const { committed } = await write(at, `key-${at}`);
    made.push([at, committed?.id ?? ""]);
  }
  ids = new Map(made);
});

const kept = async () =>
  (await sql<{ revision: string }>(url, "select revision from revisions order by 1")).map(({ revision }) => Number(revision));
const mark = (revision: number) => ({ revision, id: ids.get(revision) ?? "" });

async function pruneAll(by: Store = store, of = rule): Promise<number> {
  let pruned = 0;
  for (;;) {
    const step = await by.prune(of);
    pruned += step.pruned;
    if (!step.isMore) return pruned;
  }
}

describe("what goes", () => {
  test("is what is older than the rule, but for the last such revision, which those within the window go back to", async () => {
    await age(url, 5, 31);
    expect(await pruneAll()).toBe(4);
    expect(await kept()).toEqual([5, 6, 7, 8, 9, 10]);
    expect(await sql(url, "select from changes where revision < 5")).toEqual([]);
    expect(await pruneAll()).toBe(0);
    await age(url, 7, 31);
    expect(await pruneAll()).toBe(2);
    expect(await kept()).toEqual([7, 8, 9, 10]);
  });

  test("is nothing by a rule that would keep nothing", async () => {
    await age(url, 10, 31);
    for (const none of [
      { days: 0, least: 2 },
      { days: 30, least: 0 },
    ])
      await expect(store.prune(none)).rejects.toThrow("keeps nothing");
    expect(await kept()).toHaveLength(10);
  });

  test("is not the newest, whatever their age", async () => {
    await age(url, 10, 31);
    expect(await pruneAll(store, { days: 30, least: 4 })).toBe(6);
    expect(await kept()).toEqual([7, 8, 9, 10]);
  });

  test("is nothing that a live replica has not got beyond; a dead one holds nothing up", async () => {
    await age(url, 10, 31);
    const beat = { startedAt: new Date().toISOString(), leaseMs: 60_000 };
    await store.status.heartbeat({ id: "slow", revision: 3, ...beat });
    await store.status.heartbeat({ id: "dead", revision: 1, ...beat });
    await sql(url, "update replicas set lease_until = clock_timestamp() - interval '1 second' where id = 'dead'");
    expect(await pruneAll()).toBe(2);
    expect(await store.readAfter(mark(3), 100)).toMatchObject({ kind: "next" });
    await store.status.heartbeat({ id: "slow", revision: 10, ...beat });
    expect(await pruneAll()).toBe(6);
  });

  test("goes once, with two at it", async () => {
    await age(url, 10, 31);
    const other = await openStore(url);
    const pruned = await Promise.all([pruneAll(), pruneAll(other), pruneAll(), pruneAll(other)]);
    expect(pruned.reduce((sum, each) => sum + each, 0)).toBe(8);
    expect(await kept()).toEqual([9, 10]);
  });

  test("takes the keys of the writes with it: a repeat is never told of a revision that nobody has", async () => {
    await age(url, 5, 31);
    await pruneAll();
    expect((await write(7, "key-7")).committed).toEqual(mark(7));
    expect(await sql(url, "select from idempotency_keys where key in ('key-1', 'key-4')")).toEqual([]);
  });

  test("is nothing that was edited: that is evidence, and stays until somebody has looked", async () => {
    await age(url, 8, 31);
    await sql(url, "update revisions set author = 'eve' where revision = 4");
    expect(await store.prune(rule)).toMatchObject({ pruned: 0, break: { revision: 4, kind: "edited" } });
    expect(await kept()).toHaveLength(10);
  });
});

describe("what is kept", () => {
  beforeEach(async () => {
    await age(url, 6, 31);
    await pruneAll(); // Revisions 1 to 5.
  });

  test("is fed to a replica that is at the cut, and one that is further behind is told to read everything, not of another history", async () => {
    const next = await store.readAfter(mark(5), 100);
    expect(next.kind === "next" && next.revisions.map(({ revision }) => revision)).toEqual([6, 7, 8, 9, 10]);
    expect(await store.readAfter(mark(4), 100)).toEqual({ kind: "pruned" });
    expect(await store.readAfter({ revision: 0, id: "" }, 100)).toEqual({ kind: "pruned" });
    expect(await store.readAfter({ revision: 5, id: randomUUID() }, 100)).toEqual({ kind: "other-history" });
    expect(await store.readAfter({ revision: 6, id: randomUUID() }, 100)).toEqual({ kind: "other-history" });
    expect(await store.readAfter({ revision: 11, id: randomUUID() }, 100)).toEqual({ kind: "other-history" });
  });

  test("is compared back to the cut, and not beyond", async () => {
    const page = { limit: 10 };
    const beyond = { code: "beyond_history", facts: { keptFrom: 6 } };
    expect(await store.history.differences({ from: 5, to: 10 }, page)).toMatchObject([
      { before: { connectTimeoutMs: 5 }, after: { connectTimeoutMs: 10 } },
    ]);
    await expect(store.history.differences({ from: 4, to: 10 }, page)).rejects.toMatchObject(beyond);
    await expect(store.history.differences({ from: 10, to: 0 }, page)).rejects.toMatchObject(beyond);
    await expect(store.write(author, (tx) => tx.differences(4))).rejects.toMatchObject(beyond);
    expect(await store.write(author, (tx) => tx.differences(5))).toMatchObject({ value: [{ before: { connectTimeoutMs: 5 } }] });
  });

  test("goes on: later revisions follow, and later cuts", async () => {
    for (let at = 11; at <= 13; at++) await write(at);
    expect(await verify()).toMatchObject({ break: undefined, mark: { revision: 13 }, cut: { revision: 5, days: 30, least: 2 } });
    await age(url, 12, 31);
    await pruneAll();
    expect(await verify()).toMatchObject({ break: undefined, mark: { revision: 13 }, cut: { revision: 11 } });
  });

  test("is followed by who asks from the cut on", async () => {
    const after = await store.history.after(mark(5), 2);
    expect(after.kind === "next" && after.revisions.map(({ revision }) => revision)).toEqual([6, 7]);
    expect(await store.history.after(mark(4), 2)).toEqual({ kind: "pruned" });
    expect(await store.history.after({ revision: 5, id: "" }, 2)).toEqual({ kind: "other-history" });
  });
});

/** Page after page, as the command does. */
async function verify(limit = 2): Promise<AuditAnswer> {
  for (let at = firstMark; ; ) {
    const answer = await store.history.audit(at, limit);
    if (answer.break || answer.mark.revision === answer.head) return answer;
    at = answer.mark;
  }
}

const seal = `update history_cut set seal = sha256(convert_to(jsonb_build_array(revision, id, encode(hash, 'hex'), (extract(epoch from at) * 1000000)::bigint,
  (extract(epoch from cut_at) * 1000000)::bigint, days, least, head, encode(head_hash, 'hex'))::text, 'UTF8'))`;
const moveCut = `update history_cut as cut set revision = last.revision, id = last.id, hash = last.hash, at = last.at from revisions as last where last.revision = 7`;
const deleteToCut = "delete from changes where revision <= 7; delete from revisions where revision <= 7";

/** After a cut at 5 of 10, by the rule of 30 days. */
const faults: readonly (readonly [what: string, statements: string, revision: number, kind: string])[] = [
  ["an author", "update revisions set author = 'eve' where revision = 7", 7, "edited"],
  ["the first one that is kept", "update changes set after = before where revision = 6", 6, "edited"],
  ["one more that goes", "delete from changes where revision = 6; delete from revisions where revision = 6", 6, "missing"],
  ["all that go", "delete from changes; delete from revisions", 6, "missing"],
  ["another hash in the cut", `update history_cut set hash = text_hash('x')`, 5, "cut"],
  ["another hash in the cut, sealed", `update history_cut set hash = text_hash('x'); ${seal}`, 6, "unlinked"],
  ["a cut that moved alone", `${moveCut}; ${seal}`, 7, "cut"],
  ["a cut without its seal", `${moveCut}; ${deleteToCut}`, 7, "cut"],
  ["a cut of what was young", `${moveCut}; ${deleteToCut}; ${seal}`, 7, "cut"],
  ["a cut that leaves too little", `update history_cut set least = 6; ${seal}`, 5, "cut"],
  ["a cut that is said to be of no rule", `update history_cut set days = 0; ${seal}`, 5, "cut"],
  ["a cut of tomorrow", `update history_cut set cut_at = cut_at + interval '1 day'; ${seal}`, 5, "cut"],
  ["a cut that is taken back", `update history_cut set revision = 0, hash = text_hash(''); ${seal}`, 1, "missing"],
  ["a cut that is gone", "delete from history_cut", 0, "cut"],
  [
    "a chain made anew after the cut",
    `do $$ declare the revisions; previous bytea := (select hash from revisions where revision = 7);
     begin for the in select * from revisions where revision >= 8 order by revision loop
       the.author := 'eve'; the.previous_hash := previous; previous := text_hash(revision_line(the));
       update revisions set author = 'eve', previous_hash = the.previous_hash, hash = previous where revision = the.revision;
     end loop; end $$`,
    10,
    "cut",
  ],
];

describe("a pruned history is verified, and what is wrong with it is found, whatever the page", () => {
  beforeEach(async () => {
    await age(url, 6, 31);
    await pruneAll();
  });

  test("nothing is", async () => {
    for (const limit of [1, 2, 5, 1_000]) expect(await verify(limit)).toMatchObject({ break: undefined, mark: { revision: 10 } });
  });

  test.each(faults)("%s", async (_, statements, revision, kind) => {
    await sql(url, statements);
    for (const limit of [1, 3, 1_000]) expect((await verify(limit)).break).toMatchObject({ revision, kind });
  });

  test("a mark of what was pruned since can't be verified, and one of the cut can", async () => {
    const [cut] = await sql<{ hash: string }>(url, "select encode(hash, 'hex') as hash from history_cut");
    expect((await store.history.audit({ revision: 5, hash: cut?.hash ?? "" })).break).toBeUndefined();
    expect((await store.history.audit({ revision: 5, hash: firstMark.hash })).break).toMatchObject({ kind: "other" });
    expect((await store.history.audit({ revision: 3, hash: firstMark.hash })).break).toMatchObject({
      revision: 3,
      kind: "pruned",
    });
  });

  test("while it is pruned, nothing is taken for missing", async () => {
    for (let at = 11; at <= 60; at++) await write(at);
    await age(url, 58, 31);
    let isDone = false;
    const reading = (async () => {
      while (!isDone) expect((await store.history.audit(firstMark)).break).toBeUndefined();
    })();
    for (let least = 53; least >= 2; least--) await store.prune({ days: 30, least });
    isDone = true;
    await reading;
    expect((await kept())[0]).toBe(58);
  });
});
