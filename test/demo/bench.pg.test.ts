// `npm run bench` runs from end to end and writes what it says, with a tiny case of ours alone, by one replica and by two. No time is asserted. Without Go there
// is nothing that loads a server, and without Go's modules on this machine nothing is fetched: then the first test is skipped.
import { execFile, spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";

const run = promisify(execFile);
const script = fileURLToPath(new URL("../../bench/run.mjs", import.meta.url));
const offline = { ...process.env, GOPROXY: "off", GOFLAGS: "-mod=readonly" };
/** Load and peer can be built with what is on this machine. */
const canBuild = ["xdsfleet", "gcp-server"].every((name) => {
  const cwd = fileURLToPath(new URL(`../../bench/${name}`, import.meta.url));
  return spawnSync("go", ["list", "-deps", "."], { cwd, env: offline, stdio: "ignore" }).status === 0;
});
const tiny = [
  ...["--replicas", "1,2", "--change", "service", "--streams", "10", "--clusters", "5", "--runs", "1"],
  ...["--warmup", "1", "--changes", "2", "--probe", "1"],
];

interface Result {
  readonly rows: readonly { readonly name: string; readonly values: Readonly<Record<string, number>> }[];
  readonly runs: readonly {
    readonly failed?: string;
    readonly report: { readonly propagation: { readonly converged: boolean } };
  }[];
}

test.skipIf(!canBuild)(
  "(skipped without Go and its modules) a tiny case of ours writes measurements, a table and a plot",
  { timeout: 170_000 },
  async () => {
    const out = await mkdtemp(join(tmpdir(), "chancery-bench-test-"));
    onTestFinished(() => rm(out, { recursive: true, force: true }));
    await run(process.execPath, [script, ...tiny, "--idle", "100", "--limit", "60", "--out", out], {
      env: offline,
      timeout: 160_000,
    });
    const files = (await readdir(out)).sort();
    expect(files.map((file) => file.replace(/^[\d-]{10}-/, ""))).toEqual(
      ["json", "md", "svg"].map((end) => `n10-c5-delta-service.${end}`),
    );
    const result: Result = JSON.parse(await readFile(join(out, String(files[0])), "utf8"));
    expect(result.runs.map(({ failed, report }) => [failed, report.propagation.converged])).toEqual([
      [undefined, true],
      [undefined, true],
    ]);
    const of = (name: string, server = "ours") => result.rows.find((row) => row.name.startsWith(name))?.values[server];
    expect(of("CPU per stream")).toBeGreaterThan(0);
    expect(of("bytes per stream")).toBeGreaterThan(200);
    expect(of("API GET meanwhile")).toBeGreaterThan(0);
    expect(of("Postgres", "ours-2")).toBeGreaterThan(0);
    expect(of("the same bytes over plain sockets", "raw floor")).toBeGreaterThan(0);
  },
);

test("a wrong option, and help, start nothing", async () => {
  const { stdout } = await run(process.execPath, [script, "--help"]);
  expect(stdout).toContain("--clusters");
  for (const wrong of [
    ["--change", "nothing"],
    ["--suite", "nothing"],
    ["--servers", "nobody"],
    ["--streams", "many"],
  ])
    await expect(run(process.execPath, [script, ...wrong])).rejects.toMatchObject({ code: 2 });
});
