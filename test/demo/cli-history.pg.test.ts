// The history from the command line: what a person reads, what is put back, and what a script learns from the exit code.
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ApiUnderTest, startApi, synced } from "../api/api-under-test.js";
import { age } from "../support/aged-history.js";
import { type FinishedCommand, runCommand } from "../support/command-line.js";
import { sql } from "../support/postgres.js";

let under: ApiUnderTest;

/** One command line; `audit verify` is of two words. */
function chancery(...words: string[]): Promise<FinishedCommand> {
  const length = words[0] === "audit" ? 2 : 1;
  return runCommand([...words.slice(0, length), "--api", under.api.url, "--author", "ada", ...words.slice(length)]);
}

const names = () => under.store.loadState().then(({ clusters }) => clusters.map(({ name }) => name));

beforeAll(async () => {
  under = await startApi({ plans: true });
  under.fleet.waitSync = async (revision) =>
    synced(revision, "acked", { gateways: { edge: { total: 2, acked: 2, refused: [], lagging: [], gone: [] } } });
  await under.api.post("/v1/clusters", { name: "a" }); // 1
  await under.api.call(
    "PUT",
    "/v1/clusters/a",
    { connectTimeoutMs: 700 },
    { "x-chancery-author": "bob", "x-chancery-reason": "slow" },
  ); // 2
  await under.api.post("/v1/clusters", { name: "b" }); // 3
});
afterAll(() => under.close());

test("revisions lists the newest first, with filters", async () => {
  const { out, code } = await chancery("revisions");
  expect(code).toBe(0);
  expect(out.split("\n")[0]).toMatch(/^REVISION +AT +AUTHOR +CHANGES +OVERRIDES +REASON$/);
  expect(out.split("\n").map((line) => line.split(/\s+/)[0])).toEqual(["REVISION", "3", "2", "1", ""]);
  expect((await chancery("revisions", "--by", "bob")).out).toMatch(/\n2 .* bob .* slow\n$/);
  expect((await chancery("revisions", "--object", "cluster/b", "-o", "json")).out).toContain('"revision": 3');
  expect((await chancery("revisions", "--by", "nobody")).out).toBe("There is no such revision.\n");
  expect(await chancery("revisions", "--object", "b")).toMatchObject({
    code: 2,
    error: expect.stringContaining("<kind>/<name>"),
  });
});

test("a revision is told with its author, its changes and who has it", async () => {
  const { out } = await chancery("revisions", "2");
  expect(out).toMatch(
    /^revision 2 by bob at \S+, request \S+\n {2}slow\ncluster a: updated\n {2}\/connectTimeoutMs: 5000 → 700\n {2}edge: 2 of 2 Envoys have it\n$/,
  );
  expect((await chancery("revisions", "3", "--against", "1")).out).toContain("against revision 1:\ncluster a: updated");
  expect(await chancery("revisions", "9")).toMatchObject({ code: 1, error: expect.stringContaining("there is no revision 9") });
  expect((await chancery("revisions", "x")).code).toBe(2);
});

test("rollback shows its plan, undoes a revision, and goes back to a configuration", async () => {
  const planned = await chancery("rollback", "3", "--dry-run");
  expect(planned).toMatchObject({ code: 0, out: "cluster b: deleted\n" });
  expect(await names()).toEqual(["a", "b"]);
  const undone = await chancery("rollback", "3", "--wait");
  expect(undone).toMatchObject({
    code: 0,
    out: "cluster b: deleted\nrevision 3 undone (revision 4)\n  edge: 2 of 2 Envoys have it\n",
  });
  expect(await names()).toEqual(["a"]);
  const back = await chancery("rollback", "1", "--configuration", "--reason", "oops");
  expect(back).toMatchObject({ code: 0, out: "cluster a: updated\nconfiguration as at revision 1 (revision 5)\n" });
  expect(await under.api.get("/v1/revisions/5")).toMatchObject({ author: "ada", reason: "oops" });
  expect((await chancery("rollback", "1", "--configuration")).out).toContain("nothing to change");
});

test("a rollback that is refused says why, and exits with 1", async () => {
  expect(await chancery("rollback", "2")).toMatchObject({ code: 1, error: expect.stringContaining("cluster a: ") });
  for (const name of ["x", "y"]) await under.api.post("/v1/clusters", { name });
  await chancery("rollback", "1", "--configuration"); // Two of three are no guard's concern.
  expect(await names()).toEqual(["a"]);
});

test("audit verify counts what holds, prints an anchor, and finds a history that was written anew", async () => {
  const first = await chancery("audit", "verify");
  const count = (await under.store.head()).revision;
  const [told, , anchor = ""] = first.out.split("\n");
  expect([first.code, told]).toEqual([0, `${count} revisions are as they were written.`]);
  expect(anchor).toMatch(new RegExp(`^${count}:[0-9a-f]{64}$`));
  expect((await chancery("audit", "verify", "--anchor", anchor)).code).toBe(0);
  expect((await chancery("audit", "verify", "--anchor", "3")).code).toBe(2);
  await sql(under.databaseUrl, "update revisions set author = 'eve' where revision = 2");
  const broken = await chancery("audit", "verify");
  expect(broken).toMatchObject({ code: 1, out: "", error: expect.stringContaining("from revision 2 (edited) on") });
  await sql(under.databaseUrl, "update revisions set author = 'bob' where revision = 2");
  expect((await chancery("audit", "verify")).code).toBe(0);
  const forged = anchor.replace(/.$/, (last) => (last === "0" ? "1" : "0"));
  expect(await chancery("audit", "verify", "--anchor", forged)).toMatchObject({
    code: 1,
    error: expect.stringContaining("(other)"),
  });
});

test("audit verify of a pruned history says from where on it holds, and that an anchor is too old", async () => {
  const before = await chancery("audit", "verify");
  await age(under.databaseUrl, 3, 91);
  await under.store.prune({ days: 90, least: 2 });
  const { out, code } = await chancery("audit", "verify");
  expect(code).toBe(0);
  expect(out).toMatch(/^\d+ revisions are as they were written\.\n/);
  expect(out).toMatch(
    /\nUp to revision 2 the history was pruned, last at \S+Z \(kept are 90 days, and 2 revisions at least\)\.\n/,
  );
  const old = `1:${before.out.trim().split(":").at(-1)}`;
  expect(await chancery("audit", "verify", "--anchor", old)).toMatchObject({
    code: 1,
    error: expect.stringContaining("revision 1 was pruned"),
  });
  expect(await chancery("rollback", "1")).toMatchObject({ code: 1, error: expect.stringContaining("kept from revision 3 on") });
});
