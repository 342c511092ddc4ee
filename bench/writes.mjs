// `npm run bench:writes`: what one change costs by itself, apart from the streams: CPU of the control plane and of Postgres, statements,
// round trips, WAL; and what a replica costs while nothing happens. With `--against FOLDER` (another checkout, built) both are measured
// in turn, on databases of their own in one Postgres, and the medians of the rounds are told side by side. `--help` tells the rest.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import pg from "pg";
import { changes } from "./mesh.mjs";
import { startPostgresCounter } from "./postgres-wire.mjs";
import { binaries, build, cores, root, startPostgres } from "./prepare.mjs";
import { killAll, start } from "./processes.mjs";
import { median } from "./report.mjs";
import { startOurs } from "./servers.mjs";

const help = `npm run bench:writes -- [options]         (npm run build first)

  --streams N        simulated Envoys                            (10)
  --clusters C       clusters of 10 endpoints                    (100)
  --change X         ${Object.keys(changes).join(" | ")}                           (canary)
  --changes K        measured changes per round                  (200)
  --warmup K         others before them                          (100)
  --pace MS          from one change to the next                 (50)
  --idle SECONDS     without changes, before them                (10)
  --rounds R         of everything; medians are told             (3)
  --against FOLDER   another checkout, built: measured in turn
  --profile FOLDER   CPU profiles there
  --texts            the statements, by their beginnings, and CPU by process and thread`;

function readOptions() {
  const text = (standard) => ({ type: "string", default: standard });
  const flag = { type: "boolean", default: false };
  const { values } = parseArgs({
    options: {
      ...{ help: flag, texts: flag, against: { type: "string" }, profile: { type: "string" } },
      ...{ streams: text("10"), clusters: text("100"), change: text("canary"), changes: text("200"), warmup: text("100") },
      ...{ pace: text("50"), idle: text("10"), rounds: text("3") },
    },
  });
  if (!changes[values.change]) throw new Error(`--change is one of ${Object.keys(changes).join(", ")}`);
  for (const key of ["streams", "clusters", "changes", "warmup", "pace", "idle", "rounds"]) {
    if (!/^\d{1,6}$/.test(values[key])) throw new Error(`--${key} is a whole number`);
    values[key] = Number(values[key]);
  }
  return values;
}

/** pid → CPU time so far, ms, of a process and its children: schedstat counts nanoseconds, not ticks. */
function cpuTimes(pid) {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) => {
    const listed = readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").trim();
    return listed === "" ? [] : listed.split(" ");
  });
  return new Map([String(pid), ...children].map((one) => [one, ownCpuMs(one)]));
}

const ownCpuMs = (pid) => [...threadTimes(pid).values()].reduce((sum, { ms }) => sum + ms, 0);

/** Thread → CPU time so far, ms, and its name. */
function threadTimes(pid) {
  const times = new Map();
  try {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const folder = `/proc/${pid}/task/${task}`;
      const ms = Number(readFileSync(`${folder}/schedstat`, "utf8").split(" ")[0]) / 1e6;
      times.set(task, { ms, name: task === String(pid) ? "main thread" : readFileSync(`${folder}/comm`, "utf8").trim() });
    }
  } catch {
    // It has ended in between.
  }
  return times;
}

/** Of processes that are still there: those of Postgres come and go with its own housekeeping. */
function between(before, after) {
  return [...after].reduce((sum, [pid, ms]) => sum + Math.max(0, ms - (before.get(pid) ?? 0)), 0);
}

const agent = new Agent({ keepAlive: true, maxSockets: 1 });

/** One write over a connection that stays, as a script's would. */
function call(base, { method, path, body }) {
  return new Promise((done, failed) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const sent = request(base + path, { method, headers, agent }, (answer) => {
      let text = "";
      answer.setEncoding("utf8");
      answer.on("data", (part) => (text += part));
      answer.on("end", () => (answer.statusCode < 300 ? done() : failed(new Error(`${answer.statusCode} ${text}`))));
    });
    sent.on("error", failed);
    sent.end(body);
  });
}

/** The k-th change: another weight each time, as xdsfleet's. */
function changeNumber(change, k) {
  const w = 1 + (k % 99);
  const { method, path, body } = changes[change].ours;
  const fill = (text) =>
    text
      .replaceAll("{{k}}", k)
      .replaceAll("{{w}}", w)
      .replaceAll("{{v}}", 100 - w);
  return { method, path: fill(path), body: fill(body) };
}

/** What is spent while `run` runs, per unit. */
async function spent({ pid, postgresPid, counter, admin }, units, run) {
  const wal = async () => Number((await admin.query("select pg_current_wal_lsn() - '0/0' as bytes")).rows[0].bytes);
  const walBefore = await wal();
  counter.reset();
  const threadsBefore = threadTimes(pid);
  const before = [cpuTimes(pid), cpuTimes(postgresPid)];
  await run();
  const after = [cpuTimes(pid), cpuTimes(postgresPid)];
  const { statements, parses, roundTrips, texts } = counter.counts();
  const walBytes = (await wal()) - walBefore;
  const [node, postgres] = [0, 1].map((at) => between(before[at], after[at]));
  const figures = { node, postgres, statements, parses, roundTrips, walBytes };
  const perUnit = Object.fromEntries(Object.entries(figures).map(([key, sum]) => [key, sum / units]));
  const backends = await admin.query(
    "select pid::text, coalesce(nullif(application_name, ''), backend_type) as name from pg_stat_activity",
  );
  const names = new Map(backends.rows.map(({ pid: backend, name }) => [backend, name]));
  const processes = new Map();
  for (const [thread, { ms, name }] of threadTimes(pid)) {
    const key = `control plane, ${name}`;
    processes.set(key, (processes.get(key) ?? 0) + (ms - (threadsBefore.get(thread)?.ms ?? 0)) / units);
  }
  for (const [one, ms] of after[1]) {
    const name = names.get(one) ?? "postgres, other";
    processes.set(name, (processes.get(name) ?? 0) + Math.max(0, ms - (before[1].get(one) ?? 0)) / units);
  }
  return { ...perUnit, processes: [...processes], texts: [...texts].map(([text, count]) => [text, count / units]) };
}

