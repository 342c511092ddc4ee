// `npm run drains`: the drains of `npm test` for longer, with a row per kind of traffic at the end. `--help` tells the options. Needs a build.
// Exits as the tests end: 0 when nothing failed, no process was in use at the word "safe", and no drain waited for nothing.
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const kinds = ["http1", "http2", "grpc", "websocket", "tcp"];
const help = `npm run drains -- [options]       (npm run build first)

Backends behind two Envoys and two control planes are drained several at once, under load, and stopped at the word "safe", all their
sockets at once; new ones come in their place. All on the loopback; whatever is started is ended.

  --rounds N       rounds of each kind                                        (25)
  --at-once M      drains in each round, 1 to 20; the first has two endpoints (4)
  --rate R         requests or messages per second, of each kind              (2000)
  --kinds K,…      ${kinds.join(",")}
  --together       all kinds at the same time; otherwise one after the other
  --streams S      own: an Envoy's streams go to one control plane; spread: to any (own)
  --faults N       rounds of kill -9 and SIGSTOP of control planes with wrong clocks, in place of all this
  --seed S         begins elsewhere                                           (5001)

A round takes about 7 s. Exit code: 0, 1 when something did not hold, 2 for a wrong command line.`;

function fail(message) {
  console.error(`${message}\n\n${help}`);
  process.exit(2);
}

function readOptions() {
  const text = (standard) => ({ type: "string", default: standard });
  try {
    return parseArgs({
      options: {
        help: { type: "boolean", default: false },
        rounds: text("25"),
        "at-once": text("4"),
        rate: text("2000"),
        kinds: text(kinds.join(",")),
        together: { type: "boolean", default: false },
        streams: text("own"),
        faults: { type: "string" },
        seed: text("5001"),
      },
    }).values;
  } catch (error) {
    return fail(error.message);
  }
}

const values = readOptions();
if (values.help) {
  console.log(help);
  process.exit(0);
}
const most = { rounds: 10_000, "at-once": 20, rate: 20_000, faults: 1_000, seed: 1_000_000_000 };
for (const [name, max] of Object.entries(most)) {
  const value = values[name];
  if (value !== undefined && !(/^\d{1,10}$/.test(value) && Number(value) >= 1 && Number(value) <= max))
    fail(`--${name} takes a whole number from 1 to ${max}, and got ${JSON.stringify(value)}.`);
}
for (const kind of values.kinds.split(",")) if (!kinds.includes(kind)) fail(`--kinds does not know ${JSON.stringify(kind)}.`);
if (!["own", "spread"].includes(values.streams)) fail(`--streams is own or spread, not ${JSON.stringify(values.streams)}.`);

const file = values.faults === undefined ? "test/drains/drains.envoy" : "test/drains/faults.envoy";
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
const { status } = spawnSync(process.execPath, [vitest, "run", file, "--project=envoy", "--disable-console-intercept=true"], {
  cwd: root,
  stdio: "inherit",
  env: {
    ...process.env,
    CHANCERY_DRAINS_ROUNDS: values.rounds,
    CHANCERY_DRAINS_AT_ONCE: values["at-once"],
    CHANCERY_DRAINS_RATE: values.rate,
    CHANCERY_DRAINS_KINDS: values.kinds,
    CHANCERY_DRAINS_TOGETHER: values.together ? "yes" : "no",
    CHANCERY_DRAINS_STREAMS: values.streams,
    CHANCERY_DRAINS_SEED: values.seed,
    ...(values.faults === undefined ? {} : { CHANCERY_DRAINS_FAULTS: values.faults }),
  },
});
process.exitCode = status ?? 1;
