// `?onRefusal=rollback`: what was there before a refused write is put back whole, or nothing is touched and the answer says why.
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { Sync } from "../../src/status/sync.js";
import { type ApiUnderTest, startApi, synced } from "./api-under-test.js";

let it: ApiUnderTest;
const waited: number[] = [];
/** Runs between the refused commit and the news of the refusal. */
let meanwhile: () => Promise<unknown> = async () => {};
const refused = [{ node: "edge-1", type: "cluster" as const, resource: "x", detail: "ring size" }];
const refusing = (revision: number): Sync =>
  synced(revision, "refused", { gateways: { edge: { total: 1, acked: 0, refused, lagging: [], gone: [] } } });

beforeAll(async () => {
  it = await startApi();
});
afterAll(() => it.close());
beforeEach(() => {
  waited.length = 0;
  meanwhile = async () => {};
  it.fleet.waitSync = async (revision) => {
    waited.push(revision);
    if (waited.length > 1) return synced(revision, "acked");
    await meanwhile();
    return refusing(revision);
  };
});

const rollback = "?wait=acked&onRefusal=rollback";
/** Everything that is stored, without what changes with each revision. */
async function everything(): Promise<unknown> {
  const { revision: _, id: __, pastRoutes: ___, ...rows } = await it.store.loadState();
  return rows;
}

interface Refused {
  readonly revision: number;
  readonly detail: string;
  readonly rollback?: {
    readonly state: string;
    readonly revision?: number;
    readonly code?: string;
    readonly detail?: string;
    readonly sync?: Sync;
  };
}
async function refusedCall(method: string, path: string, body?: unknown): Promise<Refused> {
  const answer = await it.api.call(method, `${path}${rollback}`, body, {
    "x-chancery-author": "anna",
    "x-request-id": `req-${waited.length}`,
  });
  expect([answer.status, (answer.body as { code: string }).code], answer.text).toEqual([409, "refused_by_envoy"]);
  return answer.body as Refused;
}

/** A small configuration, some of which each case changes. */
async function setUp(prefix: string): Promise<void> {
  const endpoints = [1, 2, 3].map((at) => ({ address: `10.0.0.${at}`, port: 80, weight: at }));
  await it.api.post("/v1/clusters", { name: `${prefix}-a`, endpoints });
  await it.api.post("/v1/clusters", { name: `${prefix}-b`, endpoints });
  await it.api.post("/v1/listeners", { name: `${prefix}-web`, port: 80, protocol: "http", gateways: [prefix] });
  await it.api.post("/v1/routes", {
    name: `${prefix}-front`,
    protocol: "http",
    listeners: [`${prefix}-web`],
    backends: [
      { cluster: `${prefix}-a`, weight: 95 },
      { cluster: `${prefix}-b`, weight: 5 },
    ],
    match: { path: { regex: "/a+" }, headers: [{ name: "x", exact: "1" }] },
    retry: { on: ["5xx"] },
  });
}

type Call = readonly [what: string, method: string, path: (prefix: string) => string, body: (prefix: string) => unknown];
const nothing = () => undefined;

