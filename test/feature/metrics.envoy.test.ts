// Every metric of the table comes out with a value once what it counts has happened, on a whole control plane with a real Envoy. A metric
// that nobody feeds, or one that is fed with the wrong sign, is worse than none.
import { createServer } from "node:net";
import { Client, credentials } from "@grpc/grpc-js";
import { beforeAll, expect, test } from "vitest";
import { metricTable } from "../../src/telemetry/metrics.js";
import { acked } from "../support/api-client.js";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { onCleanup } from "../support/cleanup.js";
import { type Scrape, scrape } from "../support/metrics.js";
import { freePorts } from "../support/ports.js";
import { sql } from "../support/postgres.js";
import { waitFor } from "../support/wait.js";
import { setUp, startWorld, type World } from "../support/world.js";
import { openXdsStream } from "../support/xds-client.js";

let world: World;
let before: Scrape;

const read = (scraped: Scrape, series: string): number => scraped.get(`chancery_${series}`) ?? 0;

/** Sum over all series of a metric; of a histogram, how often it was observed. Undefined: it has none. */
function totalOf(scraped: Scrape, name: string, kind: string): number | undefined {
  const wanted = `chancery_${name}${kind === "histogram" ? "_count" : ""}`;
  const values = [...scraped].filter(([series]) => series === wanted || series.startsWith(`${wanted}{`));
  return values.length === 0 ? undefined : values.reduce((sum, [, value]) => sum + value, 0);
}

/** Another writer makes the same object while ours runs: ours loses, and begins again. */
async function contend(): Promise<void> {
  const row = `insert into clusters (name, spec, revision) select 'contended', spec || '{"name":"contended"}', 0 from clusters where name = 'app'`;
  const other = sql(world.databaseUrl, `${row}; select pg_sleep(0.7)`); // One transaction, which holds the name for that long.
  await waitFor("the other one is under way", async () => {
    const rows = await sql(world.databaseUrl, "select from pg_stat_activity where wait_event = 'PgSleep'");
    return rows.length > 0;
  });
  await world.api.put("/v1/clusters/contended", { name: "contended" });
  await other;
}

/** A drain whose deadline comes while an Envoy that has just left still has a request there. */
async function leaveOneOpen(port: number): Promise<void> {
  const body = { cluster: "app", endpoints: [`127.0.0.1:${port}`], timeoutMs: 1_500, afterwards: "disable" };
  const { object } = await world.api.post("/v1/drains?override=last-endpoint", body);
  await sql(
    world.databaseUrl,
    `insert into drain_nodes (drain, node, gateway, acked_at, verdict, in_flight, load_at)
     values ($1, 'left', 'edge', clock_timestamp(), 'in-flight', 1, clock_timestamp())`,
    [object?.["id"]],
  );
  const drain = await world.api.get<{ leftOpen?: number }>(`/v1/drains/${object?.["id"]}?wait=safe&timeoutMs=10000`);
  expect(drain.leftOpen).toBe(1);
}

async function meetALimit(): Promise<void> {
  const node = "n".repeat(300);
  const stream = openXdsStream({ port: world.replica.xdsPort, node, gateway: "edge", protocol: "sotw" });
  stream.request("cluster");
  await stream.ended;
}

/** A report that can't be read ends its stream. */
async function reportDamaged(): Promise<void> {
  const client = new Client(`127.0.0.1:${world.replica.xdsPort}`, credentials.createInsecure());
  const same = (bytes: Buffer): Buffer => bytes;
  const path = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats";
  const call = client.makeBidiStreamRequest(path, same, same);
  const ended = new Promise((resolve) => call.on("error", resolve));
  call.resume();
  call.write(Buffer.from([0x0a, 0xff, 0xff, 0xff, 0x7f]));
  await ended;
  client.close();
}

/** The database goes back to another history, in which rows are missing; then they are accounted for. */
async function becomeAnotherHistory(): Promise<void> {
  const { databaseUrl, api } = world;
  await sql(databaseUrl, "delete from endpoints where cluster = 'spare'");
  await sql(databaseUrl, "update revisions set id = gen_random_uuid() where revision = (select n from revision_counter)");
  const failures = async (): Promise<number> => read(await scrape(api), 'snapshot_failures_total{reason="count"}');
  await waitFor("the load is refused", async () => (await failures()) > 0);
  expect(read(await scrape(api), "feed_connected")).toBe(0);
  const counts = "clusters = (select count(*) from clusters), endpoints = (select count(*) from endpoints)";
  await sql(databaseUrl, `update revision_counter set ${counts}`);
  await sql(databaseUrl, `update revisions set ${counts} where revision = (select n from revision_counter)`);
  await waitFor("it is loaded", async () => read(await scrape(api), "feed_connected") === 1);
}

beforeAll(async () => {
  world = await startWorld({});
  const { api } = world;
  before = await scrape(api);
  const [web = 0, backend = 0, taken = 0, takenToo = 0] = await freePorts(4);
  await setUp(api, [
    ["listener", listenerBody("web", web)],
    ["cluster", clusterBody("app", [{ port: backend }])],
    ["cluster", clusterBody("spare", [{ port: backend }])],
    ["route", routeBody("app", "web", "app")],
  ]);
  const server = createServer();
  await new Promise<void>((listening) => server.listen({ host: "127.0.0.1", port: taken, exclusive: true }, listening));
  onCleanup("taken port", () => void server.close());
  await api.refused(409, "POST", `/v1/listeners${acked}`, listenerBody("blocked", taken));
  const other = createServer();
  await new Promise<void>((listening) => other.listen({ host: "127.0.0.1", port: takenToo, exclusive: true }, listening));
  onCleanup("other taken port", () => void other.close());
  await api.refused(409, "POST", `/v1/listeners${acked}&onRefusal=rollback`, listenerBody("undone", takenToo));
  await api.post("/v1/changes?wait=acked&timeoutMs=30000", {
    changes: [{ op: "put", kind: "route", object: routeBody("app", "web", "app", { timeoutMs: 4_000 }) }],
    rollout: { stages: [{ nodes: 1 }], bakeMs: 0 },
  });
  await contend();
  await leaveOneOpen(backend);
  await meetALimit();
  await reportDamaged();
  await becomeAnotherHistory();
});

