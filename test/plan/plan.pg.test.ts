// A plan never lies: what `?dryRun=true` says is what then happens, for many random changes; and asking changes nothing.
// What happens is found out apart from the code that plans: all rows are loaded anew and translated, before and after.
// CHANCERY_PLAN_CHANGES: how many changes that are accepted, for a longer run.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DesiredState } from "../../src/model/desired-state.js";
import { resourceTypes } from "../../src/model/resource-type.js";
import type { Plan } from "../../src/plan/plan.js";
import { Snapshots } from "../../src/snapshot/snapshots.js";
import { type ApiUnderTest, faults, startApi } from "../api/api-under-test.js";
import type { Json } from "../support/api-client.js";
import { RandomWrites, randomFrom } from "./random-writes.js";

const wanted = Number(process.env["CHANCERY_PLAN_CHANGES"] ?? 100);
const gateways = ["edge", "inner"];

let it: ApiUnderTest;
beforeAll(async () => {
  it = await startApi({ plans: true });
});
afterAll(() => it.close());

const post = (changes: readonly Json[], query = "", more: Json = {}) =>
  it.api.call("POST", `/v1/changes${query}`, { changes, override: { emptied: true, shrink: true, size: true }, ...more });
const plan = async (changes: readonly Json[]): Promise<Plan> => (await post(changes, "?dryRun=true")).body as Plan;

/** `<gateway> <type> <name>` → hash, of everything that Envoys should have now. */
async function resources(): Promise<ReadonlyMap<string, string>> {
  const snapshots = new Snapshots({
    removalGraceMs: 0,
    now: () => 0,
    onFault: ({ error }) => {
      throw error;
    },
  });
  snapshots.load(DesiredState.from(await it.store.loadState()));
  return new Map(
    gateways.flatMap((gateway) => {
      const { tables } = snapshots.acquire(gateway, "delta"); // Another transport than the one that plans use.
      return resourceTypes.flatMap((type) =>
        tables[type].resources().map(({ name, hash }): [string, string] => [`${gateway} ${type} ${name}`, hash]),
      );
    }),
  );
}

function differing(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((key) => before.get(key) !== after.get(key))
    .map((key) => `${key} ${before.has(key) ? (after.has(key) ? "changed" : "removed") : "added"}`)
    .sort();
}

const planned = (made: Plan): string[] =>
  Object.entries(made.gateways)
    .flatMap(([gateway, { resources: all }]) => all.map(({ type, name, change }) => `${gateway} ${type} ${name} ${change}`))
    .sort();

/** What the revision says that it changed. */
async function changed(revision: number, id: string): Promise<string[]> {
  const next = await it.store.readAfter({ revision, id }, 10);
  if (next.kind !== "next") throw new Error("another history");
  return next.revisions
    .flatMap(({ changes }) => changes)
    .map(({ kind, name, before, after }) => `${kind} ${name} ${before ? (after ? "updated" : "deleted") : "created"}`)
    .sort();
}

describe("the plan of a random change", () => {
  test(`is what then happens, ${wanted} times`, { timeout: 60_000 + wanted * 200 }, async () => {
    const seed = Number(process.env["CHANCERY_PLAN_SEED"] ?? 20_261_124);
    const writes = new RandomWrites(randomFrom(seed));
    let [accepted, refused, without] = [0, 0, 0];
    let before = await resources();
    while (accepted < wanted) {
      const changes = writes.change();
      const head = await it.store.head();
      const dry = await post(changes, "?dryRun=true");
      expect(await it.store.head()).toEqual(head);
      const real = await post(changes);
      const shown = `seed ${seed}, ${JSON.stringify(changes)}`;
      expect([dry.status >= 400, shown]).toEqual([real.status >= 400, shown]);
      if (real.status >= 400) {
        refused += 1;
        expect([dry.status, faults(dry.body), shown]).toEqual([real.status, faults(real.body), shown]);
        continue;
      }
      const made = dry.body as Plan;
      const after = await resources();
      expect([planned(made), shown]).toEqual([differing(before, after), shown]);
      const objects = made.objects.map(({ kind, name, change }) => `${kind} ${name} ${change}`).sort();
      expect([objects, shown]).toEqual([await changed(head.revision, head.id), shown]);
      expect(made.changed).toBe((real.body as { changed: boolean }).changed);
      expect(made.lint).toEqual((real.body as { lint: unknown }).lint);
      if (made.changed) accepted += 1;
      else without += 1;
      before = after;
    }
    // The generator must not have become one that is only refused, nor one that never is.
    expect(refused).toBeGreaterThan(wanted / 20);
    expect(accepted).toBeGreaterThan((refused + without) / 10);
  });
});