const calls: readonly Call[] = [
  [
    "a cluster with endpoints that is created",
    "POST",
    () => "/v1/clusters",
    (p) => ({ name: `${p}-new`, endpoints: [{ address: "10.1.0.1", port: 1 }] }),
  ],
  ["a cluster that is changed", "PUT", (p) => `/v1/clusters/${p}-a`, () => ({ connectTimeoutMs: 77 })],
  ["an endpoint that is added", "PUT", (p) => `/v1/clusters/${p}-a/endpoints/10.9.9.9:9`, () => ({})],
  ["an endpoint that is removed", "DELETE", (p) => `/v1/clusters/${p}-a/endpoints/10.0.0.2:80`, nothing],
  [
    "all endpoints of a cluster at once",
    "PUT",
    (p) => `/v1/clusters/${p}-a/endpoints`,
    () => ({
      endpoints: [
        { address: "10.0.0.1", port: 80, weight: 9 },
        { address: "fd00::1", port: 1 },
      ],
    }),
  ],
  ["weights", "PUT", (p) => `/v1/routes/${p}-front/weights`, (p) => ({ weights: { [`${p}-a`]: 1, [`${p}-b`]: 99 } })],
  ["a route that is removed", "DELETE", (p) => `/v1/routes/${p}-front`, nothing],
  ["a listener that is changed", "PUT", (p) => `/v1/listeners/${p}-web`, (p) => ({ port: 81, protocol: "http", gateways: [p] })],
  [
    "everything at once",
    "POST",
    () => "/v1/changes",
    (p) => ({
      changes: [
        { op: "delete", kind: "route", name: `${p}-front` },
        { op: "delete", kind: "cluster", name: `${p}-a` },
        { op: "delete", kind: "listener", name: `${p}-web` },
        {
          op: "put",
          kind: "cluster",
          object: { name: `${p}-b`, protocol: "tcp", endpoints: [{ address: "10.0.0.7", port: 7 }] },
        },
        { op: "put", kind: "cluster", object: { name: `${p}-c`, endpoints: [{ address: "10.0.0.8", port: 8 }] } },
        { op: "put", kind: "listener", object: { name: `${p}-in`, port: 80, protocol: "tcp", gateways: [p] } },
        {
          op: "put",
          kind: "route",
          object: { name: `${p}-raw`, protocol: "tcp", listener: `${p}-in`, backends: [{ cluster: `${p}-b` }] },
        },
      ],
      override: { emptied: true, shrink: true },
    }),
  ],
];

test.each(calls)("%s is put back as it was, as a new revision, and that is waited for", async (_, method, path, body) => {
  const prefix = `c${calls.findIndex(([what]) => what === _)}`;
  await setUp(prefix);
  const before = await everything();
  const { revision: from } = await it.store.head();
  const answer = await refusedCall(method, path(prefix), body(prefix));
  expect(await everything()).toEqual(before);
  expect(answer).toMatchObject({
    revision: from + 1,
    rollback: { state: "restored", revision: from + 2, sync: { state: "acked" } },
  });
  expect(answer.detail).toContain(`what was there before is back, as revision ${from + 2}`);
  expect(waited).toEqual([from + 1, from + 2]);
  expect(await it.store.read.revision(from + 2)).toMatchObject({
    author: "anna",
    requestId: "req-0",
    reason: `an Envoy refused revision ${from + 1}, which asked to be rolled back then`,
  });
});

test("without onRefusal, or with keep, a refused revision stays", async () => {
  await setUp("keep");
  for (const query of ["?wait=acked", "?wait=acked&onRefusal=keep"]) {
    waited.length = 0;
    const { revision: from } = await it.store.head();
    const answer = await it.api.call("PUT", `/v1/clusters/keep-a${query}`, { connectTimeoutMs: 1 + from });
    expect([answer.status, answer.body]).toMatchObject([409, { revision: from + 1 }]);
    expect(answer.body).not.toHaveProperty("rollback");
    expect((await it.store.head()).revision).toBe(from + 1);
  }
});

test("an acked write is not rolled back", async () => {
  it.fleet.waitSync = async (revision) => synced(revision, "acked");
  const { revision: from } = await it.store.head();
  expect((await it.api.call("PUT", `/v1/clusters/fine${rollback}`, {})).status).toBe(200);
  expect((await it.store.head()).revision).toBe(from + 1);
});

test("a write that changed nothing rolls nothing back, although what is there is refused", async () => {
  await it.api.put("/v1/clusters/same", { connectTimeoutMs: 5 });
  const { revision: from } = await it.store.head();
  const answer = await refusedCall("PUT", "/v1/clusters/same", { connectTimeoutMs: 5 });
  expect(answer.rollback).toBeUndefined();
  expect((await it.store.head()).revision).toBe(from);
});

