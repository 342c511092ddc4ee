// Waiting for some of the Envoys, going back when one refuses, and following revisions, from the command line: what is asked of the API,
// what a person reads, and what a script learns from the exit code. Mutants that were tried, and are caught: the quorum is not sent; a
// refusal that was undone exits like one that stands; a follower that comes back begins with the newest revision.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Sync } from "../../src/status/sync.js";
import { type ApiUnderTest, startApi, synced } from "../api/api-under-test.js";
import { type RunningCommand, runCommand, startCommand } from "../support/command-line.js";
import { sql } from "../support/postgres.js";
import { startTcpProxy } from "../support/tcp-proxy.js";
import { waitFor } from "../support/wait.js";

let under: ApiUnderTest;
let asked: { timeoutMs: number; quorumPercent: number | undefined }[] = [];
const at = () => ["--api", under.api.url, "--author", "ada"];
const chancery = (...words: string[]) => runCommand([...words, ...at()]);

const everyone = { edge: { total: 10, acked: 10, refused: [], lagging: [], gone: [] } };
const most = { edge: { total: 10, acked: 9, refused: [], lagging: ["edge-10"], gone: [] } };
const refusedByOne = {
  edge: {
    total: 10,
    acked: 9,
    refused: [{ node: "edge-3", type: "cluster", resource: "a", detail: "no such thing" }],
    lagging: [],
    gone: [],
  },
} as Sync["gateways"];
const state = async () => (await under.store.loadState()).clusters.map(({ name }) => name);

beforeAll(async () => {
  under = await startApi({ plans: true });
});
afterAll(() => under.close());
beforeEach(() => {
  asked = [];
  answer(() => "acked", everyone);
});

/** How the fleet answers, by revision. */
function answer(stateOf: (revision: number) => Sync["state"], gateways: Sync["gateways"]): void {
  under.fleet.waitSync = async (revision, timeoutMs, _, quorumPercent) => {
    asked.push({ timeoutMs, quorumPercent });
    const found = stateOf(revision);
    return synced(revision, found, { gateways: found === "refused" ? refusedByOne : gateways });
  };
}

describe("--quorum", () => {
  test("waits, for so many of the Envoys, and tells who lags", async () => {
    answer(() => "acked", most);
    await under.api.put("/v1/clusters/q", {});
    const { out, code } = await chancery("delete", "cluster", "q", "--quorum", "90%", "--timeout", "3s");
    expect(code).toBe(0);
    expect(out).toMatch(/^cluster q: deleted \(revision 2\)\n {2}edge: 9 of 10 Envoys have it\n {4}waiting for edge-10\n$/);
    expect(asked).toHaveLength(1);
    expect(asked[0]?.quorumPercent).toBe(90);
    expect(asked[0]?.timeoutMs).toBeGreaterThan(2_000);
  });

  test("without it, --wait is for all of them, and without both nobody waits", async () => {
    await under.api.put("/v1/clusters/q", {});
    await chancery("delete", "cluster", "q", "--wait");
    expect(asked).toMatchObject([{ quorumPercent: 100 }]);
    await under.api.put("/v1/clusters/q", {});
    await chancery("delete", "cluster", "q");
    expect(asked).toHaveLength(1);
  });

  test("that is not reached in time exits with 1", async () => {
    answer(() => "pending", most);
    await under.api.put("/v1/clusters/q", {});
    const { error, code } = await chancery("delete", "cluster", "q", "--quorum", "95");
    expect([code, error]).toEqual([1, "It is committed, and not every Envoy confirmed it in time. They go on trying.\n"]);
  });

  test.each(["0%", "101%", "most", "-5", "9.5%"])("%s is none: a wrong use, and nothing is sent", async (quorum) => {
    const before = await under.store.head();
    expect(await chancery("delete", "cluster", "q", `--quorum=${quorum}`)).toMatchObject({
      code: 2,
      error: expect.stringContaining("90%"),
    });
    expect(await under.store.head()).toEqual(before);
  });
});

describe("--on-refusal rollback", () => {
  test("puts back what was there, says so, and exits with 4", async () => {
    await under.api.put("/v1/clusters/a", {});
    const { revision } = await under.store.head();
    answer((one) => (one === revision + 1 ? "refused" : "acked"), everyone);
    const { error, code } = await chancery("delete", "cluster", "a", "--on-refusal", "rollback");
    expect(code).toBe(4);
    expect(error.split("\n")).toEqual([
      `Revision ${revision + 1} was refused:`,
      "  edge: 9 of 10 Envoys have it",
      "    edge-3 refused cluster a: no such thing",
      `What was there before is back, as revision ${revision + 2}:`,
      "  edge: 10 of 10 Envoys have it",
      "",
    ]);
    expect(await state()).toEqual(["a"]);
  });

  test("that not every Envoy has yet is told as that", async () => {
    const { revision } = await under.store.head();
    answer((one) => (one === revision + 1 ? "refused" : "pending"), most);
    const { error, code } = await chancery("delete", "cluster", "a", "--on-refusal=rollback");
    expect([code, error]).toEqual([4, expect.stringContaining(`as revision ${revision + 2}, which not every Envoy has yet:\n`)]);
  });

  test("that finds the object changed since leaves it, says why, and exits with 1", async () => {
    const { revision } = await under.store.head();
    under.fleet.waitSync = async (one) => {
      if (one === revision + 1) await under.api.put("/v1/clusters/a", { connectTimeoutMs: 77 });
      return synced(one, "refused", { gateways: refusedByOne });
    };
    const { error, code } = await chancery("delete", "cluster", "a", "--on-refusal", "rollback");
    expect(code).toBe(1);
    expect(error).toContain(`Revision ${revision + 1} stays, and not every Envoy takes it:\n`);
    expect(error).toMatch(/It was not put back: nothing is restored: cluster a has been changed since\.\n$/);
  });

  test("is not done unless it is asked for", async () => {
    answer(() => "refused", everyone);
    const { error, code } = await chancery("delete", "cluster", "a", "--wait");
    expect([code, error]).toEqual([1, expect.stringMatching(/^Revision \d+ is committed, and not every Envoy takes it:\n/)]);
    expect(await state()).toEqual([]);
    expect((await chancery("delete", "cluster", "a", "--on-refusal", "shrug")).code).toBe(2);
  });
});

