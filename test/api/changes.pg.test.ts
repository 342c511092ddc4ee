// POST /v1/changes: all or nothing, one revision, any order, every problem at its place; and what `apply` sets own.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Json } from "../support/api-client.js";
import { type ApiUnderTest, faults, startApi, synced } from "./api-under-test.js";

let it: ApiUnderTest;
beforeAll(async () => {
  it = await startApi();
});
afterAll(() => it.close());

const put = (kind: string, object: Json, more: Json = {}): Json => ({ op: "put", kind, object, ...more });
const remove = (kind: string, name: string, more: Json = {}): Json => ({ op: "delete", kind, name, ...more });
const post = (changes: readonly Json[], more: Json = {}, query = "") =>
  it.api.call("POST", `/v1/changes${query}`, { changes, ...more });
const revision = async (): Promise<number> => (await it.store.head()).revision;
const http = (name: string, port: number): Json => ({ name, protocol: "http", port, gateways: ["edge"] });
const route = (name: string, listener: string, ...clusters: string[]): Json => ({
  name,
  protocol: "http",
  listeners: [listener],
  backends: clusters.map((cluster) => ({ cluster })),
});

describe("one change", () => {
  test("creates what refers to each other, in whatever order it is written, in one revision", async () => {
    const answer = await post([
      put("route", route("shop", "web", "shop-v1", "shop-v2")),
      put("endpoint", { address: "10.0.0.9", port: 80 }, { cluster: "shop-v2" }),
      put("cluster", { name: "shop-v1", endpoints: [{ address: "10.0.0.1", port: 80 }] }),
      put("listener", http("web", 80)),
      put("cluster", { name: "shop-v2" }),
    ]);
    expect(answer).toMatchObject({ status: 200, body: { revision: 1, changed: true } });
    expect((answer.body as { objects: unknown }).objects).toEqual([
      { kind: "cluster", name: "shop-v1", change: "created" },
      { kind: "cluster", name: "shop-v2", change: "created" },
      { kind: "endpoint", name: "shop-v1/10.0.0.1:80", change: "created" },
      { kind: "endpoint", name: "shop-v2/10.0.0.9:80", change: "created" },
      { kind: "listener", name: "web", change: "created" },
      { kind: "route", name: "shop", change: "created" },
    ]);
    expect(await revision()).toBe(1);
    expect((await it.api.call("GET", "/v1/routes/shop")).headers.get("etag")).toBe('"1"');
  });

  test("moves, replaces, weighs and deletes at once: an address, a listener's last route, a cluster that was in use", async () => {
    const before = await revision();
    const answer = await post([
      remove("listener", "web"),
      put("listener", http("web-2", 80)),
      put("route", route("shop", "web-2", "shop-v2")),
      remove("cluster", "shop-v1"),
    ]);
    expect([answer.status, answer.body]).toMatchObject([200, { revision: before + 1 }]);
    expect((await it.api.call("GET", "/v1/clusters/shop-v1")).status).toBe(404);
    expect((await it.api.call("GET", "/v1/listeners/web")).status).toBe(404);
    expect(await it.api.get("/v1/routes/shop")).toMatchObject({ listeners: ["web-2"], backends: [{ cluster: "shop-v2" }] });
  });

  test("that changes nothing makes no revision", async () => {
    const before = await revision();
    const answer = await post([put("listener", http("web-2", 80)), put("cluster", { name: "shop-v2" })]);
    expect(answer.body).toMatchObject({ changed: false, objects: [{ change: "unchanged" }, { change: "unchanged" }] });
    expect((answer.body as { revision: number }).revision).toBeLessThanOrEqual(before);
    expect(await revision()).toBe(before);
    expect((await post([])).body).toMatchObject({ changed: false, objects: [] });
  });

  test("of weights only, beside others, keeps the order of backends", async () => {
    await post([put("cluster", { name: "shop-v3" }), put("route", route("shop", "web-2", "shop-v3", "shop-v2"))]);
    const answer = await post([{ op: "weights", route: "shop", weights: { "shop-v2": 5, "shop-v3": 95 } }]);
    expect(answer.status).toBe(200);
    expect(await it.api.get("/v1/routes/shop")).toMatchObject({
      backends: [
        { cluster: "shop-v3", weight: 95 },
        { cluster: "shop-v2", weight: 5 },
      ],
    });
  });

  test("waits like every write, for a quorum too", async () => {
    const asked: (number | undefined)[] = [];
    it.fleet.waitSync = async (revision, _timeoutMs, _signal, quorumPercent) => {
      asked.push(quorumPercent);
      return synced(revision, "acked");
    };
    const change = (weight: number) => [{ op: "weights", route: "shop", weights: { "shop-v2": weight, "shop-v3": 1 } }];
    expect((await post(change(1), {}, "?wait=acked")).body).toMatchObject({ sync: { state: "acked" } });
    expect((await post(change(2), {}, "?wait=acked:90%25")).body).toMatchObject({ sync: { state: "acked" } });
    expect(asked).toEqual([100, 90]);
    for (const wait of ["acked:0%25", "acked:101%25", "acked:", "acked:90"])
      expect([wait, (await post(change(3), {}, `?wait=${wait}`)).status]).toEqual([wait, 400]);
  });
});

