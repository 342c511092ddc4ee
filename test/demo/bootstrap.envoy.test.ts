// A real Envoy takes every bootstrap that `chancery bootstrap` can print, also the two that docker-compose.yml uses.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { toBootstrapText } from "../../src/cli/bootstrap-command.js";
import { findEnvoy } from "../../src/demo/envoy.js";

const run = promisify(execFile);
const top = join(import.meta.dirname, "..", "..");
let envoy = "";
let folder = "";

beforeAll(async () => {
  const found = await findEnvoy();
  if ("missing" in found) throw new Error(found.missing);
  envoy = found.path;
  folder = await mkdtemp(join(tmpdir(), "chancery-bootstrap-"));
});
afterAll(() => rm(folder, { recursive: true }));

const composed = { node: "edge-1", gateway: "edge", xds: "control-plane-1:18000,control-plane-2:18000" };
const standard = {
  ...composed,
  adminPort: "9901",
  adminAddress: "127.0.0.1",
  services: "ads",
  sotw: false,
  statistics: "few",
  maxConnections: "50000",
  format: "yaml",
} as const;

const variants = (["ads", "separate"] as const).flatMap((services) =>
  [false, true].flatMap((sotw) => (["few", "all"] as const).map((statistics) => ({ services, sotw, statistics }))),
);

async function validate(text: string, name: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  const { stdout, stderr } = await run(envoy, ["--mode", "validate", "-c", path, "-l", "warn"]);
  return stdout + stderr;
}

test.each(variants)("$services, state of the world $sotw, $statistics statistics", async (variant) => {
  const name = `${variant.services}-${variant.sotw}-${variant.statistics}.yaml`;
  const said = await validate(toBootstrapText({ ...standard, ...variant, region: "eu", zone: "a" }), name);
  expect(said).toContain("OK");
  expect(said, "no warning: no field is deprecated, and connections are limited").not.toMatch(/warning|deprecated/i);
});

test("addresses, IPv6 among them, and JSON", async () => {
  const text = toBootstrapText({ ...standard, xds: "10.0.0.1:18000,[fd00::1]:18000", format: "json" });
  expect(await validate(text, "addresses.json")).toContain("OK");
});

test("a misspelt field would have been found", async () => {
  const text = toBootstrapText(standard).replace("stats_flush_interval", "stats_flash_interval");
  await expect(validate(text, "misspelt.yaml")).rejects.toThrow(/stats_flash_interval/);
});

test.each(["edge-1", "edge-2"])("envoy/%s.yaml is what `chancery bootstrap` prints today", async (node) => {
  expect(await readFile(join(top, "envoy", `${node}.yaml`), "utf8")).toBe(toBootstrapText({ ...standard, node }));
});
