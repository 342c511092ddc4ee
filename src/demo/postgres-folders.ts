// Where the embedded Postgres may live, and as whom it runs. Postgres refuses to run as root, so root starts it as `nobody`, who
// can't enter folders closed to others (/root, parents made with mode 0700). In: the wanted folder. Out: a folder that works.
// Called by embedded-postgres.ts and postgres-binaries.ts.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, mkdir, readdir, realpath, stat } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Whom Postgres runs as; undefined: the user of this process. */
export type Account = { readonly uid: number; readonly gid: number } | undefined;

/** Postgres refuses to run as root; whoever is root must start it as somebody else. */
export const isRoot = (): boolean => process.getuid?.() === 0;

async function ids(user: string): Promise<NonNullable<Account>> {
  const [uid, gid] = await Promise.all(["-u", "-g"].map(async (flag) => Number((await run("id", [flag, user])).stdout)));
  if (uid === undefined || gid === undefined || !Number.isInteger(uid) || !Number.isInteger(gid))
    throw new Error(`the system has no user ${user}`);
  return { uid, gid };
}

/** root runs Postgres as whoever owns its files already, else as nobody. */
export async function accountFor(clusterFolder: string): Promise<Account> {
  if (!isRoot()) return undefined;
  const owner = await stat(clusterFolder).catch(() => undefined);
  if (owner && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  return ids("nobody");
}

/** Whether the account can enter every folder on the way to `path`, as far as they exist. */
export async function canReach(path: string, account: Account): Promise<boolean> {
  if (!account) return true;
  let folder = resolve(path);
  for (;;) {
    const found = await stat(folder).catch(() => undefined);
    if (found?.isDirectory()) {
      const bit = found.uid === account.uid ? 0o100 : found.gid === account.gid ? 0o010 : 0o001;
      if ((found.mode & bit) === 0) return false;
    }
    const parent = dirname(folder);
    if (parent === folder) return true;
    folder = parent;
  }
}

/** mkdir -p that lets others through what it makes, whatever the umask: a parent made 0700 would shut the account out. */
export async function makeFolder(path: string): Promise<string> {
  const wanted = resolve(path);
  const first = await mkdir(wanted, { recursive: true });
  if (first === undefined) return realpath(wanted);
  for (let folder = wanted; ; folder = dirname(folder)) {
    await chmod(folder, 0o755);
    if (folder === first || folder === dirname(folder)) break;
  }
  return realpath(wanted);
}

/** A folder of our own for what can't be where it should: /var/lib/chancery for root, ~/.cache/chancery, else below the temporary one. */
export async function ownFolder(): Promise<string> {
  const wanted = isRoot() ? "/var/lib/chancery" : join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "chancery");
  try {
    return await makeFolder(wanted);
  } catch {
    // A read-only system, or no home: the temporary folder is what is left.
    const uid = process.getuid?.() ?? 0;
    const folder = await makeFolder(join(tmpdir(), `chancery-${uid}`));
    const found = await stat(folder);
    if (process.getuid && (found.uid !== uid || (found.mode & 0o022) !== 0))
      throw new Error(`${folder} belongs to somebody else: remove it`);
    return folder;
  }
}

/** `wanted` itself, or, when the account can't enter it, a folder of ours named after its whole path: two wanted ones never meet in one. */
export async function reachableFolder(wanted: string, account: Account): Promise<string> {
  const path = resolve(wanted);
  if (account && (await isEmptyAndOurs(path))) await chmod(path, 0o711); // It was made for us, closed, as mkdtemp does.
  if (await canReach(path, account)) return makeFolder(path);
  const digest = createHash("sha256").update(path).digest("hex").slice(0, 12);
  return makeFolder(join(await ownFolder(), `${basename(path)}-${digest}`));
}

async function isEmptyAndOurs(path: string): Promise<boolean> {
  const [found, names] = await Promise.all([stat(path).catch(() => undefined), readdir(path).catch(() => undefined)]);
  return found?.uid === process.getuid?.() && names?.length === 0;
}