describe("all or nothing", () => {
  test("every problem is told, at its place, and nothing is written", async () => {
    const before = await revision();
    const answer = await post([
      put("cluster", { name: "good" }),
      put("route", route("lost", "nowhere", "nothing")),
      put("listener", http("taken", 80)),
      remove("cluster", "shop-v2"),
      remove("route", "absent"),
      put("route", { ...route("regex", "web-2", "good"), match: { path: { regex: "(" } } }),
      { op: "weights", route: "shop", weights: { "shop-v2": 1, other: 2 } },
      put("endpoint", { address: "10.0.0.1", port: 1 }, { cluster: "absent" }),
      remove("endpoint", "10.0.0.77:1", { cluster: "shop-v2" }),
      remove("endpoint", "10.0.0.77:1", { cluster: "shop-v3" }),
    ]);
    expect(answer.status).toBe(422);
    expect(faults(answer.body)).toEqual(
      [
        "unknown_listener /changes/1/object/listeners/0",
        "unknown_cluster /changes/1/object/backends/0/cluster",
        "address_taken /changes/2/object/port",
        "named_by_route /changes/3",
        "unknown_route /changes/4",
        "invalid_regex /changes/5/object/match/path/regex",
        "missing_backend /changes/6/weights",
        "unknown_backend /changes/6/weights/other",
        "unknown_cluster /changes/7/cluster",
        "contradiction /changes/8",
        "unknown_endpoint /changes/9",
      ].sort(),
    );
    expect(await revision()).toBe(before);
    expect((await it.api.call("GET", "/v1/clusters/good")).status).toBe(404);
  });

  test("the schema's problems have the same pointers", async () => {
    const answer = await post([
      put("listener", { name: "x", protocol: "http", port: 0, gateways: ["edge"] }),
      { op: "put", kind: "clutser", object: {} },
      { op: "delete", kind: "route", name: "A", more: 1 },
      { op: "move" },
      put("endpoint", { address: "host", port: 1 }, { cluster: "a" }),
    ]);
    expect(faults(answer.body)).toEqual([
      "not_one_of /changes/1/kind",
      "not_one_of /changes/3/op",
      "out_of_range /changes/0/object/port",
      "unknown_field /changes/2/more",
      "wrong_format /changes/2/name",
      "wrong_format /changes/4/object/address",
    ]);
  });

  test("one object twice, an endpoint beside its cluster's own list, an address that is none", async () => {
    const answer = await post([
      put("cluster", { name: "twice" }),
      remove("cluster", "twice"),
      put("cluster", {
        name: "listed",
        endpoints: [
          { address: "10.0.0.1", port: 1 },
          { address: "10.0.0.1", port: 1 },
        ],
      }),
      put("endpoint", { address: "10.0.0.2", port: 1 }, { cluster: "listed" }),
      remove("endpoint", "10.0.0.1", { cluster: "shop-v2" }),
    ]);
    expect(faults(answer.body)).toEqual([
      "contradiction /changes/3",
      "duplicate /changes/1",
      "duplicate /changes/2/object/endpoints/1",
      "wrong_format /changes/4/name",
    ]);
  });

  test("rules over several objects look at what there will be", async () => {
    const tcp = (name: string): Json => ({ name, protocol: "tcp" });
    const at = (cluster: string, address: string): Json => put("endpoint", { address, port: 1 }, { cluster });
    const mixed: Json = { name: "mixed", protocol: "tcp", listener: "tcp", backends: [{ cluster: "m1" }, { cluster: "m2" }] };
    const listener: Json = { name: "tcp", protocol: "tcp", port: 90, gateways: ["edge"] };
    const both = [put("cluster", tcp("m1")), put("cluster", tcp("m2")), put("listener", listener), put("route", mixed)];
    expect(faults((await post([...both, at("m1", "10.0.0.1"), at("m2", "10.0.0.1")])).body)).toEqual([
      "shared_address /changes/3/object/backends/1/cluster",
    ]);
    expect((await post([...both, at("m1", "10.0.0.1"), at("m2", "10.0.0.2")])).status).toBe(200);
    expect(faults((await post([at("m1", "10.0.0.2")])).body)).toEqual(["shared_address /changes/0/object/address"]);
    expect(faults((await post([put("route", mixed), at("m1", "10.0.0.2")])).body)).toEqual([
      "shared_address /changes/0/object/backends/1/cluster",
    ]);
    // The address moves from one to the other: at the end each has its own.
    expect((await post([at("m1", "10.0.0.2"), remove("endpoint", "10.0.0.2:1", { cluster: "m2" })])).status).toBe(200);
    const checked = put("cluster", { ...tcp("m1"), healthChecks: [{ kind: "tcp" }] });
    expect(faults((await post([checked])).body)).toEqual(["breaks_route /changes/0/object/healthChecks"]);
    expect((await post([checked, put("cluster", { ...tcp("m2"), healthChecks: [{ kind: "tcp" }] })])).status).toBe(200);
    expect(faults((await post([put("route", { ...mixed, name: "other" })])).body)).toEqual([
      "listener_taken /changes/0/object/listener",
    ]);
    expect((await post([put("route", { ...mixed, name: "other" }), remove("route", "mixed")])).status).toBe(200);
    const moved = put("endpoint", { address: "10.0.0.1", port: 1, zone: "b" }, { cluster: "m1" });
    expect(faults((await post([moved])).body)).toEqual(["location_fixed /changes/0/object/zone"]);
  });

  test("a cluster's list of endpoints is its whole set", async () => {
    const set = (...addresses: string[]): Json =>
      put("cluster", { name: "set", endpoints: addresses.map((address) => ({ address, port: 1 })) });
    await post([set("10.0.0.1", "10.0.0.2")]);
    const answer = await post([set("10.0.0.2", "10.0.0.3")]);
    expect((answer.body as { objects: unknown }).objects).toEqual([
      { kind: "cluster", name: "set", change: "unchanged" },
      { kind: "endpoint", name: "set/10.0.0.1:1", change: "deleted" },
      { kind: "endpoint", name: "set/10.0.0.3:1", change: "created" },
    ]);
    expect((await post([put("cluster", { name: "set" })])).body).toMatchObject({ changed: false });
  });
});

