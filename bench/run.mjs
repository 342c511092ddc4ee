// `npm run bench`: ours and go-control-plane on the same work, in turn, on the same core, with the load on the other. Needs a build.
// Writes bench/results/<date>-<case>.json, .md and .svg. All on the loopback; whatever it starts it ends. `--help` tells the rest.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { changes } from "./mesh.mjs";
import { binaries, build, cores, root, startPostgres } from "./prepare.mjs";
import { killAll, start, tail } from "./processes.mjs";
import { machine, markdown, median, plot, summary } from "./report.mjs";
import { startOurs, startPeer } from "./servers.mjs";

const help = `npm run bench -- [options]         (npm run build first)

  --streams N        simulated Envoys, one connection each           (1000)
  --clusters C       clusters of 10 endpoints                        (100)
  --protocol P       delta | sotw                                    (delta)
  --change X         ${Object.keys(changes).join(" | ")}                               (endpoint)
  --servers S,…      ours, gcp-linear, gcp-snapshot, in this order   (all)
  --repeat R         repetitions of everything; medians are reported (3)
  --changes K        measured changes per repetition, after 2 others (8)
  --burst B          then so many changes without a pause            (0)
  --reconnect        then all streams end at once and come back
  --probe K          then K changes while the API is asked 100 times/s (5)
  --idle MS          pause before memory is read                     (3000)
  --steady SECONDS   then one change per second for so long          (0)
  --profile FOLDER   a CPU profile of ours there
  --limit SECONDS    longest time of one server in one repetition    (300)
  --out FOLDER       where results go                                (bench/results)`;

const number = (text) => {
  if (!/^\d{1,7}$/.test(text)) throw new Error(`a whole number is needed, not ${JSON.stringify(text)}`);
  return Number(text);
};

function readOptions() {
  const text = (standard) => ({ type: "string", default: standard });
  const { values } = parseArgs({
    options: {
      help: { type: "boolean", default: false },
      reconnect: { type: "boolean", default: false },
      streams: text("1000"),
      clusters: text("100"),
      protocol: text("delta"),
      change: text("endpoint"),
      servers: text("ours,gcp-linear,gcp-snapshot"),
      repeat: text("3"),
      changes: text("8"),
      burst: text("0"),
      probe: text("5"),
      idle: text("3000"),
      steady: text("0"),
      profile: { type: "string" },
      limit: text("300"),
      out: text(join(root, "bench", "results")),
    },
  });
  if (!["delta", "sotw"].includes(values.protocol)) throw new Error(`--protocol is delta or sotw, not ${values.protocol}`);
  if (!changes[values.change]) throw new Error(`--change is ${Object.keys(changes).join(" or ")}, not ${values.change}`);
  const counts = ["streams", "clusters", "repeat", "changes", "burst", "probe", "idle", "steady", "limit"];
  return {
    ...values,
    ...Object.fromEntries(counts.map((key) => [key, number(values[key])])),
    servers: values.servers.split(","),
  };
}

/** Asks the API 100 times per second until told to stop; also reads the event loop's delay of that time. */
async function probe({ probeUrl, metricsUrl }, signal) {
  const loopDelay = async () => {
    const text = await (await fetch(metricsUrl)).text();
    const found = /event_loop_delay_seconds\{[^}]*quantile="1"[^}]*\} (\S+)/.exec(text);
    return found ? Number(found[1]) * 1000 : undefined;
  };
  await loopDelay(); // Reading resets it.
  const times = [];
  while (!signal.aborted) {
    const startedAt = performance.now();
    await (await fetch(probeUrl)).arrayBuffer();
    times.push(performance.now() - startedAt);
    await delay(10);
  }
  const loopDelayMs = await loopDelay();
  times.sort((a, b) => a - b);
  return {
    requests: times.length,
    p50Ms: median(times),
    p99Ms: times[Math.floor(times.length * 0.99)],
    worstMs: times.at(-1),
    loopDelayMs,
  };
}

/** Loads one server, and returns xdsfleet's report with what the API did meanwhile. */
async function load(server, options, folder, core) {
  const reportFile = join(folder, "report.json");
  rmSync(reportFile, { force: true });
  const flag = (name, value) => (value > 0 ? [name, String(value)] : []);
  const args = [
    ...["-n", String(options.streams), "-mode", options.protocol, "-server-pid", String(server.pid), "-o", reportFile],
    ...["-warmup", "2", "-repeat", String(options.changes), "-idle", `${options.idle}ms`, "-settle", "150ms", ...server.load],
    ...[...flag("-burst", options.burst), ...(server.probeUrl ? flag("-probed", options.probe) : [])],
    ...[...(options.steady > 0 ? ["-steady", `${options.steady}s`] : []), ...(options.reconnect ? ["-reconnect"] : [])],
  ];
  let probing;
  const stopProbe = new AbortController();
  const onLine = (line) => {
    if (line.endsWith("phase probed")) probing = probe(server, stopProbe.signal).catch((error) => ({ error: String(error) }));
    if (line.endsWith("phase end")) stopProbe.abort();
  };
  const fleet = start({ command: join(binaries, "xdsfleet"), args, core, logFile: join(folder, "xdsfleet.log"), onLine });
  const timer = setTimeout(() => void fleet.stop(), options.limit * 1000);
  const code = await fleet.ended;
  clearTimeout(timer);
  stopProbe.abort();
  const api = await probing;
  if (code !== 0 || !existsSync(reportFile)) throw new Error(`xdsfleet ended with ${code}:\n${tail(fleet.logFile)}`);
  return { ...JSON.parse(readFileSync(reportFile, "utf8")), ...(api ? { api } : {}) };
}

