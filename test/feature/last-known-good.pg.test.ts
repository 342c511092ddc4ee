// A replica that starts without its database serves what it kept on disk, says so, and goes on from there when the database is back.
// Whole control planes, real Postgres behind a proxy. A mutant that was tried, and is caught, stands beside its test.
import { copyFile, mkdtemp, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { author, cluster, endpoint, listener, openStore, route } from "../store/samples.js";
import { onCleanup } from "../support/cleanup.js";
import { databaseProxy, freshDatabase, sql } from "../support/postgres.js";
import { type Replica, startReplica } from "../support/replica.js";
import { staysTrue, waitFor } from "../support/wait.js";
import { openXdsStream, type XdsStream } from "../support/xds-client.js";

async function start(env: Readonly<Record<string, string>> = {}) {
  const folder = await mkdtemp(join(tmpdir(), "state-"));
  onCleanup("state folder", () => rm(folder, { recursive: true, force: true }));
  const { url } = await freshDatabase();
  const store = await openStore(url);
  await store.write(author, async (tx) => {
    await tx.put("cluster", cluster("app", { connectTimeoutMs: 1_000 }));
    await tx.put("endpoint", endpoint("app", 8_080));
    await tx.put("listener", listener("web", 80));
    await tx.put("route", route("r", ["web"], [{ cluster: "app", weight: 1 }]));
  });
  const write = (connectTimeoutMs: number) =>
    store.write(author, (tx) => tx.put("cluster", cluster("app", { connectTimeoutMs })));
  const proxy = await databaseProxy(url);
  const replica = await startReplica({
    databaseUrl: proxy.url,
    env: { CHANCERY_POLL_MS: "50", CHANCERY_NOTIFY: "off", CHANCERY_STATE_DIR: folder, ...env },
  });
  return { folder, url, store, write, proxy, replica };
}

interface Ready {
  readonly serving: string;
  readonly revision: number;
  readonly lastKnownGood?: { readonly revision: number; readonly ageMs: number };
  readonly stateFile: { readonly state: string; readonly revision?: number; readonly reason?: string };
}
const ready = (replica: Replica): Promise<Ready> => replica.api.get<Ready>("/readyz");
const kept = (replica: Replica, revision: number) =>
  waitFor(`revision ${revision} is on disk`, async () => (await ready(replica)).stateFile.revision === revision);
const secondsOf = (stream: XdsStream): unknown => {
  const timeout = stream.state("cluster").get("app")?.message["connect_timeout"];
  return typeof timeout === "object" && timeout !== null && "seconds" in timeout ? Number(timeout.seconds) : undefined;
};
function open(replica: Replica, node: string, protocol: "delta" | "sotw" = "delta"): XdsStream {
  const stream = openXdsStream({ port: replica.xdsPort, node, gateway: "edge", protocol });
  stream.ackAll();
  return stream;
}
const metric = async (replica: Replica, series: string): Promise<number> =>
  Number(new RegExp(`^chancery_${series} (\\S+)$`, "m").exec((await replica.api.call("GET", "/metrics")).text)?.[1]);

test.each(["closed", "silent"] as const)(
  "with the database %s it serves a new Envoy within 5 s, says so, refuses writes, and goes on when it is back",
  async (state) => {
    const { replica, proxy, write } = await start();
    await write(2_000);
    await kept(replica, 2);
    await replica.kill();
    proxy.become(state);
    const linesBefore = replica.log().length;
    await replica.start();
    const stream = open(replica, "new");
    stream.request("cluster");
    await waitFor("its clusters", () => secondsOf(stream) === 2);
    // From its first line on: what comes before is Node reading the program, which on a busy machine alone takes seconds.
    const since = /"time":"([^"]+)"/.exec(replica.log().slice(linesBefore))?.[1] ?? "";
    expect(Date.now() - Date.parse(since)).toBeLessThan(10_000);
    const body = await ready(replica);
    expect(body).toMatchObject({ serving: "last-known-good", revision: 2, lastKnownGood: { revision: 2 } });
    expect(body.lastKnownGood?.ageMs).toBeGreaterThan(0);
    expect(await metric(replica, "serving_last_known_good")).toBe(1);
    expect(replica.log()).toContain("the last known good state is served");
    const refused = await replica.api.call("PUT", "/v1/clusters/app", { connectTimeoutMs: 9_000 });
    expect([refused.status, refused.headers.get("retry-after"), refused.body]).toMatchObject([
      503,
      "1",
      { code: "database_unavailable" },
    ]);
    await write(3_000);
    proxy.become("pass");
    await waitFor("what was written meanwhile", () => secondsOf(stream) === 3, { timeoutMs: 20_000 });
    await waitFor("it is live", async () => (await ready(replica)).serving === "live");
    expect(await metric(replica, "serving_last_known_good")).toBe(0);
    expect(await metric(replica, "feed_histories_total")).not.toBeGreaterThan(0);
    expect(replica.log().split("state loaded")).toHaveLength(2); // The first start's: no reload.
    await kept(replica, 3);
    stream.close();
  },
  60_000,
);

