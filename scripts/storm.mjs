// `npm run storm -- --streams 5000 --replicas 3`: a fleet of simulated Envoys on several control planes with the settings that they have by
// themselves; one is killed, and its streams come to the others at once. Measures how long until all are in sync there, and what it does to
// the others' event loops from then until all are in sync. `--pause S` is left between the first sync and the kill (10); `--clusters C`, of 10 endpoints each (100).
// Needs a build, and Go for the fleet (bench/xdsfleet). Exits 0 when everybody was back within 60 s and no event loop's p99 was above 200 ms.
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { meshOf } from "../bench/mesh.mjs";
import { freePorts, killAll, start, tail, untilReady } from "../bench/processes.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bounds = { syncMs: 60_000, delayMs: 200 };
const { values } = parseArgs({
  options: {
    streams: { type: "string", default: "5000" },
    replicas: { type: "string", default: "3" },
    clusters: { type: "string", default: "100" },
    pause: { type: "string", default: "10" },
  },
});
for (const [name, value] of Object.entries(values)) {
  if (/^[1-9]\d{0,5}$/.test(value)) continue;
  console.error(`--${name} takes a whole number from 1 on, and got ${JSON.stringify(value)}.`);
  process.exit(2);
}
const [streams, replicaCount, clusters, pauseSeconds] = [values.streams, values.replicas, values.clusters, values.pause].map(
  Number,
);
if (replicaCount < 2) {
  console.error("--replicas must be 2 or more: one is killed.");
  process.exit(2);
}

function buildFleet() {
  const binary = join(root, ".cache", "bench", "xdsfleet");
  mkdirSync(dirname(binary), { recursive: true });
  execFileSync("go", ["build", "-p", "2", "-trimpath", "-o", binary, "."], {
    cwd: join(root, "bench", "xdsfleet"),
    stdio: "inherit",
  });
  return binary;
}

async function startReplica(folder, databaseUrl, number) {
  const [apiPort, xdsPort] = await freePorts(2);
  const { ENVOY_BIN: _envoy, NODE_OPTIONS: _options, ...inherited } = process.env;
  const env = {
    ...inherited,
    DATABASE_URL: databaseUrl,
    CHANCERY_REPLICA_ID: `storm-${number}`,
    CHANCERY_API_ADDRESS: `127.0.0.1:${apiPort}`,
    CHANCERY_XDS_ADDRESS: `127.0.0.1:${xdsPort}`,
    CHANCERY_STATE_DIR: "off",
    CHANCERY_LOG_LEVEL: "warn",
  };
  const logFile = join(folder, `replica-${number}.log`);
  const child = start({ command: process.execPath, args: [join(root, "dist", "main.js"), "serve", "--migrate"], env, logFile });
  const base = `http://127.0.0.1:${apiPort}`;
  await untilReady(child, `${base}/readyz`);
  return { ...child, base, xdsPort };
}

async function fill(base) {
  for (const changes of meshOf(clusters)) {
    const body = JSON.stringify({ changes });
    const answer = await fetch(`${base}/v1/changes`, { method: "POST", headers: { "content-type": "application/json" }, body });
    if (!answer.ok) throw new Error(`POST /v1/changes: ${answer.status} ${(await answer.text()).slice(0, 500)}`);
  }
}

/** Series of one control plane by name; labels as in the text. */
async function scrape(base) {
  const lines = (await (await fetch(`${base}/metrics`)).text()).split("\n").filter((line) => !line.startsWith("#"));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]));
}

/** Begins to measure the survivors: reading their event loops' delay resets it. Returns how to read what it was since then. */
async function measure(survivors) {
  await Promise.all(survivors.map(({ base }) => scrape(base)));
  return () =>
    Promise.all(
      survivors.map(async ({ base }) => {
        const series = await scrape(base);
        const ms = (quantile) => (series.get(`chancery_event_loop_delay_seconds{quantile="${quantile}"}`) ?? 0) * 1_000;
        const met = (limit) => series.get(`chancery_limit_hits_total{limit="${limit}"}`) ?? 0;
        return { p99: ms("0.99"), max: ms("1"), turnedAway: met("xds_new_streams_per_second") + met("xds_max_first_pushes") };
      }),
    );
}

/** Runs the fleet; `onPhase` is told when the first control plane is gone. */
async function runFleet(binary, folder, replicas, onPhase) {
  const report = join(folder, "report.json");
  const kill = `kill -9 ${replicas[0].pid}`;
  const args = ["-addr", replicas.map(({ xdsPort }) => `127.0.0.1:${xdsPort}`).join(","), "-failover", "-n", String(streams)];
  args.push(
    "-mode",
    "delta",
    "-idle",
    `${pauseSeconds}s`,
    "-lose",
    kill,
    "-timeout",
    "300s",
    "-sync-timeout",
    "300s",
    "-o",
    report,
  );
  const logFile = join(folder, "xdsfleet.log");
  const onLine = (line) => {
    console.log(`  ${line}`);
    if (line.includes("phase lost")) onPhase();
  };
  const fleet = start({ command: binary, args, logFile, onLine });
  const code = await fleet.ended;
  if (code !== 0) throw new Error(`xdsfleet ended with ${code}:\n${tail(logFile)}`);
  return JSON.parse(readFileSync(report, "utf8"));
}

async function main(folder) {
  const binary = buildFleet();
  const { startEmbeddedPostgres } = await import(join(root, "dist", "demo", "embedded-postgres.js"));
  const postgres = await startEmbeddedPostgres({ dataDir: join(folder, "postgres"), log: () => {} });
  try {
    const replicas = [];
    for (let number = 1; number <= replicaCount; number++) replicas.push(await startReplica(folder, postgres.url, number));
    await fill(replicas[0].base);
    console.log(`${streams} streams on ${replicaCount} control planes, ${clusters} clusters`);
    let measuring = Promise.resolve(async () => []);
    const { storm, lost } = await runFleet(binary, folder, replicas, () => {
      measuring = measure(replicas.slice(1));
    });
    const loops = await (await measuring)();
    const syncMs = Math.round(lost.sync.last_ms);
    console.log(`at first: all in sync in ${Math.round(storm.wall_ms)} ms, ${storm.stream_errors} tries turned away or lost`);
    console.log(
      `one killed: ${lost.streams} streams in sync elsewhere in ${syncMs} ms, ${lost.stream_errors} tries turned away or lost`,
    );
    for (const [at, { p99, max, turnedAway }] of loops.entries())
      console.log(
        `storm-${at + 2}: event loop p99 ${Math.round(p99)} ms, longest ${Math.round(max)} ms; ${turnedAway} streams turned away in all`,
      );
    if (lost.error) console.log(lost.error);
    const isFine = !lost.error && syncMs <= bounds.syncMs && loops.every(({ p99 }) => p99 <= bounds.delayMs);
    console.log(
      isFine ? "within bounds" : `NOT within bounds: ${bounds.syncMs} ms, and ${bounds.delayMs} ms for the event loop's p99`,
    );
    return isFine ? 0 : 1;
  } finally {
    killAll();
    await postgres.stop();
  }
}

const folder = mkdtempSync(join(tmpdir(), "chancery-storm-"));
chmodSync(folder, 0o755); // As root, Postgres runs under another account.
try {
  process.exitCode = await main(folder);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
