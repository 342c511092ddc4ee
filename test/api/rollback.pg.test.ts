// Going back in one call: one revision undone, or the whole configuration as it was, as a new revision through the rules of all writes.
// CHANCERY_ROLLBACKS: how many revisions are made and gone back to, for a longer run.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { DesiredState } from "../../src/model/desired-state.js";
import { resourceTypes } from "../../src/model/resource-type.js";
import { Snapshots } from "../../src/snapshot/snapshots.js";
import { firstMark } from "../../src/store/store.js";
import { RandomWrites, randomFrom } from "../plan/random-writes.js";
import type { Json } from "../support/api-client.js";
import { type ApiUnderTest, startApi } from "./api-under-test.js";

const override = { emptied: true, shrink: true, size: true };
let it: ApiUnderTest;

const rollBack = (revision: number, scope: string, query = "", more: Json = {}) =>
  it.api.call("POST", `/v1/revisions/${revision}/rollback${query}`, { scope, ...more });
const http = (name: string, cluster: string, path = `/${name}`): Json => ({
  name,
  protocol: "http",
  listeners: ["web"],
  match: { path: { prefix: path } },
  backends: [{ cluster }],
});

describe("in small", () => {
  beforeEach(async () => {
    it = await startApi({ plans: true });
    await it.api.post("/v1/listeners", { name: "web", protocol: "http", port: 80, gateways: ["edge"] }); // 1
    await it.api.post("/v1/clusters", { name: "a", endpoints: [{ address: "10.0.0.1", port: 80 }] }); // 2
    await it.api.post("/v1/routes", http("r", "a")); // 3
    return () => it.close();
  });

  test("a revision is undone: what it changed is as before, and nothing else", async () => {
    const before = await it.api.get("/v1/clusters/a");
    await it.api.put("/v1/clusters/a", { connectTimeoutMs: 9 }); // 4
    await it.api.post("/v1/clusters", { name: "later" }); // 5
    const undone = await rollBack(4, "revision");
    expect(undone).toMatchObject({
      status: 200,
      body: { revision: 6, changed: true, objects: [{ kind: "cluster", name: "a", change: "updated" }] },
    });
    expect(await it.api.get("/v1/clusters/a")).toEqual(before);
    expect((await it.api.call("GET", "/v1/clusters/later")).status).toBe(200);
    expect(await it.api.get("/v1/revisions/6")).toMatchObject({ reason: "undo revision 4", author: "test" });
  });

  test("what a revision made goes, and what it took comes back with its parts", async () => {
    expect((await rollBack(3, "revision")).status).toBe(200);
    expect((await it.api.call("GET", "/v1/routes/r")).status).toBe(404);
    await it.api.delete("/v1/clusters/a"); // 5
    expect((await rollBack(5, "revision")).body).toMatchObject({ objects: [{ name: "a" }, { name: "a/10.0.0.1:80" }] });
    expect(await it.api.get("/v1/clusters/a/endpoints")).toMatchObject({ endpoints: [{ address: "10.0.0.1" }] });
    expect((await rollBack(2, "revision")).body).toMatchObject({ status: 412 });
  });

  test("undoing is refused where a later revision changed the same object, with its name", async () => {
    await it.api.put("/v1/clusters/a", { connectTimeoutMs: 9 });
    await it.api.put("/v1/clusters/a", { connectTimeoutMs: 10 });
    const { status, body } = await rollBack(4, "revision");
    expect(status).toBe(412);
    expect(body).toMatchObject({
      errors: [{ code: "changed_since", pointer: "", detail: expect.stringMatching(/^cluster a: /) }],
    });
    expect((await it.store.head()).revision).toBe(5);
  });

  test("undoing is refused by the rules of every write, told by object", async () => {
    const { body } = await rollBack(2, "revision");
    expect(body).toMatchObject({
      status: 409,
      code: "in_use",
      errors: [{ code: "named_by_route", pointer: "", detail: "cluster a: cluster a is named by route r" }],
    });
  });

  test("the configuration is restored as it was, with a reason of one's own", async () => {
    await it.api.put("/v1/clusters/a/endpoints", { endpoints: [{ address: "10.0.0.9", port: 90 }] }); // 4
    await it.api.post("/v1/clusters", { name: "b" }); // 5
    await it.api.post("/v1/routes", http("s", "b")); // 6
    await it.api.delete("/v1/routes/r"); // 7
    const answer = await it.api.call(
      "POST",
      "/v1/revisions/3/rollback",
      { scope: "configuration" },
      { "x-chancery-reason": "oops" },
    );
    expect(answer).toMatchObject({ status: 200, body: { revision: 8 } });
    const { objects } = await it.api.get<{ objects: unknown[] }>("/v1/revisions/8/diff?against=3");
    expect(objects).toEqual([]);
    expect(await it.api.get("/v1/revisions/8")).toMatchObject({ reason: "oops" });
  });

  test("going back to what is there makes no revision", async () => {
    expect((await rollBack(3, "configuration")).body).toMatchObject({ revision: 3, changed: false, objects: [] });
  });

  test("a dry run tells the plan, and changes nothing", async () => {
    const { status, body } = await rollBack(3, "revision", "?dryRun=true");
    expect(status).toBe(200);
    expect(body).toMatchObject({
      revision: null,
      objects: [{ kind: "route", name: "r", change: "deleted" }],
      gateways: {
        edge: { resources: [{ type: "cluster" }, { type: "endpoint" }, { type: "route", name: "web", change: "changed" }] },
      },
    });
    expect((await it.store.head()).revision).toBe(3);
  });

  test("a guard stands in the way of going back to nothing, until it is overridden", async () => {
    const refused = await rollBack(1, "configuration");
    expect(refused).toMatchObject({ status: 409, body: { code: "guard_refused", override: ["emptied"] } });
    const { body } = await rollBack(1, "configuration", "", { override: { emptied: true } });
    expect(body).toMatchObject({ revision: 4 });
    expect(await it.api.get("/v1/revisions/4")).toMatchObject({ overrides: ["emptied"], counts: { cluster: 0, listener: 1 } });
  });

  test("under a key it is done once", async () => {
    const key = { "idempotency-key": "k" };
    const first = await it.api.call("POST", "/v1/revisions/3/rollback", { scope: "revision" }, key);
    const again = await it.api.call("POST", "/v1/revisions/3/rollback", { scope: "revision" }, key);
    expect(again).toMatchObject({ status: 200, body: first.body });
    expect((await it.store.head()).revision).toBe(4);
  });

  test("a body that says neither is refused", async () => {
    expect((await rollBack(3, "everything")).body).toMatchObject({
      status: 422,
      errors: [{ code: "not_one_of", pointer: "/scope" }],
    });
  });
});