type Clash = readonly [
  what: string,
  clash: (prefix: string) => Promise<unknown>,
  method: string,
  path: (prefix: string) => string,
  body: (prefix: string) => unknown,
];
const clashes: readonly Clash[] = [
  [
    "changed the object again",
    (p) => it.api.put(`/v1/clusters/${p}-a`, { connectTimeoutMs: 99 }),
    "PUT",
    (p) => `/v1/clusters/${p}-a`,
    () => ({ connectTimeoutMs: 77 }),
  ],
  [
    "removed what was created",
    (p) => it.api.delete(`/v1/clusters/${p}-new`),
    "POST",
    () => "/v1/clusters",
    (p) => ({ name: `${p}-new` }),
  ],
  [
    "made again what was removed",
    (p) => it.api.put(`/v1/clusters/${p}-a/endpoints/10.0.0.2:80`, { weight: 50 }),
    "DELETE",
    (p) => `/v1/clusters/${p}-a/endpoints/10.0.0.2:80`,
    nothing,
  ],
  [
    "added an endpoint to the new cluster",
    (p) => it.api.put(`/v1/clusters/${p}-new/endpoints/10.0.0.9:80`, {}),
    "POST",
    () => "/v1/clusters",
    (p) => ({ name: `${p}-new` }),
  ],
  [
    "named the new cluster in a route",
    (p) =>
      it.api.put(`/v1/routes/${p}-front`, { protocol: "http", listeners: [`${p}-web`], backends: [{ cluster: `${p}-new` }] }),
    "POST",
    () => "/v1/clusters",
    (p) => ({ name: `${p}-new` }),
  ],
  [
    "took the port that became free",
    (p) => it.api.post("/v1/listeners", { name: `${p}-other`, port: 80, protocol: "http", gateways: [p] }),
    "PUT",
    (p) => `/v1/listeners/${p}-web`,
    (p) => ({ port: 81, protocol: "http", gateways: [p] }),
  ],
];

test.each(clashes)(
  "where somebody has %s since, nothing is touched, and the answer says so",
  async (what, clash, method, path, body) => {
    const prefix = `k${clashes.findIndex(([one]) => one === what)}`;
    await setUp(prefix);
    let after: unknown;
    meanwhile = async () => {
      await clash(prefix);
      after = await everything();
    };
    const answer = await refusedCall(method, path(prefix), body(prefix));
    expect(answer.rollback).toMatchObject({ state: "left", detail: expect.stringContaining("nothing is restored") });
    expect(answer.detail).toContain("nothing is restored");
    expect(await everything()).toEqual(after);
  },
);

test("a caller who hangs up gets his rollback all the same", async () => {
  await setUp("gone");
  const before = await everything();
  const { revision: from } = await it.store.head();
  const hangUp = new AbortController();
  let release: () => void = () => {};
  const told = new Promise<void>((resolve) => {
    release = resolve;
  });
  it.fleet.waitSync = async (revision, _, signal) => {
    if (revision !== from + 1) return synced(revision, "acked");
    hangUp.abort();
    await told;
    // The server needs a moment to see that he is gone; what must not follow from it is that the wait ends.
    await Promise.race([
      new Promise((end) => signal?.addEventListener("abort", end)),
      new Promise((end) => setTimeout(end, 300)),
    ]);
    return signal?.aborted ? synced(revision, "pending") : refusing(revision);
  };
  await fetch(`${it.api.url}/v1/clusters/gone-a${rollback}`, {
    method: "PUT",
    body: JSON.stringify({ connectTimeoutMs: 7 }),
    headers: { "content-type": "application/json" },
    signal: hangUp.signal,
  }).catch(() => {});
  release();
  await expect.poll(async () => (await it.store.head()).revision).toBe(from + 2);
  expect(await everything()).toEqual(before);
});

test("it needs a wait, and a word that it knows; else nothing is written", async () => {
  const { revision } = await it.store.head();
  const answer = await it.api.call("PUT", "/v1/clusters/none?onRefusal=rollback", {});
  expect([answer.status, answer.body]).toMatchObject([
    400,
    { code: "invalid_query", errors: [{ pointer: "/onRefusal", code: "contradiction" }] },
  ]);
  expect((await it.api.call("PUT", "/v1/clusters/none?wait=acked&onRefusal=undo", {})).status).toBe(400);
  expect((await it.store.head()).revision).toBe(revision);
});
