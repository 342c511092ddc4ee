// The chain over the history: any row that was edited, deleted or moved is found at its revision; and what nobody touched is not.
import { beforeEach, describe, expect, test } from "vitest";
import { type AuditAnswer, type ChainMark, firstMark, type Store } from "../../src/store/store.js";
import { freshDatabase, sql } from "../support/postgres.js";
import { author, cluster, endpoint, openStore } from "./samples.js";

let url: string;
let store: Store;
beforeEach(async () => {
  ({ url } = await freshDatabase());
  store = await openStore(url, { apiPoolSize: 4 });
  await store.write({ author: 'é\u{1f600}"\\', requestId: "r\t", reason: "a\u2028b" }, async (tx) => {
    await tx.put("cluster", cluster("a"));
    await tx.putAll("endpoint", [endpoint("a", 1), endpoint("a", 2), endpoint("a", 3)]);
  });
  for (let at = 2; at <= 6; at++) await store.write(author, (tx) => tx.put("cluster", cluster("a", { connectTimeoutMs: at })));
});

/** Page after page, as the command does. */
async function verify(from: ChainMark = firstMark, limit = 2): Promise<AuditAnswer> {
  for (let mark = from; ; ) {
    const answer = await store.history.audit(mark, limit);
    if (answer.break || answer.mark.revision === mark.revision) return answer;
    mark = answer.mark;
  }
}

test("a history that nobody touched is verified to its end, whatever the page", async () => {
  const last = await store.read.revision(6);
  for (const limit of [1, 2, 5, 6, 7, 1_000]) {
    const answer = await verify(firstMark, limit);
    expect(answer).toMatchObject({ break: undefined, head: 6, mark: { revision: 6, hash: last?.hash } });
  }
});

test("an empty history is whole", async () => {
  const empty = await openStore((await freshDatabase()).url);
  expect(await empty.history.audit(firstMark)).toEqual({ verified: 0, mark: firstMark, head: 0, break: undefined });
});

test("what an older control plane commits is in the chain", async () => {
  await sql(url, "select commit_revision(gen_random_uuid(), 'old', 'r', null, '[]'::jsonb, false)");
  expect(await verify()).toMatchObject({ break: undefined, mark: { revision: 7 } });
});

const faults: readonly (readonly [what: string, statements: string, revision: number, kind: string])[] = [
  ["an author", "update revisions set author = 'eve' where revision = 3", 3, "edited"],
  ["a time", "update revisions set at = at + interval '1 microsecond' where revision = 3", 3, "edited"],
  ["a reason that was not given", "update revisions set reason = '' where revision = 3", 3, "edited"],
  ["an override", "update revisions set overrides = '{emptied}' where revision = 6", 6, "edited"],
  ["a count", "update revisions set routes = 1 where revision = 1", 1, "edited"],
  ["an object", `update changes set after = after || '{"connectTimeoutMs": 9}' where revision = 4`, 4, "edited"],
  ["a change that goes", "delete from changes where revision = 1 and ordinal = 2", 1, "edited"],
  ["a change that is taken out whole", "delete from changes where revision = 4", 4, "edited"],
  ["the order of changes", "update changes set ordinal = 9 - ordinal where revision = 1 and ordinal in (2, 3)", 1, "edited"],
  ["a revision that goes", "delete from changes where revision = 3; delete from revisions where revision = 3", 3, "missing"],
  ["the last ones that go", "delete from changes where revision > 4; delete from revisions where revision > 4", 5, "missing"],
  ["all that go", "delete from changes; delete from revisions", 1, "missing"],
  [
    "two revisions in each other's place",
    `alter table changes drop constraint changes_revision_fkey;
     update revisions set revision = 99 where revision = 3; update revisions set revision = 3 where revision = 4;
     update revisions set revision = 4 where revision = 99`,
    3,
    "edited",
  ],
  [
    "a row with a hash made anew",
    `update revisions set author = 'eve' where revision = 3;
     update revisions set hash = text_hash(revision_line(revisions)) where revision = 3`,
    4,
    "unlinked",
  ],
];

describe("found at its revision, whatever the page", () => {
  test.each(faults)("%s", async (_, statements, revision, kind) => {
    await sql(url, statements);
    for (const limit of [1, 3, 1_000]) expect((await verify(firstMark, limit)).break).toMatchObject({ revision, kind });
  });
});

test("a chain that was made anew to its end is found by a hash that was kept elsewhere, and by nothing else", async () => {
  const kept = await store.read.revision(5);
  await sql(
    url,
    `update revisions set author = 'eve' where revision = 3;
     do $$ declare the revisions; previous bytea := (select hash from revisions where revision = 2);
     begin for the in select * from revisions where revision >= 3 order by revision loop
       the.previous_hash := previous; previous := text_hash(revision_line(the));
       update revisions set previous_hash = the.previous_hash, hash = previous where revision = the.revision;
     end loop; end $$`,
  );
  expect((await verify()).break).toBeUndefined();
  expect((await verify({ revision: 5, hash: kept?.hash ?? "" })).break).toMatchObject({ revision: 5, kind: "other" });
});

test("a mark whose revision is not there is told", async () => {
  expect((await verify({ revision: 77, hash: firstMark.hash })).break).toMatchObject({ revision: 77, kind: "missing" });
  expect((await verify({ revision: 0, hash: "00" })).break).toMatchObject({ revision: 0, kind: "other" });
});
