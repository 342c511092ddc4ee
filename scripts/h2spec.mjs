// `npm run h2spec`: the HTTP/2 conformance tests of h2spec against the xDS port, compared with what is known to fail
// (test/support/h2spec-baseline.txt, one name a line). Not part of `npm test`. The program is H2SPEC_BIN, or `h2spec` on the PATH, or is built
// once with Go into .cache/ (github.com/summerwind/h2spec, pinned). Needs a build. Exits 0 when nothing fails that is not in the baseline.
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePorts, killAll, start, untilReady } from "../bench/processes.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const version = "v2.2.1+incompatible";

function findProgram() {
  const given = process.env.H2SPEC_BIN;
  if (given) return given;
  if (spawnSync("h2spec", ["--version"]).status === 0) return "h2spec";
  const folder = join(root, ".cache", "h2spec");
  const built = join(folder, "h2spec");
  if (existsSync(built)) return built;
  if (spawnSync("go", ["version"]).status !== 0)
    throw new Error("h2spec is not there: set H2SPEC_BIN, or install Go to build it");
  const env = { ...process.env, GOBIN: folder };
  execFileSync("go", ["install", `github.com/summerwind/h2spec/cmd/h2spec@${version}`], { env, stdio: "inherit" });
  return built;
}

/** Names of failed cases, as `section/number: description`, from h2spec's JUnit report. */
function failuresIn(report) {
  const cases = [...report.matchAll(/<testcase package="([^"]*)" classname="([^"]*)"[^>]*>([\s\S]*?)<\/testcase>/g)];
  return cases
    .filter(([, , , body]) => /<(failure|error)/.test(body))
    .map(([, section, name]) => `${section}: ${name}`.replaceAll("&#34;", '"'));
}

async function main(folder) {
  const program = findProgram();
  const { startEmbeddedPostgres } = await import(join(root, "dist", "demo", "embedded-postgres.js"));
  const postgres = await startEmbeddedPostgres({ dataDir: join(folder, "postgres"), log: () => {} });
  try {
    const [apiPort, xdsPort] = await freePorts(2);
    const env = {
      ...process.env,
      DATABASE_URL: postgres.url,
      CHANCERY_API_ADDRESS: `127.0.0.1:${apiPort}`,
      CHANCERY_XDS_ADDRESS: `127.0.0.1:${xdsPort}`,
      CHANCERY_STATE_DIR: "off",
      CHANCERY_LOG_LEVEL: "warn",
      CHANCERY_XDS_MAX_STREAMS_PER_CONNECTION: "100", // h2spec opens one beyond whatever is allowed.
    };
    const logFile = join(folder, "replica.log");
    const child = start({ command: process.execPath, args: [join(root, "dist", "main.js"), "serve", "--migrate"], env, logFile });
    await untilReady(child, `http://127.0.0.1:${apiPort}/readyz`);
    const report = join(folder, "report.xml");
    const path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    const args = ["-h", "127.0.0.1", "-p", String(xdsPort), "-P", path, "-o", "3", "-j", report];
    const { status } = spawnSync(program, args, { stdio: ["ignore", "ignore", "inherit"], timeout: 540_000 });
    if (status === null || !existsSync(report)) throw new Error(`h2spec ended with ${status}, and left no report`);
    const found = failuresIn(readFileSync(report, "utf8"));
    const isAlive = (await fetch(`http://127.0.0.1:${apiPort}/readyz`)).ok;
    return compare(found, isAlive);
  } finally {
    killAll();
    await postgres.stop();
  }
}

function compare(found, isAlive) {
  const lines = readFileSync(join(root, "test", "support", "h2spec-baseline.txt"), "utf8").split("\n");
  const known = lines.filter((line) => line !== "" && !line.startsWith("#"));
  const fresh = found.filter((name) => !known.includes(name));
  const mended = known.filter((name) => !found.includes(name));
  console.log(`${found.length} failed, ${known.length} are known`);
  for (const name of fresh) console.log(`NEW      ${name}`);
  for (const name of mended) console.log(`mended   ${name}`);
  if (!isAlive) console.log("the control plane did not survive");
  return fresh.length === 0 && isAlive ? 0 : 1;
}

const folder = mkdtempSync(join(tmpdir(), "chancery-h2spec-"));
chmodSync(folder, 0o755); // As root, Postgres runs under another account.
try {
  process.exitCode = await main(folder);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