function shuffled<T>(all: readonly T[], random: (below: number) => number): readonly T[] {
  const rest = [...all];
  return all.flatMap(() => rest.splice(random(rest.length), 1));
}

const wanted = Number(process.env["CHANCERY_ROLLBACKS"] ?? 200);

describe("at random", () => {
  beforeAll(async () => {
    it = await startApi();
  });
  afterAll(() => it.close());

  /** `<gateway> <type> <name> <hash>` of everything that Envoys should have, translated anew from the rows. */
  async function resources(): Promise<string> {
    const onFault = ({ error }: { error: unknown }): never => {
      throw error;
    };
    const snapshots = new Snapshots({ removalGraceMs: 0, now: () => 0, onFault });
    snapshots.load(DesiredState.from(await it.store.loadState()));
    const lines = ["edge", "inner"].flatMap((gateway) => {
      const { tables } = snapshots.acquire(gateway, "ads");
      return resourceTypes.flatMap((type) =>
        tables[type].resources().map(({ name, hash }) => `${gateway} ${type} ${name} ${hash}`),
      );
    });
    return lines.sort().join("\n");
  }
  const rows = async () => {
    const { revision: _, id: __, pastRoutes: ___, ...objects } = await it.store.loadState();
    return JSON.stringify(objects);
  };

  test(`going back to any of ${wanted} revisions gives the bytes of then`, { timeout: 60_000 + wanted * 600 }, async () => {
    const seed = Number(process.env["CHANCERY_ROLLBACK_SEED"] ?? 4_004);
    const random = randomFrom(seed);
    const writes = new RandomWrites(random);
    /** revision → what there was. */
    const then = new Map<number, { resources: string; rows: string }>();
    while (then.size < wanted) {
      const { status, body } = await it.api.call("POST", "/v1/changes", { changes: writes.change(), override });
      const { revision = 0, changed = false } = status === 200 ? (body as { revision?: number; changed?: boolean }) : {};
      if (changed) then.set(revision, { resources: await resources(), rows: await rows() });
    }
    const order = shuffled([...then.keys()], random);
    for (const revision of order) {
      const { status, text } = await rollBack(revision, "configuration", "", { override });
      expect(status, `seed ${seed}, back to ${revision}: ${text}`).toBe(200);
      expect(await resources(), `seed ${seed}, back to ${revision}`).toBe(then.get(revision)?.resources);
      expect(await rows()).toBe(then.get(revision)?.rows);
    }
    // And what all of them wrote down is whole.
    expect(await it.store.history.audit(firstMark)).toMatchObject({
      break: undefined,
      mark: { revision: (await it.store.head()).revision },
    });
  });

  test("each revision that is made and undone at once leaves the bytes of before", { timeout: 120_000 }, async () => {
    const writes = new RandomWrites(randomFrom(17));
    for (let undone = 0; undone < 60; ) {
      const before = await rows();
      const { status, body } = await it.api.call("POST", "/v1/changes", { changes: writes.change(), override });
      const { revision = 0, changed = false } = status === 200 ? (body as { revision?: number; changed?: boolean }) : {};
      if (!changed) continue;
      const answer = await rollBack(revision, "revision", "", { override });
      expect(answer.status, answer.text).toBe(200);
      expect(await rows()).toBe(before);
      undone += 1;
    }
  });
});
