// `npm test`: everything that must hold, from a fresh clone, with plain Node. Arguments go to vitest (`npm test -- canary`).
// Steps: install when the lock file changed, build, fetch Envoy, biome, types of src and test, import rules, vitest.
// The last line is always `N passed, N failed`, alone; a step that breaks, a crashed run and a run of no test count as failed.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { installCommand, isInstalled } from "./install.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const report = join(root, ".cache", "test-report.json");
/** What the processes of the tests wrote, for reading after a failure. */
const logs = join(root, ".cache", "test-logs");
const bin = (name) => join(root, "node_modules", ".bin", name);

/** Runs one command in the project, its output shown as it comes. True when it ended with 0. */
function run(title, command, args) {
  console.log(`\n▸ ${title}`);
  const started = Date.now();
  const result = spawnSync(command, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  const passed = result.status === 0;
  const reason = result.error ? `could not be started: ${result.error.message}` : (result.signal ?? `exit code ${result.status}`);
  console.log(passed ? `  done in ${((Date.now() - started) / 1000).toFixed(1)} s` : `  ${title}: ${reason}`);
  return passed;
}

function install() {
  const { command, args } = installCommand();
  return isInstalled(root) || run("npm ci", command, args);
}

/** What vitest's JSON report says. A run that wrote none crashed. */
function readReport(passedRun) {
  if (!existsSync(report)) return { passed: 0, failed: 1 };
  const { numPassedTests, numFailedTests, numFailedTestSuites, numTotalTests } = JSON.parse(readFileSync(report, "utf8"));
  const broken = numFailedTests === 0 && (numFailedTestSuites > 0 || numTotalTests === 0 || !passedRun);
  return { passed: numPassedTests, failed: broken ? 1 : numFailedTests };
}

function vitest(args) {
  mkdirSync(dirname(report), { recursive: true });
  rmSync(report, { force: true });
  rmSync(logs, { recursive: true, force: true });
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  return readReport(run("vitest", bin("vitest"), ["run", ...reporters, ...args]));
}

function main(args) {
  if (!install()) return { passed: 0, failed: 1 };
  if (!run("build", process.execPath, ["scripts/build.mjs"])) return { passed: 0, failed: 1 };
  run("pgbouncer, for the portable mode", process.execPath, ["scripts/pgbouncer-binary.mjs"]); // Without it its test is skipped.
  const checks = [
    run("Envoy", process.execPath, ["scripts/envoy-binary.mjs"]),
    run("format and lint", bin("biome"), ["check", "."]),
    run("types", bin("tsc"), ["-p", "tsconfig.test.json", "--noEmit"]),
    run("import rules", bin("depcruise"), ["--config", ".dependency-cruiser.cjs", "src"]),
  ];
  const tests = vitest(args);
  return { passed: tests.passed, failed: tests.failed + checks.filter((passed) => !passed).length };
}

let outcome = { passed: 0, failed: 1 };
try {
  outcome = main(process.argv.slice(2));
} catch (error) {
  console.error(error);
}
process.exitCode = outcome.failed > 0 || outcome.passed === 0 ? 1 : 0;
console.log(`\n${outcome.passed} passed, ${outcome.failed} failed`);
