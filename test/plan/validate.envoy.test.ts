// The validator against the real Envoy: verdicts in its own words, who is at fault, the cache, and every limit.
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Cluster } from "../../src/model/cluster.js";
import { DesiredState } from "../../src/model/desired-state.js";
import type { Change } from "../../src/model/revision.js";
import type { HttpRoute } from "../../src/model/route.js";
import { Validator, type ValidatorOptions } from "../../src/plan/validate.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { createMetrics } from "../../src/telemetry/metrics.js";
import { goldenCases, stateOf } from "../golden/case.js";
import { readState } from "../golden/state.js";
import { findEnvoyBinary } from "../support/envoy.js";

const rows = readState(`
clusters:
  - { name: a, endpoints: [{ address: 10.0.0.1, port: 80 }] }
  - { name: b, endpoints: [{ address: 10.0.0.2, port: 80 }] }
  - { name: t, protocol: tcp, endpoints: [{ address: 10.0.0.3, port: 80 }] }
listeners:
  - { name: web, protocol: http, port: 80 }
  - { name: tcp-in, protocol: tcp, port: 81 }
routes:
  - { name: front, backends: [{ cluster: a, weight: 95 }, { cluster: b, weight: 5 }] }
  - { name: raw, protocol: tcp, listener: tcp-in, backends: [{ cluster: t }] }
`);
const state = DesiredState.from(rows);
const folder = mkdtempSync(join(tmpdir(), "chancery-validate-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function started(
  options: Partial<ValidatorOptions> = {},
): Promise<Validator & { metrics: ReturnType<typeof createMetrics> }> {
  const metrics = createMetrics();
  const validator = new Validator({
    binary: findEnvoyBinary(),
    timeoutMs: 20_000,
    maxProcesses: 2,
    maxVerdicts: 100,
    required: false,
    state: () => state,
    whenFresh: async () => true,
    log: createLogger("silent"),
    metrics,
    ...options,
  });
  await validator.start();
  return Object.assign(validator, { metrics });
}

const clusterNamed = (name: string, more: Partial<Cluster> = {}): Cluster => {
  const [first] = rows.clusters;
  if (!first) throw new Error("no cluster to copy");
  return { ...first, name, ...more };
};
const routeNamed = (name: string, more: Partial<HttpRoute> = {}): HttpRoute => {
  const first = rows.routes.find((route) => route.protocol === "http");
  if (!first) throw new Error("no route to copy");
  return { ...first, name, ...more };
};
const added = (cluster: Cluster): Change => ({ kind: "cluster", name: cluster.name, before: undefined, after: cluster });
const routed = (route: HttpRoute): Change => ({ kind: "route", name: route.name, before: undefined, after: route });
/** Only Envoy compares the two sizes; the API refuses them, and this looks behind it. */
const badRing = { policy: "ring-hash", minimumRingSize: 4096, maximumRingSize: 1024 } as const;
const pathOf = (value: string): HttpRoute["match"] => ({
  path: { kind: "regex", value },
  methods: [],
  headers: [],
  query: [],
  cookies: [],
});

/** A stand-in for Envoy: answers `--version`, and takes what has nothing in it. */
function fakeEnvoy(name: string, otherwise: string): string {
  const file = join(folder, name);
  const script = `#!/bin/sh
if [ "$1" = --version ]; then echo "envoy  version: 0/1.2.3/Clean/RELEASE/x"; exit 0; fi
for file; do :; done
if [ ! -s "$file" ]; then exit 0; fi
echo run >> ${file}.log
${otherwise}
`;
  writeFileSync(file, script);
  chmodSync(file, 0o755);
  return file;
}

let validator: Awaited<ReturnType<typeof started>>;
beforeAll(async () => {
  validator = await started();
});

test("it says that it is on, and with which Envoy", () => {
  expect(validator.state).toEqual({ state: "on", envoyVersion: expect.stringMatching(/^\d+\.\d+/) });
});

test.each(goldenCases)("everything of the case %s passes as one change", async (name) => {
  const all = stateOf(name);
  const changes: Change[] = [
    ...all.clusters.map((after) => ({ kind: "cluster" as const, name: after.name, before: undefined, after })),
    ...all.endpoints.map((after) => ({
      kind: "endpoint" as const,
      name: `${after.cluster}/${after.address.includes(":") ? `[${after.address}]` : after.address}:${after.port}`,
      before: undefined,
      after,
    })),
    ...all.listeners.map((after) => ({ kind: "listener" as const, name: after.name, before: undefined, after })),
    ...all.routes.map((after) => ({ kind: "route" as const, name: after.name, before: undefined, after })),
  ];
  const nothing = DesiredState.from({ revision: 0, id: "", clusters: [], endpoints: [], listeners: [], routes: [] });
  const own = await started({ state: () => nothing });
  expect(await own.judge(changes)).toEqual({ kind: "passed" });
});

test("a cluster that fails when it is made is refused, by name and in Envoy's words", async () => {
  expect(await validator.judge([added(clusterNamed("ring", { loadBalancing: badRing }))])).toEqual({
    kind: "refused",
    detail: "ring hash: minimum_ring_size (4096) > maximum_ring_size (1024)",
    object: { kind: "cluster", name: "ring" },
  });
});

test("of 200 changes the one at fault is found: a cluster, a route's regex, an endpoint", async () => {
  const good = Array.from({ length: 200 }, (_, at) => added(clusterNamed(`good-${at}`)));
  const routes = Array.from({ length: 100 }, (_, at) => routed(routeNamed(`route-${at}`)));
  const endpoints = Array.from({ length: 60 }, (_, at): Change => {
    const after = {
      cluster: "a",
      address: `10.0.1.${at}`,
      port: 80,
      weight: 1,
      region: "",
      zone: "",
      priority: 0,
      enabled: true,
    };
    return { kind: "endpoint", name: `a/${after.address}:80`, before: undefined, after };
  });
  const bad: readonly (readonly [Change, string])[] = [
    [added(clusterNamed("ring", { loadBalancing: badRing })), "ring"],
    [routed(routeNamed("regex", { match: pathOf("/[a-z0-9-]{1,63}") })), "regex"],
    [
      {
        kind: "endpoint",
        name: "a/no-such-host:80",
        before: undefined,
        after: { cluster: "a", address: "no-such-host", port: 80, weight: 1, region: "", zone: "", priority: 0, enabled: true },
      },
      "a/no-such-host:80",
    ],
  ];
  for (const [change, name] of bad) {
    const changes = [...good, ...routes, ...endpoints];
    changes.splice(137, 0, change);
    const verdict = await validator.judge(changes);
    expect(verdict).toMatchObject({ kind: "refused", object: { kind: change.kind, name } });
  }
});

test("a route to a cluster that was never shown to an Envoy is refused for the cluster's sake", async () => {
  const old = DesiredState.from({ ...rows, clusters: [...rows.clusters, clusterNamed("ring", { loadBalancing: badRing })] });
  const own = await started({ state: () => old });
  const route = routeNamed("to-ring");
  if (route.action.kind !== "forward") throw new Error("the copied route forwards");
  const change = routed({ ...route, action: { ...route.action, backends: [{ cluster: "ring", weight: 1 }] } });
  expect(await own.judge([change])).toMatchObject({ kind: "refused", object: { kind: "cluster", name: "ring" } });
});

test("an L4 route is refused for what its own cluster is made of", async () => {
  const before = rows.clusters.find(({ name }) => name === "t");
  if (!before) throw new Error("no cluster t");
  const change: Change = { kind: "cluster", name: "t", before, after: { ...before, loadBalancing: badRing } };
  expect(await validator.judge([change])).toMatchObject({ kind: "refused", object: { kind: "cluster", name: "t" } });
});

test("what was there and is wrong already does not stop a change elsewhere", async () => {
  const old = DesiredState.from({ ...rows, clusters: [...rows.clusters, clusterNamed("ring", { loadBalancing: badRing })] });
  const own = await started({ state: () => old });
  expect(await own.judge([added(clusterNamed("fine"))])).toEqual({ kind: "passed" });
});

test("what renders to nothing passes without an Envoy being asked", async () => {
  const binary = fakeEnvoy("never-asked", "exit 1");
  const own = await started({ binary });
  const before = clusterNamed("gone");
  expect(await own.judge([{ kind: "cluster", name: "gone", before, after: undefined }])).toEqual({ kind: "passed" });
  expect(readdirSync(folder)).not.toContain("never-asked.log");
});

test("the same content is asked about once, also when asked for twice at once", async () => {
  const binary = fakeEnvoy("once", "exit 0");
  const own = await started({ binary });
  const changes = [added(clusterNamed("same"))];
  expect(await Promise.all([own.judge(changes), own.judge(changes)])).toEqual([{ kind: "passed" }, { kind: "passed" }]);
  await own.judge(changes);
  expect(await runs(binary)).toBe(1);
  const small = await started({ binary, maxVerdicts: 1 });
  for (const name of ["one", "two", "one"]) await small.judge([added(clusterNamed(name))]);
  expect(await runs(binary)).toBe(4);
});

async function runs(binary: string): Promise<number> {
  const { readFile } = await import("node:fs/promises");
  return (await readFile(`${binary}.log`, "utf8")).trim().split("\n").length;
}

test("an Envoy that takes too long is killed, and nothing is known", async () => {
  const own = await started({ binary: fakeEnvoy("slow", "exec sleep 60"), timeoutMs: 300 });
  const startedAt = performance.now();
  expect(await own.judge([added(clusterNamed("x"))])).toMatchObject({ kind: "unknown", reason: "late" });
  expect(performance.now() - startedAt).toBeLessThan(3_000);
  expect(await own.metrics.text()).toContain('chancery_validations_total{outcome="late"} 1');
});

test("only so many run at once, and waiting for a turn counts", async () => {
  const binary = fakeEnvoy("crowd", "echo start >> $0.order; sleep 0.4; echo end >> $0.order; exit 0");
  const own = await started({ binary, maxProcesses: 1, timeoutMs: 700 });
  const verdicts = await Promise.all(["one", "two", "three", "four"].map((name) => own.judge([added(clusterNamed(name))])));
  expect(verdicts.filter(({ kind }) => kind === "passed").length).toBeGreaterThanOrEqual(1);
  expect(verdicts.filter((verdict) => verdict.kind === "unknown" && verdict.reason === "late").length).toBeGreaterThanOrEqual(2);
});

test("an Envoy that crashes on a configuration refuses it", async () => {
  const own = await started({ binary: fakeEnvoy("crash", "kill -SEGV $$") });
  expect(await own.judge([added(clusterNamed("x"))])).toMatchObject({
    kind: "refused",
    detail: "Envoy crashed on it (SIGSEGV)",
    object: { kind: "cluster", name: "x" },
  });
});

test("an Envoy that has become unusable refuses nothing: it does not even take an empty configuration", async () => {
  const binary = fakeEnvoy("broken", "exit 1");
  const own = await started({ binary });
  writeFileSync(binary, '#!/bin/sh\necho "no space left on device" >&2\nexit 1\n');
  expect(await own.judge([added(clusterNamed("x"))])).toMatchObject({ kind: "unknown", reason: "failed" });
});

test("without a binary, or with one that does not run, it is off and says why", async () => {
  const without = await started({ binary: undefined });
  expect(without.state).toMatchObject({ state: "off", reason: expect.stringContaining("CHANCERY_ENVOY_BIN") });
  expect(await without.judge([added(clusterNamed("x"))])).toEqual({ kind: "off" });
  const missing = await started({ binary: join(folder, "missing") });
  expect(missing.state).toMatchObject({ state: "off", reason: expect.stringContaining("ENOENT") });
  expect(await missing.describe([added(clusterNamed("x"))])).toBe("off");
});

test("the Envoy gets none of our environment, and its files are gone after", async () => {
  process.env["DATABASE_URL_OF_THE_TEST"] = "secret";
  const own = await started({ binary: fakeEnvoy("env", "env > $0.env; exit 0") });
  await own.judge([added(clusterNamed("x"))]);
  const { readFile } = await import("node:fs/promises");
  expect(await readFile(join(folder, "env.env"), "utf8")).not.toContain("secret");
  delete process.env["DATABASE_URL_OF_THE_TEST"];
});
