// `npm run bench`: ours and go-control-plane on the same work, in turn, on the same core, with the load on the other. Needs a build.
// Writes bench/results/<date>-<case>.json, .md and .svg, and with --suite one table and one plot of all cases. All on the loopback;
// whatever it starts it ends. `--help` tells the rest.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { replicasOf, runCase } from "./case.mjs";
import { changes } from "./mesh.mjs";
import { build, root } from "./prepare.mjs";
import { killAll } from "./processes.mjs";
import { machine, markdown, plot, summary } from "./report.mjs";
import { suitePlot, suites, suiteTable } from "./suite.mjs";

const help = `npm run bench -- [options]         (npm run build first)

  --suite S          ${Object.keys(suites).join(" | ")}: a list of cases, and one table of them all
  --streams N        simulated Envoys, one connection each           (1000)
  --clusters C       clusters of 10 endpoints                        (100)
  --protocol P       delta | sotw                                    (delta)
  --change X         ${Object.keys(changes).join(" | ")}                     (endpoint)
  --servers S,…      ours, gcp-linear, gcp-snapshot, in this order   (all)
  --replicas R,…     ours alone, by so many replicas on one Postgres, with the fleet spread over them
  --runs R           of everything; medians are reported             (3)
  --warmup K         changes before the measured ones                (30)
  --changes K        measured changes per run                        (20)
  --burst B          then so many changes without a pause            (0)
  --reconnect        then all streams end at once and come back
  --probe K          then K changes while the API is asked 100 times/s (5)
  --idle MS          pause before memory is read                     (3000)
  --steady SECONDS   then one change per second for so long          (0)
  --no-floor         leave out the same bytes over plain sockets
  --profile FOLDER   a CPU profile of ours there
  --limit SECONDS    longest time of one server in one run           (300)
  --out FOLDER       where results go                                (bench/results)`;

const number = (text) => {
  if (!/^\d{1,7}$/.test(text)) throw new Error(`a whole number is needed, not ${JSON.stringify(text)}`);
  return Number(text);
};

function readOptions() {
  const text = (standard) => ({ type: "string", default: standard });
  const flag = { type: "boolean", default: false };
  const { values } = parseArgs({
    options: {
      ...{ help: flag, reconnect: flag, "no-floor": flag },
      ...{ profile: { type: "string" }, replicas: { type: "string" }, suite: { type: "string" } },
      ...{ streams: text("1000"), clusters: text("100"), protocol: text("delta"), change: text("endpoint") },
      ...{ servers: text("ours,gcp-linear,gcp-snapshot"), runs: text("3"), warmup: text("30"), changes: text("20") },
      ...{ burst: text("0"), probe: text("5"), idle: text("3000"), steady: text("0"), limit: text("300") },
      out: text(join(root, "bench", "results")),
    },
  });
  if (!["delta", "sotw"].includes(values.protocol)) throw new Error(`--protocol is delta or sotw, not ${values.protocol}`);
  if (!changes[values.change]) throw new Error(`--change is ${Object.keys(changes).join(" or ")}, not ${values.change}`);
  if (values.suite && !suites[values.suite])
    throw new Error(`--suite is ${Object.keys(suites).join(" or ")}, not ${values.suite}`);
  const counts = ["streams", "clusters", "runs", "warmup", "changes", "burst", "probe", "idle", "steady", "limit"];
  const servers = values.replicas
    ? values.replicas.split(",").map((count) => (count === "1" ? "ours" : `ours-${count}`))
    : values.servers.split(",");
  for (const server of servers)
    if (!replicasOf(server) && !/^gcp-(linear|snapshot)$/.test(server)) throw new Error(`there is no server ${server}`);
  const { "no-floor": noFloor, replicas: _, ...kept } = values;
  return { ...kept, ...Object.fromEntries(counts.map((key) => [key, number(values[key])])), servers, floor: !noFloor };
}

/** What a reader must know to judge the figures. */
function about(startedAt) {
  const { cpu, cores: count, memoryGiB, node } = machine();
  const go = spawnSync("go", ["version"], { encoding: "utf8" }).stdout?.trim();
  return `${startedAt.toISOString()}, ${cpu}, ${count} cores, ${memoryGiB} GiB, Node ${node}, ${go || "no Go"}.`;
}

function notes({ runs: count, changes: measured, warmup }, runs) {
  const loads = runs.map(({ loadBefore }) => loadBefore.toFixed(1)).join(", ");
  return [
    `Medians of ${count} runs, ${measured} changes each after ${warmup} others. CPU per change of ours holds Postgres'.`,
    `Load of the machine before each run: ${loads}. Above 2 others were at work: trust ratios of CPU, not times.`,
    ...runs.filter(({ failed }) => failed).map(({ server, failed }) => `${server} failed: ${failed.split("\n")[0]}`),
  ];
}

/** Writes one case, and returns it with its table. */
function write(options, { runs, floor }, startedAt) {
  const { streams, clusters, protocol, change } = options;
  const file = join(options.out, `${startedAt.toISOString().slice(0, 10)}-n${streams}-c${clusters}-${protocol}-${change}`);
  const rows = summary(runs, floor);
  mkdirSync(options.out, { recursive: true });
  const { out: _, profile: __, suite: ___, ...told } = options;
  const facts = { startedAt, machine: machine(), options: told, floor, runs, rows };
  writeFileSync(`${file}.json`, `${JSON.stringify(facts, undefined, 1)}\n`);
  const title = `${streams} Envoys, ${clusters} clusters, ${protocol}, ${change}`;
  const text = markdown({ title, about: [about(startedAt)], rows, notes: notes(options, runs) });
  writeFileSync(`${file}.md`, text);
  writeFileSync(`${file}.svg`, plot({ title, rows }));
  console.log(`\n${text}\n${file}.md`);
  return { options, rows, failed: runs.some(({ failed }) => failed) };
}

/** All cases of a list, the table and the plot rewritten after each: whoever ends it early has what there is. */
async function runSuite(options, startedAt) {
  const done = [];
  for (const one of suites[options.suite]) {
    const own = { ...options, ...one };
    done.push(write(own, await runCase(own), startedAt));
    const file = join(options.out, `${startedAt.toISOString().slice(0, 10)}-suite-${options.suite}`);
    const title = `Suite ${options.suite}, medians of ${options.runs}`;
    writeFileSync(`${file}.md`, suiteTable({ title, about: about(startedAt), cases: done }));
    writeFileSync(`${file}.svg`, suitePlot({ title, cases: done }));
    console.log(`${done.length}/${suites[options.suite].length}: ${file}.md`);
  }
  return done;
}

async function main() {
  const options = readOptions();
  if (options.help) return console.log(help);
  if (!existsSync(join(root, "dist", "main.js"))) throw new Error("dist/main.js is not there: run `npm run build` first");
  if (!build()) throw new Error("Go is not there: it builds the load (xdsfleet) and the peer (https://go.dev/dl)");
  const startedAt = new Date();
  const done = options.suite ? await runSuite(options, startedAt) : [write(options, await runCase(options), startedAt)];
  if (done.some(({ failed }) => failed)) process.exitCode = 1;
}

process.on("exit", killAll);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));
await main().catch((error) => {
  console.error(error.message);
  process.exitCode = 2;
});