/** What counts only where it is switched on: shown by validation.envoy.test.ts and refusal-webhook.test.ts; or after days: by history-pruner.test.ts. */
const needsASetting = [
  ...["validations_total", "validation_seconds", "webhook_deliveries_total"],
  "endpoint_leases_ended_total", // Leases: leases.envoy.test.ts.
  ...["rebalances_ended_total", "rebalance_closed_total"], // rebalance.envoy.test.ts
  ...["node_drains_ended_total", "node_drain_seconds"], // node-drain-kinds.envoy.test.ts
  ...["state_file_writes_total", "state_file_write_seconds", "state_file_rejected_total"], // test/feature/last-known-good.pg.test.ts
  ...["history_pruned_total", "history_cut_revision", "history_broken"],
];

test("each metric of the table comes out, and counters and histograms have counted", async () => {
  const after = await scrape(world.api);
  const unfed = Object.entries(metricTable).filter(([name, { kind }]) => {
    const total = totalOf(after, name, kind);
    return total === undefined || (kind !== "gauge" && total === 0);
  });
  expect(unfed.map(([name]) => name).filter((name) => !needsASetting.includes(name))).toEqual([]);
});

test("counters only go up, and nothing is counted that the table does not name", async () => {
  const after = await scrape(world.api);
  for (const [series, value] of before) {
    const kind = Object.entries(metricTable).find(([name]) => series.startsWith(`chancery_${name}`))?.[1].kind;
    if (kind !== "gauge") expect(after.get(series), series).toBeGreaterThanOrEqual(value);
  }
  const names = Object.entries(metricTable).map(([name, { kind }]) => ({ name: `chancery_${name}`, kind }));
  const strangers = [...after.keys()].filter((series) => {
    const bare = series.replace(/\{.*/, "");
    return !names.some(
      ({ name, kind }) => bare === name || (kind === "histogram" && bare.replace(/_(bucket|sum|count)$/, "") === name),
    );
  });
  expect(strangers).toEqual([]);
});

test("gauges tell what is", async () => {
  const { api } = world;
  const { revision } = await api.get<{ revision: number }>("/readyz");
  const after = await waitFor("the retry of the refused listener is over", async () => {
    const scraped = await scrape(api);
    return read(scraped, 'xds_resources_refused{type="listener"}') === 1 ? scraped : undefined;
  });
  const expected = {
    snapshot_revision: revision,
    snapshot_gateways: 1,
    revision_lag: 0,
    feed_connected: 1,
    'xds_streams_open{kind="ads-delta"}': 1,
    'report_streams_open{service="load"}': 1,
    'report_streams_open{service="metrics"}': 1,
    'report_nodes{state="reporting"}': 1,
    'report_nodes{state="silent"}': 0,
    'status_nodes{gateway_known="true"}': 1,
    'status_nodes{gateway_known="false"}': 0,
    'xds_resources_held{type="route"}': 0,
    sync_waits_open: 0,
    api_requests_in_flight: 1,
    'store_connections{pool="api",state="awaited"}': 0,
  };
  const found = Object.fromEntries(Object.keys(expected).map((series) => [series, after.get(`chancery_${series}`)]));
  expect(found).toEqual(expected);
  expect(read(after, "store_revisions_total")).toBe(revision);
  expect(read(after, 'limit_hits_total{limit="xds_max_node_id_length"}')).toBe(1);
  expect(read(after, "feed_histories_total")).toBeGreaterThan(0);
  expect(read(after, 'store_errors_total{code="state_mismatch"}')).toBe(read(after, 'snapshot_failures_total{reason="count"}'));
});

test("a refused body is no failure of the store, and a change encodes what it touches and nothing else", async () => {
  const { api } = world;
  const first = await scrape(api);
  await api.refused(404, "GET", "/v1/clusters/nowhere");
  await api.refused(409, "POST", "/v1/clusters", clusterBody("app", []));
  await api.put(`/v1/clusters/app/endpoints${acked}`, { endpoints: [{ address: "127.0.0.1", port: 9 }] });
  const second = await scrape(api);
  const errors = (scraped: Scrape) => [...scraped].filter(([series]) => series.startsWith("chancery_store_errors_total"));
  expect(JSON.stringify(errors(second))).toBe(JSON.stringify(errors(first)));
  const grew = (series: string): number => read(second, series) - read(first, series);
  expect(totalOf(second, "store_errors_total", "counter")).toBe(totalOf(first, "store_errors_total", "counter"));
  expect(grew('snapshot_translations_total{type="endpoint"}')).toBe(1);
  for (const type of ["cluster", "listener", "route"]) expect(grew(`snapshot_translations_total{type="${type}"}`)).toBe(0);
  expect(grew("store_revisions_total")).toBe(1);
  expect(grew('snapshot_build_seconds_count{cause="revisions"}')).toBe(1);
});