async function paced(paceMs, count, act) {
  const startedAt = performance.now();
  for (let index = 0; index < count; index++) {
    await act(index);
    await delay(Math.max(0, startedAt + (index + 1) * paceMs - performance.now()));
  }
}

/** One control plane through one round. */
async function measure({ from, url, postgres, folder, core }, options) {
  const { streams, clusters, change, profile, pace, idle, warmup } = options;
  const own = new URL(url);
  const counter = await startPostgresCounter({ host: own.hostname, port: Number(own.port) });
  own.port = String(counter.port);
  const shared = { root: from, folder, core: core.server, clusters, change, profile };
  const server = await startOurs({ ...shared, database: { url: own.href, pid: postgres.pid } });
  const admin = new pg.Client({ connectionString: url });
  await admin.connect();
  const fleet =
    streams > 0 &&
    start({
      command: join(binaries, "xdsfleet"),
      args: ["-addr", server.xdsAddress, "-n", String(streams), "-mode", "delta", "-idle", "1h", "-o", join(folder, "idle.json")],
      core: core.load,
      logFile: join(folder, "xdsfleet.log"),
    });
  try {
    const measured = { pid: server.pids[0], postgresPid: postgres.pid, counter, admin };
    const make = (k) => call(server.base, changeNumber(change, k));
    await paced(pace, warmup, make);
    await delay(2_000);
    const idleCost = await spent(measured, idle, () => delay(idle * 1_000));
    const writeCost = await spent(measured, options.changes, () => paced(pace, options.changes, (k) => make(k + warmup)));
    return { idle: idleCost, write: writeCost };
  } finally {
    if (fleet) await fleet.stop();
    await server.stop();
    await admin.end();
    await counter.close();
  }
}

const measures = [
  ["CPU of the control plane, ms", "node"],
  ["CPU of Postgres, ms", "postgres"],
  ["statements", "statements"],
  ["of them parsed and planned anew", "parses"],
  ["round trips", "roundTrips"],
  ["WAL, bytes", "walBytes"],
];

function table(found) {
  const shown = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(2));
  const names = Object.keys(found);
  const lines = [
    ["", ...names],
    ["---", ...names.map(() => "---")],
  ];
  for (const [phase, title] of [
    ["write", "per change"],
    ["idle", "per idle second"],
  ]) {
    for (const [label, key] of measures) {
      const medians = names.map((name) => shown(median(found[name].map((round) => round[phase][key])) ?? 0));
      lines.push([`${title}: ${label}`, ...medians]);
    }
  }
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function texts(found) {
  const sections = Object.entries(found).flatMap(([name, rounds]) =>
    ["write", "idle"].map((phase) => {
      const listed = (rounds.at(-1)?.[phase].texts ?? []).filter(([, count]) => count >= 0.005).sort((a, b) => b[1] - a[1]);
      const busy = (rounds.at(-1)?.[phase].processes ?? []).filter(([, ms]) => ms >= 0.01).sort((a, b) => b[1] - a[1]);
      const lines = [
        ...listed.map(([text, count]) => `${count.toFixed(2)}  ${text.slice(0, 110)}`),
        ...busy.map(([one, ms]) => `${ms.toFixed(2)} ms  ${one}`),
      ];
      return `${name}, ${phase}:\n${lines.map((line) => `  ${line}`).join("\n")}`;
    }),
  );
  return sections.join("\n\n");
}

async function main() {
  const options = readOptions();
  if (options.help) return console.log(help);
  const variants = { here: root, ...(options.against ? { against: resolve(options.against) } : {}) };
  for (const from of Object.values(variants))
    if (!existsSync(join(from, "dist", "main.js"))) throw new Error(`${from} is not built: run \`npm run build\` there`);
  if (options.streams > 0 && !build(["xdsfleet"])) throw new Error("Go is not there: it builds the load. Or choose --streams 0");
  const core = cores();
  const folder = mkdtempSync(join(tmpdir(), "chancery-writes-"));
  const postgres = await startPostgres(`${folder}-database`, core.server);
  const found = Object.fromEntries(Object.keys(variants).map((name) => [name, []]));
  try {
    const urls = {};
    for (const name of Object.keys(variants)) urls[name] = await postgres.database(`writes_${name}`);
    for (let round = 1; round <= options.rounds; round++) {
      const order = Object.entries(variants);
      for (const [name, from] of round % 2 ? order : order.reverse()) {
        const result = await measure({ from, url: urls[name], postgres, folder, core }, options);
        found[name].push(result);
        const { node, postgres: database, statements } = result.write;
        console.log(
          `${round}/${options.rounds} ${name}: ${node.toFixed(1)} + ${database.toFixed(1)} ms, ${statements.toFixed(1)} statements per change; idle ${result.idle.node.toFixed(1)} + ${result.idle.postgres.toFixed(1)} ms/s (load ${loadavg()[0].toFixed(1)})`,
        );
      }
    }
    console.log(`\n${table(found)}`);
    if (options.texts) console.log(`\n${texts(found)}`);
  } finally {
    await postgres.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

process.on("exit", killAll);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));
await main().catch((error) => {
  console.error(error.message);
  process.exitCode = 2;
});
