// An upgrade across a migration: programs of this release meet the schema of a later one. Where that release only added to it (expand), they
// go on, and are started again; where it changed what they know (contract), a start is refused with words, and one that runs turns unready,
// changes nothing, and serves its Envoys what they have. The later release's migrations are made up here.
// Mutants that were tried, and are caught: the feed does not look at the schema; writes are not kept away; a start goes on trying.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { schemaVersion } from "../../src/store/schema-version.js";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { sql } from "../support/postgres.js";
import { startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { startDatabase } from "../support/world.js";
import { openXdsStream } from "../support/xds-client.js";

const next = schemaVersion + 1;
/** Adds a column with a default, a table and an index. */
const expansion = `
  alter table clusters add column color text not null default 'none';
  create table colors (name text primary key);
  create index clusters_by_color on clusters (color);
  update schema_version set version = ${next}`;
const contraction = `update schema_version set version = ${next + 1}, compatible_from = ${next + 1}`;

const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url));
const run = (databaseUrl: string, ...args: string[]) =>
  spawnSync(process.execPath, [main, ...args], {
    encoding: "utf8",
    timeout: 30_000,
    killSignal: "SIGKILL",
    env: { ...process.env, DATABASE_URL: databaseUrl, CHANCERY_API_ADDRESS: "127.0.0.1:0", CHANCERY_STATE_DIR: "off" },
  });

test("programs go on over an expansion, and neither start nor write over a contraction", async () => {
  const databaseUrl = await startDatabase();
  const running = await startReplica({ databaseUrl, id: "running" });
  await running.api.post("/v1/listeners", listenerBody("web", 80));
  const stream = openXdsStream({ port: running.xdsPort, node: "edge-1", gateway: "edge", protocol: "delta" });
  stream.ackAll();
  stream.request("cluster");

  await sql(databaseUrl, expansion);
  const begun = await startReplica({ databaseUrl, id: "begun-later" });
  for (const [at, replica] of [running, begun].entries()) {
    await replica.api.post("/v1/clusters", clusterBody(`c${at}`, [{ port: 1_000 + at }]));
    await replica.api.post("/v1/routes", routeBody(`r${at}`, "web", `c${at}`));
  }
  await waitFor("the Envoy has what both wrote", () => stream.state("cluster").has("c0") && stream.state("cluster").has("c1"));
  expect(run(databaseUrl, "migrate")).toMatchObject({ status: 0 }); // The older program's: it has nothing to do, and harms nothing.

  await sql(databaseUrl, contraction);
  const words = `the database's schema is ${next + 1} and takes programs from ${next + 1} on; this one is of ${schemaVersion}: run the newer release`;
  for (const replica of [running, begun]) {
    await waitFor("it is unready, and says why", async () => {
      const { status, body } = await replica.api.call("GET", "/readyz");
      return status === 503 && (body as { waitingFor: string[] }).waitingFor[0] === words;
    });
    const refused = await replica.api.refused(503, "PUT", "/v1/clusters/c0", clusterBody("c0", [{ port: 2_000 }]));
    expect(refused).toMatchObject({ code: "schema_too_new", detail: words });
    expect(replica.log()).toContain(words);
  }
  expect(await sql(databaseUrl, "select n from revision_counter")).toEqual([{ n: "5" }]);
  const late = openXdsStream({ port: running.xdsPort, node: "edge-2", gateway: "edge", protocol: "delta" });
  late.ackAll();
  late.request("cluster");
  await waitFor("a new Envoy gets what there was", () => late.state("cluster").has("c1"));
  expect(stream.state("cluster").has("c1")).toBe(true);
  const beats = () => sql<{ lease_until: Date }>(databaseUrl, "select lease_until from replicas order by id");
  const before = await beats();
  await new Promise((done) => setTimeout(done, 2_000)); // A beat is due every 1.5 s; nothing else would show that there is none.
  expect(await beats()).toEqual(before);

  const started = run(databaseUrl, "serve");
  expect(started).toMatchObject({ status: 1, signal: null });
  expect(started.stderr).toContain(`the control plane could not start: ${words}`);

  await sql(databaseUrl, `update schema_version set compatible_from = ${schemaVersion}`); // As a restore of the older schema would.
  await waitFor("it is ready again", async () => (await running.api.call("GET", "/readyz")).status === 200);
  expect((await running.api.put("/v1/clusters/c0", { name: "c0", connectTimeoutMs: 2_000 })).revision).toBe(6);
}, 90_000);
