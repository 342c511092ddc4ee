// Finds the pgbouncer with which the portable mode is tested, and fetches it where there is none: PGBOUNCER_BIN, then PATH, then Debian's
// package, unpacked below .cache/ and not installed. Out: its path on stdout, or a reason on stderr and exit code 1.
// Called by scripts/test.mjs and scripts/portable.mjs. test/support/pgbouncer.ts finds what this leaves. Plain Node.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const cache = join(dirname(dirname(fileURLToPath(import.meta.url))), ".cache");
const folder = join(cache, "pgbouncer");
/** A script, as the program needs a library beside it. */
const wrapper = join(folder, "pgbouncer");
/** Its libraries have other names from one Debian to the next: those that are not to be had are not missed, or `runs` tells. */
const libraries = ["libc-ares2", "libcares2", "libevent-2.1-7", "libevent-2.1-7t64"];

const runs = (binary) => spawnSync(binary, ["--version"], { stdio: "ignore", timeout: 10_000 }).status === 0;
const run = (command, args, cwd) => spawnSync(command, args, { cwd, encoding: "utf8", timeout: 120_000 });

/** Undefined when it went well, else the reason. */
function fetchPackages(into) {
  mkdirSync(into, { recursive: true });
  const download = (name) => run("apt-get", ["download", name], into);
  let got = download("pgbouncer");
  if (got.status !== 0 && run("apt-get", ["update", "-qq"], into).status === 0) got = download("pgbouncer");
  if (got.error) return "there is no apt-get";
  if (got.status !== 0) return got.stderr.trim().split("\n").at(-1) || "apt-get failed";
  for (const name of libraries) download(name);
  for (const file of readdirSync(into).filter((name) => name.endsWith(".deb"))) {
    const unpacked = run("dpkg", ["-x", file, "."], into);
    if (unpacked.status !== 0) return unpacked.stderr?.trim() || "dpkg failed";
  }
  return undefined;
}

function main() {
  for (const binary of [process.env.PGBOUNCER_BIN, "pgbouncer", wrapper]) if (binary && runs(binary)) return binary;
  const aside = `${folder}-fetch-${process.pid}`;
  const reason = fetchPackages(aside);
  if (reason) {
    rmSync(aside, { recursive: true, force: true });
    console.error(
      `No pgbouncer: ${reason}. Set PGBOUNCER_BIN, or install it; without it the tests of the portable mode are skipped.`,
    );
    return undefined;
  }
  const script = `#!/bin/sh
here=$(dirname "$0")
for lib in "$here"/usr/lib/*/; do export LD_LIBRARY_PATH="$lib\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"; done
exec "$here"/usr/sbin/pgbouncer "$@"
`;
  writeFileSync(join(aside, "pgbouncer"), script, { mode: 0o755 });
  rmSync(folder, { recursive: true, force: true });
  renameSync(aside, folder);
  return existsSync(wrapper) && runs(wrapper) ? wrapper : undefined;
}

const found = main();
if (found) console.log(found);
process.exitCode = found ? 0 : 1;
