// The commands as a person types them, against the real admin API on a real Postgres: what they print, and how they exit.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ApiUnderTest, startApi, synced } from "../api/api-under-test.js";
import { type FinishedCommand, runCommand } from "../support/command-line.js";
import { freePort } from "../support/ports.js";

let under: ApiUnderTest;
let folder: string;

const chancery = (...words: string[]): Promise<FinishedCommand> => runCommand(words);

const at = () => ["--api", under.api.url, "--author", "Ada Lovelace"];

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

const shop = `kind: route
name: checkout
protocol: http
listeners: [web]
backends: [{ cluster: checkout-v1, weight: 95 }, { cluster: checkout-v2, weight: 5 }]
---
kind: cluster
name: checkout-v1
endpoints:
  - { address: 10.0.0.7, port: 8080 }
---
kind: cluster
name: checkout-v2
---
kind: listener
name: web
protocol: http
port: 10000
gateways: [edge]
`;

beforeAll(async () => {
  under = await startApi({ plans: true });
  folder = await mkdtemp(join(tmpdir(), "chancery-cli-"));
});
afterAll(async () => {
  await under.close();
  await rm(folder, { recursive: true });
});

const done = (out: string) => out.split("\n").filter((line) => /^(cluster|endpoint|listener|route) /.test(line));

test("apply creates what a file says, all in one revision, and a second time changes nothing", async () => {
  const path = await file("shop.yaml", shop);
  const first = await chancery("apply", "-f", path, ...at());
  expect(first).toMatchObject({ code: 0, error: "" });
  expect(done(first.out)).toEqual([
    "cluster checkout-v1: created",
    "cluster checkout-v2: created",
    "endpoint checkout-v1/10.0.0.7:8080: created",
    "listener web: created",
    "route checkout: created",
  ]);
  expect(first.out).toContain("\nrevision 1\n");
  expect(first.out).toContain(`  note: ${path}:7:1: cluster checkout-v1: healthChecks: no health check`);
  const second = await chancery("apply", "-f", path, ...at());
  expect(done(second.out).every((line) => line.endsWith(": unchanged"))).toBe(true);
  const { author } = (await under.store.read.revision(1)) ?? {};
  expect(author).toBe("Ada Lovelace");
});

test("a list of endpoints in a cluster's document is the whole set, also of a cluster that exists", async () => {
  const path = await file("moved.yaml", "kind: cluster\nname: checkout-v1\nendpoints: [{ address: fd00::8, port: 80 }]\n");
  expect((await chancery("apply", "-f", path, ...at())).code).toBe(0);
  expect((await chancery("get", "endpoints", "checkout-v1", ...at())).out).toMatch(/^ENDPOINT .*\n\[fd00::8\]:80 [^\n]*yes\n$/);
});

test("refusals are told at their places in the file, all at once, and nothing is changed", async () => {
  const before = await under.store.head();
  const path = await file(
    "broken.yaml",
    `kind: cluster
name: one
connectTimeoutMs: 0
protocol: htpp
---
kind: cluster
name: two
endpoints: [{ address: 10.0.0.7 }]
---
kind: cluster
name: three
`,
  );
  const { out, error, code } = await chancery("apply", "-f", path, ...at());
  expect(code).toBe(1);
  expect(out).toContain(`${path}:3:1: cluster one: connectTimeoutMs: `);
  expect(out).toContain(`${path}:4:1: cluster one: protocol: `);
  expect(out).toContain(`${path}:8:13: cluster two: endpoints.0.port: `);
  expect(error).toBe("Refused; nothing was changed.\n");
  expect(await under.store.head()).toEqual(before);
});

