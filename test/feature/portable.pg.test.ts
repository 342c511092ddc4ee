// The portable mode as a distributed engine would get it: two replicas that reach Postgres through a pgbouncer in transaction mode, without
// NOTIFY, while the database takes back every tenth revision (40001). Without pgbouncer it is skipped; `npm test` fetches one.
// The whole suite in this mode: `npm run portable`.
import { expect, test } from "vitest";
import { clusterBody } from "../support/bodies.js";
import { onCleanup } from "../support/cleanup.js";
import { injectFailures, isPortable } from "../support/database-mode.js";
import { findPgbouncer, startPgbouncer, throughPooler } from "../support/pgbouncer.js";
import { freshDatabase, sql } from "../support/postgres.js";
import { startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { openXdsStream } from "../support/xds-client.js";

// Mutants: LISTEN in the portable mode (the pooler takes it, and nothing ever comes; caught by the statement's own test in
// test/store/feed.pg.test.ts); one run of a write in place of many (5xx, and here: writes that are not done).
test.skipIf(!findPgbouncer())("writes of two replicas are all done, once each, and both replicas serve the same", async () => {
  const { url } = await freshDatabase();
  if (!isPortable) await sql(url, injectFailures); // In the run of the whole suite every database has them.
  const pooler = await startPgbouncer(url);
  onCleanup("pgbouncer", () => pooler.stop());
  const databaseUrl = throughPooler(url, pooler.port);
  const env = { CHANCERY_DB_MODE: "portable", DATABASE_MIGRATION_URL: url, CHANCERY_POLL_MS: "100" };
  const replicas = await Promise.all(["replica-a", "replica-b"].map((id) => startReplica({ databaseUrl, id, env })));
  const streams = replicas.map(({ xdsPort, id }) => {
    const stream = openXdsStream({ port: xdsPort, node: `at-${id}`, gateway: "edge", protocol: "delta" });
    stream.ackAll();
    stream.request("cluster");
    return stream;
  });
  const [a] = replicas;
  await a?.api.post("/v1/listeners", { name: "tcp", address: "127.0.0.1", port: 9_000, protocol: "tcp", gateways: ["edge"] });
  await a?.api.post("/v1/clusters", clusterBody("shared", [], { protocol: "tcp" }));
  await a?.api.post("/v1/routes", { name: "tcp", protocol: "tcp", listener: "tcp", backends: [{ cluster: "shared" }] });
  const before = Number((await sql<{ count: string }>(url, "select count(*) from revisions"))[0]?.count);
  const writes = Array.from({ length: 60 }, (_, at) => async () => {
    const { api } = replicas[at % 2] ?? { api: undefined };
    const headers = { "idempotency-key": `write-${at}` };
    const answer = await api?.call("POST", "/v1/clusters", clusterBody(`c-${at}`, []), headers);
    return [answer?.status, (await api?.call("POST", "/v1/clusters", clusterBody(`c-${at}`, []), headers))?.status];
  });
  const workers = Array.from({ length: 4 }, async (_, worker) => {
    const statuses: unknown[] = [];
    for (const write of writes.filter((_, at) => at % 4 === worker)) statuses.push(...(await write()));
    return statuses;
  });
  expect(new Set((await Promise.all(workers)).flat())).toEqual(new Set([201]));
  const last = await a?.api.put("/v1/clusters/shared/endpoints/10.0.0.1:80?wait=acked&timeoutMs=30000", { weight: 3 });
  expect(last?.sync?.state).toBe("acked");
  const rows = await sql<{ revision: string }>(url, "select revision from revisions order by revision");
  expect(rows.map(({ revision }) => Number(revision))).toEqual(rows.map((_, at) => at + 1));
  expect(rows).toHaveLength(before + 61);
  await waitFor("both have it", () => streams.every((stream) => stream.state("cluster").size > 0));
});
