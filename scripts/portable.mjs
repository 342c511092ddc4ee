// `npm run portable`: the tests that need Postgres, in the portable mode, through a pgbouncer in transaction mode, while the database takes
// back every tenth revision (ADR 0035). Arguments go to vitest: `npm run portable -- test/store`. Needs a build.
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const run = (args, env = {}) =>
  spawnSync(process.execPath, args, { cwd: root, stdio: "inherit", env: { ...process.env, ...env } }).status ?? 1;
const given = process.argv.slice(2);
if (given.includes("--help")) {
  console.log("npm run portable [-- <files or options of vitest>]: tests in the portable mode, through pgbouncer");
  process.exit(0);
}
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
process.exitCode =
  run([join(root, "scripts", "pgbouncer-binary.mjs")]) ||
  run([vitest, "run", "--project", "pg", ...given], { CHANCERY_DB_MODE: "portable", CHANCERY_TEST_POOLER: "on" });
