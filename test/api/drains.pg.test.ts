// Calls on drains: what they take, what they answer, what they refuse, without Envoys: what Envoys would say is written as rows.
// Mutants tried and caught: the last-endpoint rule counting disabled endpoints, or draining ones; a selector whose labels are not looked at, or any of which is enough; `sameDrain` left out (a second drain
// of the same endpoint); a removal without a drain taken for safe; cancel leaving the mark; `override` ignored.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { DrainJobs } from "../../src/drain/drain-jobs.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { createMetrics } from "../../src/telemetry/metrics.js";
import { sql } from "../support/postgres.js";
import { type ApiUnderTest, edgeNode, faults, startApi } from "./api-under-test.js";

interface Drain {
  readonly id: string;
  readonly state: string;
  readonly safeToStop: boolean;
  readonly revision?: number;
  readonly leftOpen?: number;
  readonly outcome?: string;
  readonly endpoints: readonly { readonly cluster: string; readonly endpoint: string; readonly joins?: string }[];
  readonly gateways: Readonly<Record<string, { readonly total: number; readonly silent: readonly string[] }>>;
}

let it: ApiUnderTest;
let jobs: DrainJobs;
beforeAll(async () => {
  it = await startApi({ plans: true });
  jobs = new DrainJobs({ store: it.store, log: createLogger("silent"), metrics: createMetrics() });
  await it.store.status.heartbeat({ id: "r1", startedAt: new Date().toISOString(), revision: 1, leaseMs: 600_000 });
  await it.api.post("/v1/listeners", { name: "web", port: 8443, protocol: "http", gateways: ["edge"] });
});
afterAll(async () => {
  await jobs.stop();
  await it.close();
});

let count = 0;
let app = "";
/** A cluster of its own with endpoints 10.0.<n>.1–3, on a route of gateway edge. */
beforeEach(async () => {
  app = `app-${++count}`;
  const endpoints = [1, 2, 3].map((host) => ({ address: `10.0.${count}.${host}`, port: 80, zone: `z${host % 2}` }));
  await it.api.post("/v1/clusters", { name: app, endpoints });
  await it.api.post("/v1/routes", {
    name: app,
    protocol: "http",
    listeners: ["web"],
    hosts: [`${app}.example`],
    backends: [{ cluster: app, weight: 1 }],
  });
  await it.store.status.saveNodes("r1", ["edge-1", "edge-2"].map(edgeNode), []);
});