test("endpoint changes what it is told of one endpoint, and leaves the rest", async () => {
  const asIs = { address: "10.0.0.7", port: 80, weight: 5, priority: 1 };
  await under.api.put("/v1/clusters/e", { endpoints: [asIs] });
  const off = await chancery("endpoint", "e/10.0.0.7:80", "--disable", "--wait");
  expect(off).toMatchObject({
    code: 0,
    out: expect.stringMatching(
      /^endpoint e\/10\.0\.0\.7:80: enabled=false \(revision \d+\)\n {2}edge: 10 of 10 Envoys have it\n$/,
    ),
  });
  const path = "/v1/clusters/e/endpoints/10.0.0.7:80";
  expect(await under.api.get(path)).toMatchObject({ ...asIs, enabled: false });
  await chancery("endpoint", "e/10.0.0.7:80", "--enable", "--weight", "9");
  expect(await under.api.get(path)).toMatchObject({ ...asIs, weight: 9, enabled: true });
  for (const words of [[], ["--enable", "--disable"], ["--weight", "x"]])
    expect((await chancery("endpoint", "e/10.0.0.7:80", ...words)).code).toBe(2);
  expect((await chancery("endpoint", "e/10.0.0.8:80", "--enable")).code).toBe(1);
});

test("the help tells the options and the exit codes", async () => {
  const weights = await runCommand(["weights", "--help"]);
  expect(weights.out).toMatch(/--quorum <percent>[\s\S]*--on-refusal <what>/);
  expect((await runCommand(["revisions", "--help"])).out).toContain("--follow");
  expect((await runCommand(["--help"])).out).toMatch(/4 an Envoy\s+refused it, and what was there before is back/);
});

describe("revisions --follow", () => {
  const lines = ({ out }: RunningCommand) => out.split("\n").filter((line) => line !== "");
  const told = (command: RunningCommand) =>
    lines(command)
      .flatMap((line) => /^revision (\d+) by/.exec(line)?.[1] ?? [])
      .map(Number);

  test("shows each revision and who has it, as it happens, until nobody reads", async () => {
    const { revision } = await under.store.head();
    const command = startCommand(["revisions", "--follow", "--after", String(revision), ...at()]);
    await under.api.call("PUT", "/v1/clusters/f", {}, { "x-chancery-author": "bob", "x-chancery-reason": "why not" });
    await waitFor("its sync", () => command.out.includes(`revision ${revision + 1}: acked\n`));
    expect(lines(command)[0]).toMatch(new RegExp(`^revision ${revision + 1} by bob at \\S+Z, 1 object: why not$`));
    expect(lines(command).slice(1)).toEqual([`revision ${revision + 1}: acked`, "  edge: 10 of 10 Envoys have it"]);
    command.close();
    expect(await command.ended).toBe(0);
  });

  test("as JSON is a document on each line", async () => {
    const { revision } = await under.store.head();
    const command = startCommand(["revisions", "--follow", "--after", String(revision - 1), "-o", "json", ...at()]);
    await waitFor("a line", () => lines(command).length > 0);
    expect(JSON.parse(lines(command)[0] ?? "")).toMatchObject({ event: "revision", revision, author: "bob" });
    command.close();
    await command.ended;
  });

  test("comes back after its connection was lost, and misses none and repeats none", async () => {
    const { hostname, port } = new URL(under.api.url);
    const proxy = await startTcpProxy("API proxy", { host: hostname, port: Number(port) });
    const { revision } = await under.store.head();
    const through = ["--api", `http://127.0.0.1:${proxy.port}`];
    const command = startCommand(["revisions", "--follow", "--after", String(revision), ...through]);
    await under.api.put("/v1/clusters/g", {});
    await waitFor("the first", () => told(command).length === 1);
    proxy.become("closed");
    await under.api.put("/v1/clusters/h", {});
    await under.api.put("/v1/clusters/i", {});
    proxy.become("pass");
    await under.api.put("/v1/clusters/j", {});
    await waitFor("all of them", () => told(command).length >= 4);
    expect(told(command)).toEqual([1, 2, 3, 4].map((one) => revision + one));
    command.close();
    expect(await command.ended).toBe(0);
  });

  test("of what nobody can follow exits with 1, and beside other choices with 2", async () => {
    expect(await chancery("revisions", "--follow", "--after", "999999")).toMatchObject({
      code: 1,
      error: expect.stringContaining("there is no revision 999999"),
    });
    for (const words of [["7"], ["--by", "bob"], ["--object", "cluster/f"], ["--against", "1"]])
      expect((await chancery("revisions", ...words, "--follow")).code).toBe(2);
    expect((await chancery("revisions", "--after", "1")).code).toBe(2);
  });

  test("ends with 1 when the database has another history", async () => {
    const { revision } = await under.store.head();
    const command = startCommand(["revisions", "--follow", "--after", String(revision - 1), ...at()]);
    await waitFor("a line", () => command.out !== "");
    await sql(under.databaseUrl, "update revisions set id = gen_random_uuid() where revision = (select n from revision_counter)");
    expect(await command.ended).toBe(1);
    expect(command.error).toContain("another history");
  });
});
