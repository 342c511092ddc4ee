// `npm run chaos -- --cycles 1000`: the chaos tests of `npm test` for longer. Postgres is killed so often, and so is a replica unless
// `--replica-kills` says otherwise; `--seed` begins elsewhere. Needs a build. Exits as the tests end: 0 when nothing was lost or doubled.
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values } = parseArgs({
  options: {
    cycles: { type: "string", default: "1000" },
    "replica-kills": { type: "string" },
    seed: { type: "string" },
  },
});
for (const [name, value] of Object.entries(values)) {
  if (/^\d{1,9}$/.test(value)) continue;
  console.error(`--${name} takes a whole number, and got ${JSON.stringify(value)}.`);
  process.exit(2);
}
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
const { status } = spawnSync(process.execPath, [vitest, "run", "--project", "pg", "test/chaos"], {
  cwd: root,
  stdio: "inherit",
  env: {
    ...process.env,
    CHANCERY_CHAOS_CYCLES: values.cycles,
    ...(values["replica-kills"] === undefined ? {} : { CHANCERY_CHAOS_REPLICA_KILLS: values["replica-kills"] }),
    ...(values.seed === undefined ? {} : { CHANCERY_CHAOS_SEED: values.seed }),
  },
});
process.exitCode = status ?? 1;