describe("conditions", () => {
  test("If-Match for each object: one that is another one stops all", async () => {
    const first = await post([put("cluster", { name: "matched" }), put("cluster", { name: "other" })]);
    const { revision: made } = first.body as { revision: number };
    const change = (ifMatch: string, connectTimeoutMs: number): Json[] => [
      put("cluster", { name: "matched", connectTimeoutMs }, { ifMatch }),
      put("cluster", { name: "other", connectTimeoutMs }),
    ];
    expect((await post(change(`"${made}"`, 1))).status).toBe(200);
    const stale = await post(change(`"${made}"`, 2));
    expect([stale.status, faults(stale.body)]).toEqual([412, ["changed_since /changes/0/ifMatch"]]);
    expect(await it.api.get("/v1/clusters/other")).toMatchObject({ connectTimeoutMs: 1 });
    expect((await post([put("cluster", { name: "absent" }, { ifMatch: "*" })])).status).toBe(412);
    expect((await post([put("cluster", { name: "matched" }, { ifMatch: "1" })])).status).toBe(422);
  });

  test("baseRevision: the whole configuration is as it was", async () => {
    const head = await revision();
    const change = [put("cluster", { name: `base-${head}` })];
    expect(await post(change, { baseRevision: head - 1 })).toMatchObject({ status: 412, body: { current: head } });
    expect((await post(change, { baseRevision: head })).body).toMatchObject({ revision: head + 1 });
  });

  test("of many writers on one base, one wins, and the others are told", async () => {
    const head = await revision();
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, at) => post([put("cluster", { name: `race-${at}` })], { baseRevision: head })),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array<number>(11).fill(412)]);
    expect(await revision()).toBe(head + 1);
  });
});

