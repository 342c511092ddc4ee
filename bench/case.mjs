// One case: all servers in turn through the same load, as often as asked for. In: a case (run.mjs has the options). Out: the runs, each
// with xdsfleet's report. Whatever it starts it ends.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { measureFloor } from "./floor.mjs";
import { changes } from "./mesh.mjs";
import { binaries, cores, root, startPostgres } from "./prepare.mjs";
import { start, tail } from "./processes.mjs";
import { median } from "./report.mjs";
import { startOurs, startPeer } from "./servers.mjs";

/** "ours" is one replica, "ours-4" four of them on one Postgres, with the same fleet spread over them; undefined: not ours. */
export function replicasOf(server) {
  const found = /^ours(?:-(\d))?$/.exec(server);
  return found ? Number(found[1] ?? 1) : undefined;
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
    ...["-n", String(options.streams), "-mode", options.protocol, "-server-pid", server.pids.join(","), "-o", reportFile],
    ...["-warmup", String(options.warmup), "-repeat", String(options.changes)],
    ...["-idle", `${options.idle}ms`, "-settle", "150ms", ...server.load],
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
async function measure(name, options, { folder, core, database }) {
  const { clusters, change, profile } = options;
  const shared = { folder, core: core.server, clusters, change };
  const replicas = replicasOf(name);
  const server = replicas
    ? await startOurs({ ...shared, root, profile, replicas, database: await database() })
    : await startPeer({ ...shared, binary: join(binaries, "gcp-server"), form: name.slice("gcp-".length) });
  try {
    const report = await load(server, options, folder, core.load);
    const fault =
      report.propagation?.error ?? (report.propagation?.converged === false ? "streams ended with different content" : undefined);
    return { server: name, replicas, report, ...(fault ? { failed: fault } : {}) };
  } finally {
    await server.stop();
  }
}

/** A database for each run of a change that leaves something behind, and one for all the others. */
function databases(postgres, change) {
  let count = 0;
  let last;
  return async () => {
    if (!last || changes[change].grows) last = { url: await postgres.database(`bench_${++count}`), pid: postgres.pid };
    return last;
  };
}

/** Longest time of the raw floor, ms. */
const floorLimitMs = 60_000;

/** The raw floor of the bytes that a change took on the first server that was measured; undefined: none was, or it failed. */
async function floorOf(runs, options, folder, core) {
  const bytes = runs.find(({ failed }) => !failed)?.report.propagation?.bytes_per_stream_per_change;
  if (!(bytes > 0)) return undefined;
  return measureFloor({ streams: options.streams, bytes, core, folder, limitMs: floorLimitMs }).catch((error) => {
    console.log(`  ${error.message}`);
    return undefined;
  });
}

/** All servers of the case, `options.runs` times: { runs, floor }. */
export async function runCase(options) {
  const folder = mkdtempSync(join(tmpdir(), "chancery-bench-"));
  const core = cores();
  const runs = [];
  // Postgres runs as somebody else when we are root, who could not enter a folder of ours.
  const postgres = options.servers.some(replicasOf) ? await startPostgres(`${folder}-database`, core.server) : undefined;
  const database = postgres && databases(postgres, options.change);
  try {
    for (let round = 1; round <= options.runs; round++) {
      for (const name of options.servers) {
        const loadBefore = loadavg()[0];
        const time = new Date().toISOString().slice(11, 19);
        console.log(`${time} ${round}/${options.runs} ${name} (load ${loadBefore.toFixed(1)})`);
        const run = await measure(name, options, { folder, core, database }).catch((error) => ({
          server: name,
          failed: error.message,
        }));
        if (run.failed) console.log(`  failed: ${run.failed}`);
        runs.push({ round, loadBefore, ...run });
      }
    }
    return { runs, floor: options.floor ? await floorOf(runs, options, folder, core) : undefined };
  } finally {
    await postgres?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
