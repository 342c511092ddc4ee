// A real Postgres for who has none: demo and tests. Found, set up once, started, or taken over when it still runs from the last time.
// In: a data folder. Out: a URL, and how to stop it. With a DATABASE_URL nobody calls this. Called by `npm start` and test/support.
// Only whoever knows the password in the data folder gets in: on a shared machine an open Postgres would run other people's programs.
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chown, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { findPostgres, type PostgresBinaries } from "./postgres-binaries.js";
import { accountFor, reachableFolder } from "./postgres-folders.js";
import {
  claimServer,
  createCluster,
  type DataFolder,
  findServer,
  probePort,
  type RunningServer,
  releaseServer,
  serverEnvironment,
  settledServer,
  startServer,
  stopServer,
  writeOnce,
} from "./postgres-process.js";

const run = promisify(execFile);
/** Another starter may take our port, or start the same data, between our look and our start. */
const maxStarts = 3;

/** Where, on which port, how durable, and whom to tell. */
export interface EmbeddedPostgresOptions {
  /** Where the data should be; where it is, is in the result: root's Postgres runs as nobody, who can't go everywhere. */
  readonly dataDir: string;
  /** undefined: any free one. A server that already runs keeps its own. */
  readonly port?: number;
  /** false: fast, and gone after a power cut. For tests. Default true. */
  readonly fsync?: boolean;
  /** One line for people each. */
  readonly log: (line: string) => void;
}

/** A server that takes connections. */
export interface EmbeddedPostgres {
  readonly url: string;
  readonly pid: number;
  /** It was running already. */
  readonly reused: boolean;
  readonly dataDir: string;
  /** Stops the server, unless another living process started it. Connections to it should be closed before. */
  stop(): Promise<void>;
}

/** @throws Error in words for people: no Postgres to be found, the port taken, the data of another version, a start that failed */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const account = await accountFor(join(options.dataDir, "cluster"));
  const root = await reachableFolder(options.dataDir, account);
  const folder: DataFolder = { root, cluster: join(root, "cluster"), account: await accountFor(join(root, "cluster")) };
  if (account) options.log(`Postgres does not run as root: it runs as user id ${folder.account?.uid}, its data is in ${root}`);
  for (let attempt = 1; ; attempt++) {
    const running = await settledServer(folder);
    if (running) return handle(folder, running, true, options);
    const binaries = await findPostgres(folder.account);
    await ensureCluster(folder, binaries, options);
    const port = await probePort(options.port ?? 0);
    try {
      return await handle(folder, await startServer(folder, binaries, { port, fsync: options.fsync ?? true }), false, options);
    } catch (error) {
      const worthAnother = options.port === undefined || (await findServer(folder)) !== undefined;
      if (attempt >= maxStarts || !worthAnother) throw error;
    }
  }
}

async function handle(
  folder: DataFolder,
  server: RunningServer,
  reused: boolean,
  { port, log }: EmbeddedPostgresOptions,
): Promise<EmbeddedPostgres> {
  const owned = await claimServer(folder);
  const password = (await readFile(join(folder.root, "password"), "utf8")).trim();
  if (reused)
    log(
      `Postgres is already running (pid ${server.pid}, port ${server.port}); ${owned ? "left over from an earlier run, taken over" : "another process will stop it"}`,
    );
  if (reused && port !== undefined && port !== server.port) log(`it listens on port ${server.port}, not on ${port}`);
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${server.port}/postgres`,
    pid: server.pid,
    reused,
    dataDir: folder.root,
    async stop() {
      if (!owned) return;
      await stopServer(server.pid);
      await releaseServer(folder);
    },
  };
}

async function ensureCluster(
  folder: DataFolder,
  binaries: PostgresBinaries,
  { fsync = true, log }: EmbeddedPostgresOptions,
): Promise<void> {
  const version = await readFile(join(folder.cluster, "PG_VERSION"), "utf8").then(
    (text) => text.trim(),
    () => undefined,
  );
  if (version === binaries.major) return;
  if (version !== undefined) {
    throw new Error(
      `the data in ${folder.root} was made by Postgres ${version}, and the one found here is ${binaries.major}: use that version, or another data folder`,
    );
  }
  const strange = await readdir(folder.cluster).catch(() => []);
  if (strange.length > 0)
    throw new Error(`${folder.cluster} holds something that is not a Postgres: remove it, or use another data folder`);
  const startedAt = performance.now();
  const passwordPath = join(folder.root, "password");
  await writeOnce(passwordPath, randomBytes(18).toString("base64url"));
  const give = async (path: string): Promise<void> => {
    if (folder.account) await chown(path, folder.account.uid, folder.account.gid);
  };
  await give(passwordPath);
  const initdb = async (target: string): Promise<void> => {
    const args = [
      "-D",
      target,
      "--username=postgres",
      `--pwfile=${passwordPath}`,
      "--auth=scram-sha-256",
      "--encoding=UTF8",
      "--locale=C",
      "--no-instructions",
    ];
    if (!fsync) args.push("--no-sync");
    await run(binaries.initdb, args, { cwd: "/", env: serverEnvironment(), ...(folder.account ?? {}) });
  };
  try {
    await createCluster(folder, initdb, give);
    log(`Postgres ${binaries.major} set up in ${folder.root} (${Math.round(performance.now() - startedAt)} ms)`);
  } catch (error) {
    const won = await stat(join(folder.cluster, "PG_VERSION")).catch(() => undefined);
    if (!won) throw error; // Otherwise another starter was faster, and its cluster is as good.
  }
}