const key = (host: number) => `10.0.${count}.${host}:80`;
const call = (method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
  it.api.call(method, path, body, headers);
async function start(body: object, query = ""): Promise<{ status: number; changed: boolean; revision: number; drain: Drain }> {
  const { status, body: answer } = await call("POST", `/v1/drains${query}`, body);
  const { changed, revision, object } = answer as { changed: boolean; revision: number; object: Drain };
  return { status, changed, revision, drain: object };
}
const show = async (id: string) => it.api.get<Drain>(`/v1/drains/${id}`);
const endpointOf = (host: number) => it.api.get<Record<string, unknown>>(`/v1/clusters/${app}/endpoints/${key(host)}`);
async function report(drain: string, verdict: "zero" | "in-flight", inFlight = 0, nodes = ["edge-1", "edge-2"]): Promise<void> {
  const rows = nodes.map((node) => ({ drain, node, gateway: "edge" }));
  await it.store.drains.saveAcks("r1", rows);
  await it.store.drains.saveLoads(
    "r1",
    rows.map((row) => ({ ...row, verdict, inFlight, unattributed: 0 })),
  );
}

describe("a drain", () => {
  test("begins with one revision by its author, is waited for, and ends safe", async () => {
    const headers = { "x-chancery-author": "ada", "x-chancery-reason": "deploy 7" };
    const answer = await call("POST", "/v1/drains", { cluster: app, endpoints: [key(1)], timeoutMs: 60_000 }, headers);
    expect(answer.status).toBe(201);
    const { revision, object: drain } = answer.body as { revision: number; object: Drain };
    expect(drain).toMatchObject({
      state: "requested",
      safeToStop: false,
      author: "ada",
      reason: "deploy 7",
      revision,
      afterwards: "remove",
      timeoutMs: 60_000,
      total: 2,
      acked: 0,
      endpoints: [{ cluster: app, endpoint: key(1), guarantee: { kind: expect.any(String), because: expect.any(String) } }],
      gateways: { edge: { total: 2, acked: 0, unacked: ["edge-1", "edge-2"], silent: [] } },
    });
    expect(await it.store.read.revision(revision)).toMatchObject({ author: "ada", reason: "deploy 7" });
    expect(await endpointOf(1)).toMatchObject({ enabled: true, drain: { id: drain.id, phase: "draining" } });

    await report(drain.id, "in-flight", 2);
    expect(await show(drain.id)).toMatchObject({ state: "in-flight", acked: 2, inFlight: 4, revision });
    const late = await call("GET", `/v1/drains/${drain.id}?wait=safe&timeoutMs=50`);
    expect([late.status, late.body]).toMatchObject([202, { safeToStop: false }]);

    jobs.start();
    const waiting = call("GET", `/v1/drains/${drain.id}?wait=safe&timeoutMs=20000`);
    await report(drain.id, "zero");
    const ended = await waiting;
    expect([ended.status, ended.body]).toMatchObject([200, { state: "removed", safeToStop: true, leftOpen: 0 }]);
    expect((await call("GET", `/v1/clusters/${app}/endpoints/${key(1)}`)).status).toBe(404);
    const history = await it.store.history.list({ limit: 1 });
    expect(history.items).toMatchObject([{ author: `drain ${drain.id}`, reason: "nothing is in flight", overrides: [] }]);
  });

  test("covers an address in every cluster that has it, unless told otherwise", async () => {
    await it.api.post("/v1/clusters", {
      name: `${app}-b`,
      endpoints: [
        { address: `10.0.${count}.1`, port: 80 },
        { address: `10.0.${count}.9`, port: 80 },
      ],
    });
    const all = await start({ address: key(1) });
    expect(all.drain.endpoints.map(({ cluster }) => cluster).sort()).toEqual([app, `${app}-b`]);
    await it.api.call("DELETE", `/v1/drains/${all.drain.id}`);
    const one = await start({ address: key(1), cluster: app });
    expect(one.drain.endpoints.map(({ cluster }) => cluster)).toEqual([app]);
  });

  test("takes a zone, several endpoints at once, and either at most once in a set", async () => {
    const zone = await start({ cluster: app, selector: { zone: "z1" } });
    expect(zone.drain.endpoints.map(({ endpoint }) => endpoint)).toEqual([key(1), key(3)]);
    const none = await call("POST", "/v1/drains", { cluster: app, selector: { zone: "nowhere" } });
    expect([none.status, faults(none.body)]).toEqual([422, ["unknown_endpoint /selector"]]);
  });

  test("takes what a selector finds: labels, zone and address must all hold, in one cluster or in all", async () => {
    const labelled = [
      [1, { version: "v1", "team/owner": "a" }],
      [2, { version: "v1" }],
      [3, { version: "v2" }],
    ] as const;
    for (const [host, labels] of labelled) await call("PATCH", `/v1/clusters/${app}/endpoints/${key(host)}`, { labels });
    const found = async (selector: object, cluster: string | undefined = app): Promise<readonly string[]> => {
      const { drain } = await start({ ...(cluster ? { cluster } : {}), selector }, "?override=last-endpoint");
      await call("DELETE", `/v1/drains/${drain.id}`);
      return drain.endpoints.map(({ endpoint }) => endpoint);
    };
    expect(await found({ labels: { version: "v1" } })).toEqual([key(1), key(2)]);
    expect(await found({ labels: { version: "v1", "team/owner": "a" } })).toEqual([key(1)]);
    expect(await found({ labels: { version: "v1" }, zone: "z0" })).toEqual([key(2)]);
    expect(await found({ labels: { version: "v2" }, address: `10.0.${count}.3` })).toEqual([key(3)]);
    expect(await found({ address: key(2) }, "")).toEqual([key(2)]);
    const none = await call("POST", "/v1/drains", { cluster: app, selector: { labels: { version: "v1" }, address: key(3) } });
    expect([none.status, faults(none.body)]).toEqual([422, ["unknown_endpoint /selector"]]);
  });

  test("is planned and not begun with dryRun", async () => {
    const plan = await call("POST", "/v1/drains?dryRun=true", { cluster: app, endpoints: [key(1)] });
    expect([plan.status, plan.body]).toMatchObject([200, { revision: null, objects: [{ kind: "endpoint", change: "updated" }] }]);
    expect(await endpointOf(1)).not.toHaveProperty("drain");
    expect((await it.api.get<{ items: Drain[] }>("/v1/drains?limit=1")).items[0]?.endpoints[0]?.endpoint).not.toBe(key(1));
  });

  test("is begun once for one Idempotency-Key", async () => {
    const body = { cluster: app, endpoints: [key(1)] };
    const headers = { "idempotency-key": `key-${app}` };
    const [first, again] = [await call("POST", "/v1/drains", body, headers), await call("POST", "/v1/drains", body, headers)];
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect((again.body as { object: Drain }).object.id).toBe((first.body as { object: Drain }).object.id);
  });

  test("is listed, newest first, by whether it is open", async () => {
    const { drain } = await start({ cluster: app, endpoints: [key(1)] });
    const { items } = await it.api.get<{ items: Drain[] }>("/v1/drains?open=true");
    expect(items[0]?.id).toBe(drain.id);
    expect(items[0]?.gateways["edge"]).not.toHaveProperty("nodes");
    const page = await it.api.get<{ items: Drain[]; next: string }>("/v1/drains?limit=1");
    const next = await it.api.get<{ items: Drain[] }>(`/v1/drains?limit=1&after=${page.next}`);
    expect([page.items.length, next.items.length, page.items[0]?.id === next.items[0]?.id]).toEqual([1, 1, false]);
  });

  test.each([
    [{}, ["exactly_one "]],
    [{ address: "10.0.0.1:80", selector: { zone: "a" } }, ["exactly_one "]],
    [{ address: "example.com:80" }, ["wrong_format /address"]],
    [{ endpoints: ["10.0.0.1:80"] }, ["missing_field /cluster"]],
    [{ cluster: "nobody", address: "10.0.0.1:80" }, ["unknown_cluster /cluster"]],
    [{ address: "10.0.0.1:80", timeoutMs: 3_600_001 }, ["out_of_range /timeoutMs"]],
    [{ address: "10.0.0.1:80", afterwards: "keep" }, ["not_one_of /afterwards"]],
    [{ selector: {} }, expect.any(Array)],
    [{ selector: { labels: {} } }, ["wrong_count /selector/labels"]],
    [{ selector: { labels: { "-": "a" } } }, ["wrong_format /selector/labels/-"]],
    [{ selector: { address: "web-1" } }, ["wrong_format /selector/address"]],
  ])("%j is refused", async (body, problems) => {
    const answer = await call("POST", "/v1/drains", body);
    expect([answer.status, faults(answer.body)]).toEqual([422, problems]);
  });
});

describe("what is drained or gone already", () => {
  test("being drained: the same drain is the answer", async () => {
    const first = await start({ cluster: app, endpoints: [key(1)] });
    const again = await start({ address: key(1) });
    expect([again.status, again.changed, again.drain.id]).toEqual([200, false, first.drain.id]);
  });

  test("in part: the new drain waits for the other one", async () => {
    const first = await start({ cluster: app, endpoints: [key(1)], timeoutMs: 3_600_000 });
    const both = await start({ cluster: app, endpoints: [key(1), key(2)] });
    expect(both.drain.endpoints.map(({ joins }) => joins)).toEqual([first.drain.id, undefined]);
    jobs.start();
    await report(both.drain.id, "zero");
    await new Promise((done) => setTimeout(done, 700));
    expect(await show(both.drain.id)).toMatchObject({ safeToStop: false });
    await report(first.drain.id, "zero");
    await report(both.drain.id, "zero");
    const ended = await call("GET", `/v1/drains/${both.drain.id}?wait=safe&timeoutMs=10000`);
    expect([ended.status, ended.body]).toMatchObject([200, { safeToStop: true }]);
  });

  test("drained: its drain is the answer, with how that ended", async () => {
    jobs.start();
    const first = await start({ cluster: app, endpoints: [key(1)], timeoutMs: 0 });
    expect((await call("GET", `/v1/drains/${first.drain.id}?wait=safe`)).body).toMatchObject({ safeToStop: false });
    const again = await start({ address: key(1) });
    expect([again.status, again.drain]).toMatchObject([200, { id: first.drain.id, state: "removed", safeToStop: false }]);
  });

  test("never there: removed and safe at once; removed without a drain: nobody knows", async () => {
    const never = await start({ address: "192.0.2.1:1" });
    expect(never.drain).toMatchObject({ state: "removed", safeToStop: true, outcome: "no cluster has it" });
    await it.api.call("DELETE", `/v1/clusters/${app}/endpoints/${key(2)}`);
    const removed = await start({ address: key(2) });
    expect(removed.drain).toMatchObject({ state: "removed", safeToStop: false });
    await sql(it.databaseUrl, "update revisions set at = at - interval '2 hours'");
    expect((await start({ cluster: app, endpoints: [key(2)] })).drain).toMatchObject({ safeToStop: true });
  });
});

describe("the last endpoint", () => {
  test("is not drained unless that is overridden, which is recorded", async () => {
    await it.api.put(`/v1/clusters/${app}/endpoints/${key(3)}`, { zone: "z1", enabled: false });
    await start({ cluster: app, endpoints: [key(1)] });
    const refused = await call("POST", "/v1/drains", { cluster: app, endpoints: [key(2)] });
    expect([refused.status, refused.body]).toMatchObject([
      409,
      {
        code: "guard_refused",
        override: ["last-endpoint"],
        guards: [{ guard: "last-endpoint", cluster: app, before: 1, gone: 1, after: 0 }],
      },
    ]);
    // A disabled one takes nothing away.
    expect((await start({ cluster: app, endpoints: [key(3)] })).status).toBe(201);
    const forced = await start({ cluster: app, endpoints: [key(2)] }, "?override=last-endpoint");
    expect(forced.status).toBe(201);
    expect(await it.store.read.revision(forced.revision)).toMatchObject({ overrides: ["last-endpoint"] });
  });

  test("of all at once neither", async () => {
    const refused = await call("POST", "/v1/drains", { cluster: app, endpoints: [key(1), key(2), key(3)] });
    expect(refused.body).toMatchObject({ guards: [{ before: 3, gone: 3 }] });
  });
});

test("of a thousand open ones there is one more neither", async () => {
  await jobs.stop();
  await sql(
    it.databaseUrl,
    `insert into drains (id, author, request_id, state, afterwards, timeout_ms, endpoints, gateways, deadline)
     select 'many-' || n, 'x', 'x', 'draining', 'remove', 1, '[]', '["edge"]', clock_timestamp() + interval '1 hour' from generate_series(1, 1000) as n`,
  );
  const refused = await call("POST", "/v1/drains", { cluster: app, endpoints: [key(1)] });
  expect([refused.status, refused.body]).toMatchObject([429, { code: "too_many_requests", maxOpenDrains: 1_000 }]);
  await sql(it.databaseUrl, "delete from drains where id like 'many-%'");
  jobs = new DrainJobs({ store: it.store, log: createLogger("silent"), metrics: createMetrics() });
});

describe("cancelling", () => {
  test("puts the endpoints back as they were, once", async () => {
    const before = await endpointOf(1);
    const { drain } = await start({ cluster: app, endpoints: [key(1)] });
    const cancelled = await call("DELETE", `/v1/drains/${drain.id}`, undefined, { "x-chancery-author": "bob" });
    expect([cancelled.status, cancelled.body]).toMatchObject([
      200,
      { changed: true, object: { state: "cancelled", safeToStop: false, outcome: "cancelled by bob" } },
    ]);
    expect(await endpointOf(1)).toEqual(before);
    expect((await call("DELETE", `/v1/drains/${drain.id}`)).body).toMatchObject({
      changed: false,
      object: { state: "cancelled" },
    });
  });

  test("what has ended can't be; what never was is not found", async () => {
    jobs.start();
    const { drain } = await start({ cluster: app, endpoints: [key(1)], timeoutMs: 0 });
    await call("GET", `/v1/drains/${drain.id}?wait=safe`);
    const refused = await call("DELETE", `/v1/drains/${drain.id}`);
    expect([refused.status, refused.body]).toMatchObject([409, { code: "drain_ended", state: "removed" }]);
    for (const id of ["0123456789abcdef", "no-such", "%00"]) {
      expect((await call("DELETE", `/v1/drains/${id}`)).status).toBe(404);
      expect((await call("GET", `/v1/drains/${id}`)).status).toBe(404);
    }
  });
});

describe("other calls", () => {
  test("keep the mark, and what GET shows is what PUT takes", async () => {
    const { drain } = await start({ cluster: app, endpoints: [key(1)] });
    const shown = await endpointOf(1);
    expect((await call("PUT", `/v1/clusters/${app}/endpoints/${key(1)}`, shown)).body).toMatchObject({ changed: false });
    await it.api.put(`/v1/clusters/${app}/endpoints/${key(1)}`, { zone: "z1", weight: 9 });
    expect(await endpointOf(1)).toMatchObject({ weight: 9, drain: { id: drain.id } });
    const set = await it.api.get<{ endpoints: unknown[] }>(`/v1/clusters/${app}/endpoints`);
    expect((await call("PUT", `/v1/clusters/${app}/endpoints`, set)).body).toMatchObject({ changed: false });
    const put = {
      op: "put",
      kind: "endpoint",
      cluster: app,
      object: { address: `10.0.${count}.1`, port: 80, zone: "z1", weight: 3 },
    };
    await it.api.post("/v1/changes", { changes: [put] });
    expect(await endpointOf(1)).toMatchObject({ weight: 3, drain: { id: drain.id } });
  });

  test("can't take it away, whichever way, unless that is overridden", async () => {
    const { drain } = await start({ cluster: app, endpoints: [key(1)] });
    const others = [2, 3].map((host) => ({ address: `10.0.${count}.${host}`, port: 80, zone: `z${host % 2}` }));
    const remove = { op: "delete", kind: "endpoint", cluster: app, name: key(1) };
    const ways: readonly (readonly [string, string, unknown?])[] = [
      ["DELETE", `/v1/clusters/${app}/endpoints/${key(1)}`],
      ["PUT", `/v1/clusters/${app}/endpoints`, { endpoints: others }],
      ["PATCH", `/v1/clusters/${app}/endpoints`, { remove: [key(1)] }],
      ["PUT", `/v1/clusters/${app}`, { connectTimeoutMs: 77 }],
      ["POST", "/v1/changes", { changes: [remove] }],
      ["POST", "/v1/changes?dryRun=true", { changes: [remove] }],
    ];
    for (const [method, path, body] of ways) {
      const refused = await call(method, path, body);
      expect([path, refused.status, refused.body]).toMatchObject([path, 409, { code: "draining", drains: [drain.id] }]);
    }
    const overridden = await call("POST", "/v1/changes", { changes: [remove], override: { drain: true } });
    expect(overridden.status).toBe(200);
  });
});