test("a guard stops a change that takes too much, and lets it pass when it is overridden, in the body or the query", async () => {
  const set = (count: number): Json[] => [
    put("cluster", {
      name: "guarded",
      endpoints: Array.from({ length: count }, (_, at) => ({ address: "10.0.0.1", port: at + 1 })),
    }),
  ];
  await post(set(20));
  const before = await revision();
  const stopped = await post(set(10));
  expect(stopped).toMatchObject({ status: 409, body: { code: "guard_refused" } });
  expect(await revision()).toBe(before);
  expect((await post(set(10), { override: { shrink: true } })).status).toBe(200);
  expect((await post(set(0), {}, "?override=emptied,shrink")).status).toBe(200);
  expect((await post(set(0), {}, "?override=all")).status).toBe(400);
});

describe("sets of files", () => {
  const apply = (set: string, names: readonly string[], prune = true) =>
    post(
      names.map((name) => put("cluster", { name })),
      { apply: { set, prune } },
    );
  const has = async (name: string): Promise<boolean> => (await it.api.call("GET", `/v1/clusters/${name}`)).status === 200;

  test("prune deletes what the set put before and does not put now, and nothing else", async () => {
    await post([put("cluster", { name: "by-hand" })]);
    await apply("one", ["one-a", "one-b"]);
    await apply("two", ["two-a"]);
    const answer = await apply("one", ["one-b"]);
    expect((answer.body as { objects: unknown }).objects).toEqual([
      { kind: "cluster", name: "one-b", change: "unchanged" },
      { kind: "cluster", name: "one-a", change: "deleted" },
    ]);
    expect(await Promise.all(["by-hand", "one-a", "one-b", "two-a"].map(has))).toEqual([true, false, true, true]);
    await apply("one", [], false);
    expect(await has("one-b")).toBe(true);
  });

  test("an object belongs to the set that put it last, and to none once it was deleted", async () => {
    await apply("three", ["taken", "remade"]);
    await apply("four", ["taken"], false);
    await it.api.delete("/v1/clusters/remade");
    await it.api.put("/v1/clusters/remade", {});
    await apply("three", []);
    expect([await has("taken"), await has("remade")]).toEqual([true, true]);
  });

  test("what is still in use stops the whole change, and says so", async () => {
    await apply("five", ["used"]);
    await post([put("listener", http("five", 5)), put("route", route("five", "five", "used"))]);
    const answer = await apply("five", ["five-new"]);
    expect([answer.status, faults(answer.body), await has("five-new")]).toEqual([409, ["named_by_route /apply/prune"], false]);
  });

  test("endpoints that were files of their own go with prune, those of a cluster's list with the list", async () => {
    const endpoint = (last: number) => put("endpoint", { address: `10.0.0.${last}`, port: 1 }, { cluster: "six" });
    const six = put("cluster", { name: "six" });
    await post([six, endpoint(1), endpoint(2)], { apply: { set: "six" } });
    await it.api.put("/v1/clusters/six/endpoints/10.0.0.3:1", {});
    await post([six, endpoint(2)], { apply: { set: "six", prune: true } });
    expect(await it.api.get("/v1/clusters/six/endpoints")).toMatchObject({
      endpoints: [{ address: "10.0.0.2" }, { address: "10.0.0.3" }],
    });
    await post([], { apply: { set: "six", prune: true } });
    expect(await has("six")).toBe(false);
  });
});