test("what the files do not fit to is told at its place too", async () => {
  const path = await file(
    "unfit.yaml",
    "kind: route\nname: lost\nprotocol: http\nlisteners: [web, nowhere]\nbackends: [{ cluster: nothing }]\n---\nkind: cluster\nname: fine\n",
  );
  const { out, code } = await chancery("apply", "-f", path, ...at());
  expect(code).toBe(1);
  expect(out).toContain(`${path}:4:18: route lost: listeners.1: there is no listener nowhere`);
  expect(out).toContain(`${path}:5:14: route lost: backends.0.cluster: there is no cluster nothing`);
  expect((await chancery("get", "cluster", "fine", ...at())).code).toBe(1);
});

test("diff shows what apply would do, and does nothing", async () => {
  const path = await file(
    "diff.yaml",
    "kind: cluster\nname: checkout-v1\nconnectTimeoutMs: 7\n---\nkind: listener\nname: web\nprotocol: http\nport: 10001\ngateways: [edge]\n---\nkind: cluster\nname: new\n",
  );
  const before = await under.store.head();
  const { out, code } = await chancery("diff", "-f", path, ...at());
  expect(code).toBe(0);
  expect(out.split("\n").slice(0, 9)).toEqual([
    "cluster checkout-v1: updated",
    "  /connectTimeoutMs: 5000 → 7",
    "cluster new: created",
    "listener web: updated",
    "  /port: 10000 → 10001",
    "gateway edge, 2 Envoys connected",
    "  cluster checkout-v1: changed",
    "  listener web: changed",
    "  listener web drains: its connections are closed",
  ]);
  expect((await chancery("diff", "-f", path, "--exit-code", ...at())).code).toBe(1);
  expect(JSON.parse((await chancery("diff", "-f", path, "-o", "json", ...at())).out)).toMatchObject({
    revision: null,
    changed: true,
  });
  expect(await under.store.head()).toEqual(before);
  const web = await file("web.yaml", shop.slice(shop.lastIndexOf("---") + 4));
  const same = await chancery("diff", "-f", web, "--exit-code", ...at());
  expect([same.code, same.out.split("\n")[0]]).toEqual([0, "nothing to change"]);
});

test("--prune deletes what the set's files no longer hold, and leaves the rest alone", async () => {
  const files = (...names: string[]) => file("set.yaml", names.map((name) => `kind: cluster\nname: ${name}\n`).join("---\n"));
  await chancery("apply", "-f", await files("keep", "drop"), "--set", "team", ...at());
  const shown = await chancery("diff", "-f", await files("keep"), "--set", "team", "--prune", ...at());
  expect(shown.out.split("\n").filter((line) => !line.includes("note:"))).toEqual(["cluster drop: deleted", ""]);
  const pruned = await chancery("apply", "-f", await files("keep"), "--set", "team", "--prune", ...at());
  expect(done(pruned.out)).toEqual(["cluster keep: unchanged", "cluster drop: deleted"]);
  expect((await chancery("get", "clusters", ...at())).out).toContain("checkout-v1");
});

test("a file that can't be read, or is wrong, is a wrong use, and nothing is sent", async () => {
  const before = await under.store.head();
  const half = await file("half.yaml", "kind: cluster\nname: good\n---\nkind: cluster\nnmae: bad\n");
  const wrong = await chancery("apply", "-f", half, ...at());
  expect(wrong).toMatchObject({ code: 2, out: "", error: `Nothing was sent:\n${half}:4:1: a cluster needs a name\n` });
  const twice = await file("twice.yaml", "kind: cluster\nname: a\n---\nkind: cluster\nname: a\n");
  expect((await chancery("apply", "-f", twice, ...at())).error).toContain(
    `${twice}:5:1: cluster a is there twice; first at ${twice}:1:1`,
  );
  expect((await chancery("apply", "-f", join(folder, "none.yaml"), ...at())).code).toBe(2);
  expect(await under.store.head()).toEqual(before);
});