test("a revision that the database does not have, or has otherwise: everything is read again, loudly", async () => {
  const { replica, proxy, write, url } = await start();
  const lost = (await write(7_000)).committed?.revision;
  await kept(replica, 2);
  await replica.kill();
  proxy.become("closed");
  await replica.start();
  const stream = open(replica, "node");
  stream.request("cluster");
  await waitFor("what will be lost", () => secondsOf(stream) === 7);
  await sql(
    url,
    `delete from changes where revision = ${lost}; delete from revisions where revision = ${lost};
     update revision_counter set n = n - 1;
     update clusters set spec = jsonb_set(spec, '{connectTimeoutMs}', '1000'), revision = 1 where name = 'app'`,
  );
  expect((await write(4_000)).committed?.revision).toBe(lost); // The same number, and another revision.
  proxy.become("pass");
  await waitFor("what the database has", () => secondsOf(stream) === 4, { timeoutMs: 20_000 });
  expect(replica.log()).toContain("another history");
  expect(await metric(replica, "feed_histories_total")).toBe(1);
  stream.close();
}, 60_000);

// Mutant: the first request alone is asked what the Envoy has seen.
test("an Envoy that names a newer revision than the one on disk gets nothing until that is there", async () => {
  const { replica, proxy, store, write, folder } = await start();
  await kept(replica, 1);
  const [name = ""] = await readdir(folder);
  await copyFile(join(folder, name), join(folder, "older"));
  const before = open(replica, "ahead");
  for (const type of ["cluster", "listener"] as const) before.request(type);
  before.request("route", { names: ["web"] });
  await waitFor("the first route", () => before.state("route").size === 1);
  // A route alone changes: clusters are as old as before, and only the request for routes tells that the Envoy is ahead.
  await store.write(author, async (tx) => {
    await tx.put("route", { ...route("r", ["web"], [{ cluster: "app", weight: 1 }]), hosts: ["a.example"] });
  });
  const version = await waitFor("the newer route", () => {
    const found = before.state("route").get("web")?.version;
    return found?.endsWith(".2") ? found : undefined;
  });
  const clusterVersion = before.state("cluster").get("app")?.version ?? "";
  before.close();
  await replica.kill();
  await copyFile(join(folder, "older"), join(folder, name));
  await rm(join(folder, `${name}.previous`), { force: true });
  proxy.become("closed");
  await replica.start();
  expect((await ready(replica)).revision).toBe(1);
  const early = open(replica, "ahead");
  early.request("cluster", { initialVersions: { app: clusterVersion } });
  early.request("route", { names: ["web"], initialVersions: { web: version } });
  const late = open(replica, "ahead-late");
  late.request("cluster", { initialVersions: { app: clusterVersion } });
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  let ended = false;
  void late.ended.then(() => {
    ended = true;
  });
  late.request("route", { names: ["web"], initialVersions: { web: version } });
  await waitFor("the late one is sent away", () => ended);
  expect(early.responses).toEqual([]);
  expect(late.responses.filter(({ type }) => type === "route")).toEqual([]);
  await write(5_000);
  proxy.become("pass");
  await waitFor("the newest", () => secondsOf(early) === 5, { timeoutMs: 20_000 });
  early.close();
}, 60_000);

test("a damaged file is not served: the one before is; with none, nobody is served until the database is back", async () => {
  const { replica, proxy, write, folder } = await start();
  await kept(replica, 1);
  await write(2_000);
  await kept(replica, 2);
  await replica.kill();
  const name = (await readdir(folder)).find((file) => !file.includes(".")) ?? "";
  await truncate(join(folder, name), 600);
  proxy.become("closed");
  await replica.start();
  expect(await ready(replica)).toMatchObject({ serving: "last-known-good", revision: 1 });
  expect(await metric(replica, 'state_file_rejected_total\\{reason="damaged"\\}')).toBe(1);
  await replica.kill();
  for (const file of await readdir(folder)) await writeFile(join(folder, file), "damaged");
  const started = replica.start();
  const isWaiting = async () => (await replica.api.call("GET", "/readyz")).status === 503;
  await waitFor("it says that it waits", isWaiting);
  await staysTrue("and serves nobody beyond its wait for the database", isWaiting, 3_000);
  proxy.become("pass");
  await started;
  expect(await ready(replica)).toMatchObject({ serving: "live", revision: 2 });
}, 60_000);

test("a folder that can't be written to is told, and nothing else changes", async () => {
  const folder = await mkdtemp(join(tmpdir(), "state-"));
  onCleanup("state folder", () => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "file"), "");
  const { replica, write } = await start({ CHANCERY_STATE_DIR: join(folder, "file", "below") });
  const stream = open(replica, "node");
  stream.request("cluster");
  await write(2_000);
  await waitFor("the change", () => secondsOf(stream) === 2);
  const body = await ready(replica);
  expect(body).toMatchObject({ serving: "live", stateFile: { state: "failing" } });
  expect(body.stateFile.reason).toMatch(/ENOTDIR|EEXIST/);
  expect(await metric(replica, "state_file_failing")).toBe(1);
  expect(replica.log()).toContain("can't keep the state on disk");
  stream.close();
}, 60_000);
