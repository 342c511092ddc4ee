// npm start: from a fresh clone to a running demo. Installs, builds and fetches what is missing or older than its sources, says
// so in plain words, and hands over to `chancery up`, which takes the same flags: npm start -- --help.
// Plain Node, without dependencies: it runs before there are any. A second start skips straight to the demo.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ensureEnvoy } from "./envoy-binary.mjs";
import { installCommand, isInstalled } from "./install.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const oldestNode = [20, 19];
/** Written after a build that went well; tsc leaves files behind after one that did not. */
const builtStamp = join(root, "dist", ".built");
const mainScript = join(root, "dist", "main.js");
const buildInputs = ["src", "proto", "scripts/build.mjs", "scripts/build-protos.mjs", "package-lock.json", "tsconfig.json"];

/** A step that failed, with what the user can do. */
class StepFailure extends Error {}

function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1])) return;
  throw new StepFailure(
    `Chancery needs Node ${oldestNode.join(".")} or newer, and this is ${process.versions.node}. Install a newer one and start again.`,
  );
}

/** Runs a command quietly; its output is shown when it fails. */
function step(title, { command, args }, advice) {
  console.log(`${title} …`);
  const startedAt = Date.now();
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    maxBuffer: 64 * 1024 * 1024,
  });
  if (result.signal === "SIGINT" || result.signal === "SIGTERM") process.exit(130);
  if (result.status !== 0) {
    const output = `${result.stdout ?? ""}${result.stderr ?? ""}${result.error ? `${result.error.message}\n` : ""}`;
    throw new StepFailure(`${output.slice(-8000)}\n${title}: failed. ${advice}`);
  }
  console.log(`  done in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
}

/** Time of the newest file; a folder counts too, because a removed file changes only that. */
function newestMs(path) {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return 0;
  if (!found.isDirectory()) return found.mtimeMs;
  return readdirSync(path).reduce((newest, name) => Math.max(newest, newestMs(join(path, name))), found.mtimeMs);
}

function isBuilt() {
  if (!existsSync(builtStamp) || !existsSync(mainScript)) return false;
  const builtMs = statSync(builtStamp).mtimeMs;
  return buildInputs.every((input) => newestMs(join(root, input)) <= builtMs);
}

function build() {
  const startedAt = new Date();
  step(
    "Building",
    { command: process.execPath, args: ["scripts/build.mjs"] },
    "If you changed the sources, mend what is said above; if not, remove the folders dist and gen and start again.",
  );
  mkdirSync(dirname(builtStamp), { recursive: true });
  writeFileSync(builtStamp, `${startedAt.toISOString()}\n`);
  utimesSync(builtStamp, startedAt, startedAt); // What was saved while it built is newer.
}

async function prepare() {
  checkNode();
  process.chdir(root);
  if (!isInstalled(root))
    step("Installing dependencies (once, half a minute)", installCommand(), "npm must reach its registry; then start again.");
  if (!isBuilt()) build();
  // An Envoy that can't be had is told by `up`, which runs all the same; what was tried is told here.
  const envoy = await ensureEnvoy((line) => console.log(line));
  if ("missing" in envoy) console.log(`${envoy.missing}\n`);
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** npm passes signals on, but not its own violent end: then nobody is left to stop us. Between npm and us there may be a shell. */
function followParents() {
  if (process.env.npm_lifecycle_event === undefined) return;
  const grandparent = Number(spawnSync("ps", ["-o", "ppid=", "-p", String(process.ppid)], { encoding: "utf8" }).stdout);
  const parents = [process.ppid, grandparent].filter((pid) => pid > 1);
  setInterval(() => {
    if (!parents.every(isAlive)) process.kill(process.pid, "SIGTERM");
  }, 1000).unref();
}

try {
  await prepare();
  followParents();
  process.argv = [process.argv[0], mainScript, "up", ...process.argv.slice(2)];
  // In this process, not in a child: Ctrl-C then reaches one process, which stops all others in order.
  await import(pathToFileURL(mainScript).href);
} catch (error) {
  console.error(error instanceof StepFailure ? error.message : error);
  process.exitCode = 1;
}