/** One server, fresh, through one load. */
async function measure(name, { options, folder, core, database }) {
  const { clusters, change, profile } = options;
  const shared = { folder, core: core.server, clusters, change };
  const server =
    name === "ours"
      ? await startOurs({ ...shared, root, database, profile })
      : await startPeer({ ...shared, binary: join(binaries, "gcp-server"), form: name.slice("gcp-".length) });
  try {
    const report = await load(server, options, folder, core.load);
    const fault =
      report.propagation?.error ?? (report.propagation?.converged === false ? "streams ended with different content" : undefined);
    return { server: name, report, ...(fault ? { failed: fault } : {}) };
  } finally {
    await server.stop();
  }
}

function write(options, runs, startedAt) {
  const { streams, clusters, protocol, change } = options;
  const key = `n${streams}-c${clusters}-${protocol}-${change}`;
  const file = join(options.out, `${startedAt.toISOString().slice(0, 10)}-${key}`);
  const rows = summary(runs);
  const facts = { machine: machine(), go: spawnSync("go", ["version"], { encoding: "utf8" }).stdout?.trim(), options, runs };
  mkdirSync(options.out, { recursive: true });
  const { out: _, profile: __, ...told } = options;
  writeFileSync(`${file}.json`, `${JSON.stringify({ startedAt, ...facts, options: told, rows }, undefined, 1)}\n`);
  const { cpu, cores: count, memoryGiB, node } = facts.machine;
  const loads = runs.map(({ loadBefore }) => loadBefore.toFixed(1)).join(", ");
  const title = `${streams} Envoys, ${clusters} clusters, ${protocol}, ${change}`;
  const text = markdown({
    title,
    about: [`${startedAt.toISOString()}, ${cpu}, ${count} cores, ${memoryGiB} GiB, Node ${node}, ${facts.go || "no Go"}.`],
    rows,
    notes: [
      `Medians of ${options.repeat} repetitions, ${options.changes} changes each. CPU per change of ours holds Postgres'.`,
      `Load of the machine before each run: ${loads}. Above 2 others were at work: trust ratios of CPU, not times.`,
      ...runs.filter(({ failed }) => failed).map(({ server, failed }) => `${server} failed: ${failed.split("\n")[0]}`),
    ],
  });
  writeFileSync(`${file}.md`, text);
  writeFileSync(`${file}.svg`, plot({ title, rows }));
  console.log(`\n${text}\n${file}.md`);
}

async function main() {
  const options = readOptions();
  if (options.help) return console.log(help);
  if (!existsSync(join(root, "dist", "main.js"))) throw new Error("dist/main.js is not there: run `npm run build` first");
  if (!build()) throw new Error("Go is not there: it builds the load (xdsfleet) and the peer (https://go.dev/dl)");
  const folder = mkdtempSync(join(tmpdir(), "chancery-bench-"));
  const core = cores();
  const startedAt = new Date();
  const runs = [];
  // Postgres runs as somebody else when we are root, who could not enter a folder of ours.
  const postgres = options.servers.includes("ours") ? await startPostgres(`${folder}-database`, core.server) : undefined;
  const database = postgres && { url: await postgres.database("bench"), pid: postgres.pid };
  try {
    for (let round = 1; round <= options.repeat; round++) {
      for (const name of options.servers) {
        const loadBefore = loadavg()[0];
        console.log(
          `${new Date().toISOString().slice(11, 19)} ${round}/${options.repeat} ${name} (load ${loadBefore.toFixed(1)})`,
        );
        const run = await measure(name, { options, folder, core, database }).catch((error) => ({
          server: name,
          failed: error.message,
        }));
        if (run.failed) console.log(`  failed: ${run.failed}`);
        runs.push({ round, loadBefore, ...run });
      }
    }
    write(options, runs, startedAt);
  } finally {
    await postgres?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  if (runs.some(({ failed }) => failed)) process.exitCode = 1;
}

process.on("exit", killAll);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));
await main().catch((error) => {
  console.error(error.message);
  process.exitCode = 2;
});