test("what get prints as YAML can be applied as it is, and changes nothing", async () => {
  const texts: string[] = [];
  for (const words of [["clusters"], ["endpoints", "checkout-v1"], ["listeners"], ["routes"]]) {
    texts.push((await chancery("get", ...words, "-o", "yaml", ...at())).out);
  }
  const path = await file("all.yaml", texts.join("---\n"));
  const { out, code } = await chancery("apply", "-f", path, ...at());
  expect(code).toBe(0);
  expect(done(out).length).toBeGreaterThanOrEqual(5);
  expect(done(out).filter((line) => !line.endsWith(": unchanged"))).toEqual([]);
});

test("weights are shown with their shares, and set all at once", async () => {
  expect((await chancery("weights", "checkout", ...at())).out).toContain("checkout-v1  95      95.0 %\n");
  const set = await chancery("weights", "checkout", "checkout-v1=50", "checkout-v2=50", ...at());
  expect(set.out).toMatch(/^route checkout: checkout-v1=50 checkout-v2=50 \(revision \d+\)\n/);
  expect((await chancery("get", "route", "checkout", ...at())).out).toContain("checkout-v1=50 checkout-v2=50");
});

test("a backend that is missing or strange among the weights is refused in words", async () => {
  const { code, error } = await chancery("weights", "checkout", "checkout-v1=1", "checkout-v3=2", ...at());
  expect(code).toBe(1);
  expect(error).toContain("checkout-v2");
  expect(error).toContain("checkout-v3");
});

test("--wait says which Envoys have it, and fails when not all do in time", async () => {
  const edge = { total: 2, acked: 1, refused: [], lagging: ["edge-2"], gone: [] };
  under.fleet.waitSync = async (revision) => synced(revision, "pending", { gateways: { edge } });
  const { code, out, error } = await chancery(
    "weights",
    "checkout",
    "checkout-v1=1",
    "checkout-v2=2",
    "--wait",
    "--timeout",
    "50ms",
    ...at(),
  );
  expect(out).toContain("  edge: 1 of 2 Envoys have it\n    waiting for edge-2\n");
  expect(error).toMatch(/committed, and not every Envoy confirmed/);
  expect(code).toBe(1);
});

test("an Envoy's refusal comes home in its own words", async () => {
  const refused = [{ node: "edge-1", type: "route" as const, resource: "web", detail: "Envoy's own words" }];
  const edge = { total: 1, acked: 0, refused, lagging: [], gone: [] };
  under.fleet.waitSync = async (revision) => synced(revision, "refused", { gateways: { edge } });
  const { code, error } = await chancery("weights", "checkout", "checkout-v1=3", "checkout-v2=2", "--wait", ...at());
  expect(code).toBe(1);
  expect(error).toContain("    edge-1 refused route web: Envoy's own words\n");
});

test("delete removes, says what is in use, and what is not there", async () => {
  expect(await chancery("delete", "cluster", "checkout-v2", ...at())).toMatchObject({
    code: 1,
    error: expect.stringContaining("checkout"),
  });
  expect((await chancery("delete", "endpoint", "checkout-v1/[fd00::8]:80", ...at())).out).toMatch(
    /^endpoint checkout-v1\/\[fd00::8\]:80: deleted/,
  );
  expect((await chancery("delete", "route", "checkout", ...at())).code).toBe(0);
  expect((await chancery("delete", "route", "checkout", ...at())).code).toBe(1);
  expect((await chancery("get", "routes", ...at())).out).toBe("There is no route.\n");
});

test("a fleet without Envoys says how to get one", async () => {
  expect((await chancery("nodes", ...at())).out).toMatch(/^No Envoy has connected\. `chancery bootstrap`/);
});

test("a control plane that is away has an exit code of its own, and a wrong command line another", async () => {
  const away = await chancery("get", "routes", "--api", `http://127.0.0.1:${await freePort()}`);
  expect(away).toMatchObject({ code: 3, error: expect.stringContaining("did not answer") });
  expect((await chancery("get")).code).toBe(2);
  expect((await chancery("get", "routse", ...at())).code).toBe(2);
  expect((await chancery("weights", "checkout", "a", ...at())).code).toBe(2);
  expect((await chancery("--help")).code).toBe(0);
});
