// The servers that are compared: ours as it runs for real (dist/main.js serve on a Postgres, filled through its admin API), and
// go-control-plane in two forms. In: a case. Out: a running server with addresses, pids and what xdsfleet must be told.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { changes, endpointsPerCluster, meshOf, reset } from "./mesh.mjs";
import { freePorts, start, untilReady } from "./processes.mjs";

/** Streams of a storm come at once: the limit on new streams (200/s) would measure itself. The only setting that is not the default. */
const settings = {
  CHANCERY_XDS_NEW_STREAM_BURST: "100000",
  CHANCERY_XDS_NEW_STREAMS_PER_SECOND: "100000",
  CHANCERY_XDS_MAX_FIRST_PUSHES: "100000",
};
const json = { "content-type": "application/json" };

async function call(base, { method, path, body }) {
  const answer = await fetch(base + path, { method, headers: json, body, signal: AbortSignal.timeout(120_000) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text.slice(0, 500)}`);
}

/** Fills an empty database, and puts a used one back. */
async function fill(base, clusters) {
  const answer = await fetch(`${base}/v1/clusters?limit=1`);
  const { items = [] } = await answer.json();
  if (items.length === 0) {
    for (const all of meshOf(clusters)) {
      await call(base, { method: "POST", path: "/v1/changes", body: JSON.stringify({ changes: all }) });
    }
  }
  for (const one of reset) await call(base, one);
}

/** One control plane, ready. `index` 0 migrates the database. */
async function startReplica({ root, folder, core, database, profile }, index) {
  const [apiPort, xdsPort] = await freePorts(2);
  const base = `http://127.0.0.1:${apiPort}`;
  const { ENVOY_BIN: _envoy, NODE_OPTIONS: _options, ...inherited } = process.env;
  const env = {
    ...inherited,
    ...settings,
    DATABASE_URL: database.url,
    DATABASE_MIGRATION_URL: database.url,
    CHANCERY_API_ADDRESS: `127.0.0.1:${apiPort}`,
    CHANCERY_XDS_ADDRESS: `127.0.0.1:${xdsPort}`,
    CHANCERY_STATE_DIR: join(folder, `state-${index}`),
    CHANCERY_REPLICA_ID: `bench-${index}`,
  };
  const flags = profile ? ["--cpu-prof", `--cpu-prof-dir=${profile}`] : [];
  const args = [...flags, join(root, "dist", "main.js"), "serve", ...(index === 0 ? ["--migrate"] : [])];
  const child = start({ command: process.execPath, args, core, env, logFile: join(folder, `ours-${index}.log`) });
  try {
    await untilReady(child, `${base}/readyz`);
  } catch (error) {
    await child.stop();
    throw error;
  }
  return { ...child, base, xdsAddress: `127.0.0.1:${xdsPort}` };
}

/** Ours: `replicas` of them. `database`: { url, pid } of a migrated or an empty database that belongs to this number of clusters. */
export async function startOurs({ replicas = 1, ...options }) {
  const { folder, database, clusters, change } = options;
  const all = [];
  const stop = async () => void (await Promise.all(all.map((one) => one.stop())));
  try {
    for (let index = 0; index < replicas; index++) all.push(await startReplica(options, index));
    await fill(all[0].base, clusters);
  } catch (error) {
    await stop();
    throw error;
  }
  const { base } = all[0];
  const { ours, ourName, type } = changes[change];
  const bodyFile = join(folder, "body.json");
  writeFileSync(bodyFile, ours.body);
  const json = "content-type: application/json";
  const addresses = all.map(({ xdsAddress }) => xdsAddress).join(",");
  return {
    pids: all.map(({ pid }) => pid),
    stop,
    load: [
      ...["-addr", addresses, "-beside-pid", String(database.pid), "-post", base + ours.path, "-method", ours.method],
      ...["-body", bodyFile, "-header", json, "-expect-type", type, "-expect-name", ourName],
    ],
    base,
    xdsAddress: all[0].xdsAddress,
    probeUrl: `${base}/v1/routes/vh-0-r0`,
    metricsUrl: `${base}/metrics`,
  };
}

/** The peer. `form`: "linear", its strongest, or "snapshot", its usual one. */
export async function startPeer({ binary, folder, core, form, clusters, change }) {
  const [httpPort, xdsPort] = await freePorts(2);
  const base = `http://127.0.0.1:${httpPort}`;
  const shape = ["-clusters", String(clusters), "-endpoints", String(endpointsPerCluster)];
  const args = ["-addr", `127.0.0.1:${xdsPort}`, "-http", `127.0.0.1:${httpPort}`, "-cache", form, ...shape];
  const child = start({ command: binary, args, core, logFile: join(folder, `gcp-${form}.log`) });
  try {
    await untilReady(child, `${base}/stats`);
  } catch (error) {
    await child.stop();
    throw error;
  }
  const { theirs, theirName, type } = changes[change];
  const gc = ["-gc-url", `${base}/gc`];
  return {
    ...child,
    pids: [child.pid],
    load: ["-addr", `127.0.0.1:${xdsPort}`, ...gc, "-post", base + theirs, "-expect-type", type, "-expect-name", theirName],
  };
}
