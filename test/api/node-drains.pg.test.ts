// Calls on drains of Envoys: what they take, answer and refuse, without Envoys: what these would say is written as rows.
// Mutants tried and caught: the guard that counts drained or disconnected Envoys; asking again begins anew; `override` ignored; a dry run
// that is committed; cancel that leaves the row; a lame duck where no listener has a health path.
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { NodeDrainJobs } from "../../src/drain/node-drain-jobs.js";
import { connectAnew, startNodeDrainJobs } from "../support/node-drain-jobs.js";
import { sql } from "../support/postgres.js";
import { type ApiUnderTest, faults, startApi } from "./api-under-test.js";

interface NodeDrain {
  readonly node: string;
  readonly state: string;
  readonly safeToStop: boolean;
  readonly lameDuckMs: number;
  readonly outcome?: string;
}

let it: ApiUnderTest;
let jobs: NodeDrainJobs;
beforeAll(async () => {
  it = await startApi({ plans: true });
  jobs = startNodeDrainJobs(it);
});
afterAll(async () => {
  await jobs.stop();
  await it.close();
});
beforeEach(() => connectAnew(it, ["edge-1", "edge-2", "edge-3"]));

const call = (method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
  it.api.call(method, path, body, headers);
async function start(body: object, query = "", headers?: Record<string, string>) {
  const { status, body: answer } = await call("POST", `/v1/node-drains${query}`, body, headers);
  return {
    status,
    ...(answer as { revision: number; changed: boolean; object: NodeDrain; code?: string; detail?: string; known?: string[] }),
  };
}
const show = (node: string) => it.api.get<NodeDrain>(`/v1/node-drains/${node}`);
async function report(node: string, connections: number): Promise<void> {
  const drain = await it.store.nodeDrains.get(node);
  const verdict = connections > 0 ? "open" : "zero";
  await it.store.nodeDrains.save("r1", [{ node, id: drain?.id ?? "", acked: true, report: { verdict, connections } }]);
}

test("a drain begins with who and why, is told as it goes on, and is waited for", async () => {
  const by = { "x-chancery-author": "ada" };
  const begun = await start({ node: "edge-1", reason: "new image" }, "", by);
  expect([begun.status, begun.changed, begun.object]).toMatchObject([
    201,
    true,
    {
      node: "edge-1",
      gateway: "edge",
      state: "withdrawing",
      safeToStop: false,
      connected: true,
      lameDuckMs: 0,
      timeoutMs: 60_000,
      author: "ada",
      reason: "new image",
    },
  ]);
  const revision = await it.api.get<object>(`/v1/revisions/${begun.revision}`);
  expect(revision).toMatchObject({ author: "ada", reason: "new image" });
  await report("edge-1", 4);
  expect(await show("edge-1")).toMatchObject({ state: "draining", connections: 4, silent: false });
  expect((await call("GET", "/v1/node-drains/edge-1?wait=safe&timeoutMs=100")).status).toBe(202);
  const wait = call("GET", "/v1/node-drains/edge-1?wait=safe&timeoutMs=20000");
  await report("edge-1", 0);
  expect([(await wait).status, (await wait).body]).toMatchObject([
    200,
    { state: "drained", safeToStop: true, outcome: "no connection is left" },
  ]);
});

test("asking again is that drain; one that ended unsafe is waited for once more", async () => {
  const first = await start({ node: "edge-1", timeoutMs: 0 });
  await expect.poll(async () => (await show("edge-1")).state, { timeout: 8_000 }).toBe("drained");
  const again = await start({ node: "edge-1" });
  expect([again.status, again.changed, again.object.state]).toEqual([200, false, "withdrawing"]);
  expect(await start({ node: "edge-1", reason: "another" })).toMatchObject({
    status: 200,
    changed: false,
    revision: first.revision,
  });
  await report("edge-1", 0);
  await expect.poll(async () => (await show("edge-1")).safeToStop, { timeout: 8_000 }).toBe(true);
  expect(await start({ node: "edge-1" })).toMatchObject({
    status: 200,
    changed: false,
    object: { state: "drained", safeToStop: true },
  });
});

test("a repeated Idempotency-Key gets the first answer", async () => {
  const key = { "idempotency-key": "replace-1" };
  const first = await start({ node: "edge-1" }, "", key);
  await call("DELETE", "/v1/node-drains/edge-1");
  const second = await start({ node: "edge-1" }, "", key);
  expect([second.revision, second.object.state]).toEqual([first.revision, "withdrawing"]);
  expect((await call("GET", "/v1/node-drains/edge-1")).status).toBe(404);
});

test("a dry run shows the drain, or why not, and changes nothing", async () => {
  const head = await it.store.head();
  expect(await start({ node: "edge-1" }, "?dryRun=true")).toMatchObject({
    status: 200,
    revision: null,
    changed: true,
    object: { state: "withdrawing" },
  });
  expect(await start({ node: "edge-9" }, "?dryRun=true")).toMatchObject({ status: 404 });
  expect([(await call("GET", "/v1/node-drains/edge-1")).status, await it.store.head()]).toEqual([404, head]);
});

test("the last Envoy that serves a gateway stays, unless that is meant; two at once can't take each other's", async () => {
  await sql(it.databaseUrl, "update nodes set connected = false where id = 'edge-3'");
  const both = await Promise.all([start({ node: "edge-1" }), start({ node: "edge-2" })]);
  expect(both.map(({ status }) => status).sort()).toEqual([201, 409]);
  const refused = both.find(({ status }) => status === 409);
  expect(refused).toMatchObject({ code: "guard_refused", override: ["last-node"] });
  const left = both[0]?.status === 409 ? "edge-1" : "edge-2";
  const forced = await start({ node: left }, "?override=last-node");
  expect(forced.status).toBe(201);
  expect(await it.api.get<object>(`/v1/revisions/${forced.revision}`)).toMatchObject({ overrides: ["last-node"] });
});

test("an unknown Envoy is named with those that are like it; one that is not connected is drained, and told so", async () => {
  const unknown = await start({ node: "edge-11" });
  expect([unknown.status, unknown.code, unknown.known]).toEqual([404, "not_found", ["edge-1", "edge-2", "edge-3"]]);
  expect(unknown.detail).toContain("edge-1");
  await sql(it.databaseUrl, "update nodes set connected = false where id = 'edge-1'");
  expect(await start({ node: "edge-1" })).toMatchObject({ status: 201, object: { connected: false, safeToStop: false } });
});

test("cancelled, it is no more, also after its end", async () => {
  await start({ node: "edge-1" });
  await report("edge-1", 0);
  await expect.poll(async () => (await show("edge-1")).safeToStop, { timeout: 8_000 }).toBe(true);
  const cancelled = await call("DELETE", "/v1/node-drains/edge-1", undefined, { "x-chancery-author": "bob" });
  expect([cancelled.status, cancelled.body]).toMatchObject([
    200,
    { changed: true, object: { state: "cancelled", outcome: "cancelled by bob" } },
  ]);
  expect((await call("DELETE", "/v1/node-drains/edge-1")).status).toBe(404);
  expect((await it.store.loadState()).nodeDrains).toEqual([]);
});

test("a lame duck by itself only where a health check can fail", async () => {
  expect((await start({ node: "edge-1" })).object.lameDuckMs).toBe(0);
  await it.api.post("/v1/listeners", {
    name: "checked",
    port: 8444,
    protocol: "http",
    gateways: ["edge"],
    healthPath: "/healthz",
  });
  expect((await start({ node: "edge-2" })).object).toMatchObject({ lameDuckMs: 10_000, state: "lame-duck" });
  await call("DELETE", "/v1/node-drains/edge-2");
  expect((await start({ node: "edge-2", lameDuckMs: 0 })).object).toMatchObject({ lameDuckMs: 0, state: "withdrawing" });
  expect(await it.api.get<object>("/v1/listeners/checked")).toMatchObject({ healthPath: "/healthz" });
});

test("they are listed by node, a page at a time, and bad bodies are refused with all their faults", async () => {
  for (const node of ["edge-2", "edge-1"]) await start({ node });
  const page = await it.api.get<{ items: NodeDrain[]; next?: string }>("/v1/node-drains?limit=1&gateway=edge");
  expect([page.items.map(({ node }) => node), page.next]).toEqual([["edge-1"], "edge-1"]);
  const rest = await it.api.get<{ items: NodeDrain[]; next?: string }>("/v1/node-drains?after=edge-1");
  expect([rest.items.map(({ node }) => node), rest.next]).toEqual([["edge-2"], undefined]);
  const bad = await call("POST", "/v1/node-drains", { node: "", timeoutMs: -1, lameDuckMs: 3_600_001, colour: "red" });
  expect([
    bad.status,
    faults(bad.body)
      .map((fault) => fault.split(" ")[1])
      .sort(),
  ]).toEqual([422, ["/colour", "/lameDuckMs", "/node", "/timeoutMs"]]);
});
