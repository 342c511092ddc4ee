// Whether node_modules holds what package-lock.json says, and the command that makes it so. Plain Node, without dependencies.
// Called by scripts/start.mjs and scripts/test.mjs.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const packagesOf = (path) => JSON.parse(readFileSync(path, "utf8")).packages ?? {};

/** npm keeps its own copy of the lock in node_modules, written last: an installation that was cut short has none. */
export function isInstalled(root) {
  const installedLock = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(installedLock)) return false;
  const installed = packagesOf(installedLock);
  return Object.entries(packagesOf(join(root, "package-lock.json"))).every(
    ([path, { version, optional }]) => path === "" || (optional && !installed[path]) || installed[path]?.version === version,
  );
}

/** No dependency of ours needs its install script, and newer npm versions refuse to run them. Under npm, the same npm is used. */
export function installCommand() {
  const args = ["ci", "--include=dev", "--ignore-scripts", "--no-audit", "--no-fund"];
  const npm = process.env.npm_execpath;
  return npm?.endsWith(".js") ? { command: process.execPath, args: [npm, ...args] } : { command: "npm", args };
}
