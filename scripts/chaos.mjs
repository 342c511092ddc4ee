// `npm run chaos`: the chaos tests of `npm test` for longer, with the faults, the seed and the time that one asks for. Needs a build.
// `--help` says what there is. Exits as the tests end: 0 when every checker was content, 1 when one was not, 2 when it was asked wrongly.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const faults = JSON.parse(readFileSync(join(root, "test/chaos/faults.json"), "utf8"));

const help = `npm run chaos -- [options]

Without --cycles: three control planes on a Postgres with a standby, 3 real Envoys under load and simulated ones, four writers, and faults,
one after the other, in an order by seed. After each fault everything must be the same again. In the end each checker says a line:
  writes       acknowledged and lost, done twice, half done; numbers missing; the history edited
  order        an Envoy got something older after something newer of one history, or what nobody committed
  convergence  after a fault, an Envoy had not what the database has within --converge-ms of the last write
  data plane   a request through a real Envoy failed
  refusals     a real Envoy refused an update

  --faults a,b,c      which; default all but failover-lagging, whose loss is by nature: with it the standby is asynchronous
  --seconds <n>       no fault begins after this; default 600
  --seed <n>          default 7004
  --simulated <n>     simulated Envoys; default 50
  --converge-ms <n>   default 5000

  --cycles <n>        the other kind: so many kill -9 of one Postgres and of two replicas under eight writers
  --replica-kills <n> of replicas, when not as often as of Postgres

  --idle-readers <n>  a third kind: so many Envoys that stop reading, at ten revisions a second; --seconds (default 120) bounds it

Faults:
${Object.entries(faults)
  .map(([name, about]) => `  ${name.padEnd(19)} ${about}`)
  .join("\n")}
`;

function fail(text) {
  console.error(text);
  process.exit(2);
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        help: { type: "boolean", short: "h" },
        faults: { type: "string" },
        seconds: { type: "string" },
        seed: { type: "string" },
        simulated: { type: "string" },
        "converge-ms": { type: "string" },
        cycles: { type: "string" },
        "replica-kills": { type: "string" },
        "idle-readers": { type: "string" },
      },
    }).values;
  } catch (error) {
    return fail(`${error.message}\nnpm run chaos -- --help says what there is.`);
  }
}

const values = readOptions();
if (values.help) {
  console.log(help);
  process.exit(0);
}
for (const [name, value] of Object.entries(values)) {
  if (name !== "faults" && !/^\d{1,9}$/.test(value)) fail(`--${name} takes a whole number, and got ${JSON.stringify(value)}.`);
}
const asked = values.faults?.split(",") ?? Object.keys(faults).filter((name) => name !== "failover-lagging");
for (const name of asked)
  if (!(name in faults)) fail(`There is no fault ${JSON.stringify(name)}; npm run chaos -- --help names them.`);

/** The kind of run → its test file, its project, and what it is told. */
function kindOfRun() {
  if (values.cycles !== undefined)
    return ["pg", "test/chaos/chaos.pg.test.ts", { CYCLES: values.cycles, REPLICA_KILLS: values["replica-kills"] }];
  if (values["idle-readers"] !== undefined)
    return [
      "pg",
      "test/chaos/idle-readers.pg.test.ts",
      { IDLE_READERS: values["idle-readers"], SECONDS: values.seconds ?? "120" },
    ];
  const { seconds = "600", simulated = "50", "converge-ms": convergeMs = "5000" } = values;
  const told = { FAULTS: asked.join(","), SECONDS: seconds, SIMULATED: simulated, CONVERGE_MS: convergeMs };
  return ["envoy", "test/chaos/faults.envoy.test.ts", told];
}

const [project, file, told] = kindOfRun();
const environment = Object.entries({ ...told, SEED: values.seed })
  .filter(([, value]) => value !== undefined)
  .map(([name, value]) => [`CHANCERY_CHAOS_${name}`, value]);
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
const { status } = spawnSync(process.execPath, [vitest, "run", "--project", project, file], {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, ...Object.fromEntries(environment) },
});
process.exitCode = status ?? 1;