describe("a plan", () => {
  const shop: Json[] = [
    {
      op: "put",
      kind: "route",
      object: { name: "shop", protocol: "http", listeners: ["shop"], backends: [{ cluster: "shop" }] },
    },
    { op: "put", kind: "cluster", object: { name: "shop", endpoints: [{ address: "10.1.0.1", port: 80 }] } },
    { op: "put", kind: "listener", object: { name: "shop", protocol: "http", port: 9_000, gateways: ["edge"] } },
  ];
  beforeAll(async () => {
    expect((await post(shop)).status).toBe(200);
  });

  test("tells the fields that change, before and after", async () => {
    const {
      objects,
      changed: does,
      revision,
    } = await plan([{ op: "put", kind: "cluster", object: { name: "shop", connectTimeoutMs: 77 } }]);
    expect({ objects, does, revision }).toEqual({
      objects: [
        {
          kind: "cluster",
          name: "shop",
          change: "updated",
          diff: [{ pointer: "/connectTimeoutMs", before: 5_000, after: 77 }],
        },
      ],
      does: true,
      revision: null,
    });
  });

  test("names routes within a RouteConfiguration, the Envoys touched, and drains nothing for a shift of weights", async () => {
    const made = await plan([
      { op: "put", kind: "cluster", object: { name: "shop-v2" } },
      {
        op: "put",
        kind: "route",
        object: { name: "shop", protocol: "http", listeners: ["shop"], backends: [{ cluster: "shop" }, { cluster: "shop-v2" }] },
      },
    ]);
    expect(made.gateways).toEqual({
      edge: {
        resources: [
          { type: "cluster", name: "shop-v2", change: "added" },
          { type: "endpoint", name: "shop-v2", change: "added" },
          { type: "route", name: "shop", change: "changed", parts: ["shop"] },
        ],
        nodes: 2,
        drains: [],
      },
    });
  });

  test("says which listeners drain", async () => {
    const port = await plan([
      { op: "put", kind: "listener", object: { name: "shop", protocol: "http", port: 9_001, gateways: ["edge"] } },
    ]);
    expect(port.gateways["edge"]?.drains).toEqual(["shop"]);
    const moved = await plan([
      { op: "put", kind: "listener", object: { name: "shop", protocol: "http", port: 9_000, gateways: ["edge", "inner"] } },
    ]);
    expect(moved.gateways["edge"]).toBeUndefined();
    expect(moved.gateways["inner"]).toMatchObject({ drains: [], nodes: 0 });
  });

  test("of a write that changes nothing is empty", async () => {
    expect(await plan(shop)).toMatchObject({ changed: false, objects: [], gateways: {} });
  });

  test("of every other mutating call is the plan of that call, and nothing is written", async () => {
    const head = await it.store.head();
    const calls: readonly (readonly [string, string, Json?])[] = [
      ["POST", "/v1/clusters", { name: "new", endpoints: [{ address: "10.0.0.1", port: 80 }] }],
      ["PUT", "/v1/clusters/shop", { connectTimeoutMs: 5 }],
      ["PUT", "/v1/clusters/shop/endpoints/10.1.0.2:80", {}],
      ["PUT", "/v1/clusters/shop/endpoints", { endpoints: [{ address: "10.1.0.3", port: 80 }] }],
      ["PATCH", "/v1/clusters/shop/endpoints", { upsert: [{ address: "10.1.0.3", port: 80 }] }],
      ["POST", "/v1/listeners", { name: "new", port: 1, protocol: "http", gateways: ["edge"] }],
      ["PUT", "/v1/listeners/new", { port: 1, protocol: "http", gateways: ["edge"] }],
      ["POST", "/v1/routes", { name: "new", protocol: "http", listeners: ["shop"], backends: [{ cluster: "shop" }] }],
      ["PUT", "/v1/routes/shop/weights", { weights: { shop: 7 } }],
      ["DELETE", "/v1/routes/shop"],
    ];
    for (const [method, path, body] of calls) {
      const answer = await it.api.call(method, `${path}?dryRun=true&wait=acked`, body);
      expect([method, path, answer.status, answer.body]).toMatchObject([
        method,
        path,
        200,
        { revision: null, changed: true, validation: "off" },
      ]);
      expect((answer.body as Plan).objects.length).toBeGreaterThan(0);
      expect(answer.headers.get("etag")).toBeNull();
    }
    expect(await it.store.head()).toEqual(head);
  });

  test("refuses what the write would refuse, in the same words", async () => {
    const answer = await it.api.call("DELETE", "/v1/clusters/shop?dryRun=true");
    expect(answer).toMatchObject({ status: 409, body: { code: "in_use", routes: ["shop"] } });
  });
});
