// Calls on endpoints: one by its address, the whole set, many at once.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ApiUnderTest, faults, startApi } from "./api-under-test.js";

let it: ApiUnderTest;
beforeAll(async () => {
  it = await startApi();
});
afterAll(() => it.close());
const call = (method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
  it.api.call(method, path, body, headers);
const ip = (last: number, more: object = {}) => ({ address: `10.0.0.${last}`, port: 80, ...more });
const set = async (name: string): Promise<readonly string[]> =>
  (await it.api.get<{ endpoints: { address: string; weight: number }[] }>(`/v1/clusters/${name}/endpoints`)).endpoints.map(
    ({ address, weight }) => `${address} ${weight}`,
  );

test("an endpoint is created, changed and removed by its address, in any spelling", async () => {
  await it.api.post("/v1/clusters", { name: "one" });
  const created = await call("PUT", "/v1/clusters/one/endpoints/[FD00:0::7]:8080", { zone: "eu-1" });
  expect([created.status, created.body]).toMatchObject([
    201,
    {
      changed: true,
      object: { address: "fd00::7", port: 8080, weight: 1, region: "", zone: "eu-1", priority: 0, enabled: true },
    },
  ]);
  const path = "/v1/clusters/one/endpoints/[fd00::7]:8080";
  const read = await call("GET", path);
  expect(read.headers.get("etag")).toBe(created.headers.get("etag"));
  expect((await call("PUT", path, read.body)).body).toMatchObject({
    changed: false,
    revision: (created.body as { revision: number }).revision,
  });
  // Whoever disables an endpoint need not know where it is.
  expect((await call("PUT", path, { enabled: false })).body).toMatchObject({
    changed: true,
    object: { enabled: false, zone: "eu-1" },
  });
  expect((await call("PUT", path, { zone: "eu-1" }, { "if-match": read.headers.get("etag") ?? "" })).status).toBe(412);
  expect((await call("DELETE", path)).body).toMatchObject({ changed: true, object: { address: "fd00::7", enabled: false } });
  for (const method of ["GET", "DELETE"]) expect((await call(method, path)).status).toBe(404);
});

test("region and zone stay as they are: 409, with both told", async () => {
  await it.api.post("/v1/clusters", { name: "fixed", endpoints: [ip(1, { region: "eu", zone: "eu-1" })] });
  const refused = await call("PUT", "/v1/clusters/fixed/endpoints/10.0.0.1:80", { region: "us", zone: "" });
  expect([refused.status, refused.body, faults(refused.body)]).toMatchObject([
    409,
    { code: "endpoint_location_fixed" },
    ["location_fixed /region", "location_fixed /zone"],
  ]);
  const many = await call("PATCH", "/v1/clusters/fixed/endpoints", { upsert: [ip(2), ip(1, { region: "eu", zone: "eu-2" })] });
  expect([many.status, faults(many.body)]).toEqual([409, ["location_fixed /upsert/1/zone"]]);
  expect(await set("fixed")).toEqual(["10.0.0.1 1"]);
  await it.api.delete("/v1/clusters/fixed/endpoints/10.0.0.1:80");
  expect((await it.api.put("/v1/clusters/fixed/endpoints/10.0.0.1:80", { region: "us" })).changed).toBe(true);
});

test("left out, region and zone are those that the endpoint has, one at a time, in a set and among many", async () => {
  const path = "/v1/clusters/located/endpoints";
  const place = async () => (await it.api.get<{ endpoints: object[] }>(path)).endpoints;
  await it.api.post("/v1/clusters", { name: "located", endpoints: [ip(1, { region: "eu", zone: "eu-1" })] });
  await it.api.put(`${path}/10.0.0.1:80`, { weight: 2 });
  expect(await place()).toMatchObject([{ weight: 2, region: "eu", zone: "eu-1" }]);
  await it.api.put(path, { endpoints: [ip(1, { weight: 3 }), ip(2)] });
  expect(await place()).toMatchObject([
    { weight: 3, region: "eu", zone: "eu-1" },
    { weight: 1, region: "", zone: "" },
  ]);
  await call("PATCH", path, { upsert: [ip(1, { weight: 4, zone: "eu-1" })], remove: ["10.0.0.2:80"] });
  expect(await place()).toMatchObject([{ weight: 4, region: "eu", zone: "eu-1" }]);
});

test("labels are kept, shown, patched as a whole, and gone when a PUT leaves them out; a change of them is a revision", async () => {
  await it.api.post("/v1/clusters", { name: "labelled", endpoints: [ip(1, { labels: { version: "v1", "team/owner": "" } })] });
  const path = "/v1/clusters/labelled/endpoints/10.0.0.1:80";
  const labelsOf = async () => (await it.api.get<{ labels?: object }>(path)).labels;
  expect(await labelsOf()).toEqual({ version: "v1", "team/owner": "" });
  expect((await call("PATCH", path, { weight: 2 })).body).toMatchObject({ object: { labels: { version: "v1" }, weight: 2 } });
  expect((await call("PATCH", path, { labels: { version: "v2" } })).body).toMatchObject({ changed: true });
  expect(await labelsOf()).toEqual({ version: "v2" });
  expect((await call("PUT", path, (await call("GET", path)).body)).body).toMatchObject({ changed: false });
  expect((await call("PUT", path, {})).body).toMatchObject({ changed: true });
  expect(await labelsOf()).toBeUndefined();
  expect((await call("PATCH", path, { labels: {} })).body).toMatchObject({ changed: false, object: { weight: 1 } });

  const many = Object.fromEntries(Array.from({ length: 17 }, (_, at) => [`k${at}`, "v"]));
  for (const [labels, fault] of [
    [{ "": "a" }, "wrong_format /labels/"],
    [{ "a b": "a" }, "wrong_format /labels/a b"],
    [{ ["k".repeat(64)]: "a" }, `wrong_format /labels/${"k".repeat(64)}`],
    [{ a: "b/c" }, "wrong_format /labels/a"],
    [{ a: "v".repeat(64) }, "wrong_format /labels/a"],
    [{ a: 1 }, "wrong_type /labels/a"],
    [many, "wrong_count /labels"],
  ] as const)
    expect([(await call("PATCH", path, { labels })).status, ...faults((await call("PUT", path, { labels })).body)]).toEqual([
      422,
      fault,
    ]);
});

test("what is no endpoint is refused", async () => {
  await it.api.post("/v1/clusters", { name: "bad" });
  const put = async (key: string, body: object) => {
    const { status, body: answer } = await call("PUT", `/v1/clusters/bad/endpoints/${key}`, body);
    return [status, ...faults(answer)];
  };
  expect(await put("10.0.0.1:80", { address: "10.0.0.2", port: 81 })).toEqual([
    422,
    "name_differs /address",
    "name_differs /port",
  ]);
  expect(await put("10.0.0.1:80", { weight: 0, priority: 128, enbled: true })).toEqual([
    422,
    "out_of_range /priority",
    "out_of_range /weight",
    "unknown_field /enbled",
  ]);
  expect(await put("backend.internal:80", {})).toEqual([422, "wrong_format /address"]);
  expect(await put("0.0.0.0:80", {})).toEqual([422, "wrong_format /address"]);
  expect((await call("PUT", "/v1/clusters/none/endpoints/10.0.0.1:80", {})).status).toBe(404);
  expect((await call("GET", "/v1/clusters/bad/endpoints/nonsense")).status).toBe(404);
});

test("the whole set is replaced in one revision", async () => {
  await it.api.post("/v1/clusters", { name: "set", endpoints: [ip(1), ip(2)] });
  const before = (await it.store.head()).revision;
  const replaced = await call("PUT", "/v1/clusters/set/endpoints", { endpoints: [ip(3), ip(2, { weight: 5 })] });
  expect([replaced.status, replaced.headers.get("etag"), replaced.body]).toMatchObject([
    200,
    null,
    { changed: true, revision: before + 1, lint: [] },
  ]);
  expect(await set("set")).toEqual(["10.0.0.2 5", "10.0.0.3 1"]);
  const shown = await it.api.get("/v1/clusters/set/endpoints");
  expect(await it.api.put("/v1/clusters/set/endpoints", shown)).toMatchObject({
    changed: false,
    revision: before + 1,
    object: shown,
  });
  expect(await it.api.put("/v1/clusters/set/endpoints?override=emptied", { endpoints: [] })).toMatchObject({
    changed: true,
    lint: [{ code: "no_endpoint" }],
  });
  expect(faults((await call("PUT", "/v1/clusters/set/endpoints", { endpoints: [ip(1), ip(2), ip(1)] })).body)).toEqual([
    "duplicate /endpoints/2",
  ]);
  expect((await call("PUT", "/v1/clusters/none/endpoints", { endpoints: [] })).status).toBe(404);
  expect((await call("PUT", "/v1/clusters/set/endpoints", { endpoints: [] }, { "if-match": '"1"' })).status).toBe(400);
});

describe("PATCH of one endpoint", () => {
  // Mutants that were tried, and are caught: what is left out becomes its default; the ETag is not looked at.
  const path = "/v1/clusters/patched/endpoints/10.9.0.1:80";
  const asIs = { address: "10.9.0.1", port: 80, weight: 7, region: "eu", zone: "a", priority: 2, enabled: true };
  beforeAll(() => it.api.put("/v1/clusters/patched", { endpoints: [asIs] }));

  test.each([
    [{ enabled: false }, { ...asIs, enabled: false }],
    [
      { enabled: true, weight: 9 },
      { ...asIs, weight: 9 },
    ],
    [{ priority: 0 }, { ...asIs, weight: 9, priority: 0 }],
  ])("%j changes that and nothing else", async (body, expected) => {
    const answer = await call("PATCH", path, body);
    expect([answer.status, answer.body]).toMatchObject([200, { changed: true, object: expected }]);
    expect(answer.headers.get("etag")).toBe(`"${(answer.body as { revision: number }).revision}"`);
    expect(await it.api.get(path)).toEqual(expected);
  });

  test("of what is so already makes no revision", async () => {
    const before = await it.store.head();
    expect((await call("PATCH", path, { priority: 0, weight: 9 })).body).toMatchObject({ changed: false });
    expect(await it.store.head()).toEqual(before);
  });

  test("goes on only for the ETag that is named", async () => {
    expect((await call("PATCH", path, { weight: 1 }, { "if-match": '"1"' })).status).toBe(412);
    const tag = (await call("GET", path)).headers.get("etag") ?? "";
    expect((await call("PATCH", path, { weight: 1 }, { "if-match": tag })).status).toBe(200);
  });

  test("refuses what it can't change, and makes nothing", async () => {
    expect(faults((await call("PATCH", path, { weight: 0, priority: 128 })).body)).toEqual([
      "out_of_range /priority",
      "out_of_range /weight",
    ]);
    expect(faults((await call("PATCH", path, { zone: "b", address: "10.9.0.2" })).body)).toEqual([
      "unknown_field /address",
      "unknown_field /zone",
    ]);
    expect((await call("PATCH", path, {})).status).toBe(422);
    for (const other of [
      "/v1/clusters/patched/endpoints/10.9.0.9:80",
      "/v1/clusters/none/endpoints/10.9.0.1:80",
      "/v1/clusters/patched/endpoints/x",
    ])
      expect((await call("PATCH", other, { weight: 1 })).status).toBe(404);
  });
});

test("many are changed at once, all or none", async () => {
  await it.api.post("/v1/clusters", { name: "many", endpoints: [ip(1), ip(2), ip(3)] });
  const changed = await call("PATCH", "/v1/clusters/many/endpoints", {
    upsert: [ip(4), ip(1, { weight: 9 })],
    remove: ["10.0.0.2:80"],
  });
  expect([changed.status, changed.body]).toMatchObject([200, { changed: true }]);
  expect(await set("many")).toEqual(["10.0.0.1 9", "10.0.0.3 1", "10.0.0.4 1"]);
  const refused = await call("PATCH", "/v1/clusters/many/endpoints", {
    upsert: [ip(5), ip(5)],
    remove: ["10.0.0.5:80", "x", "10.0.0.3:80", "10.0.0.3:80"],
  });
  expect([refused.status, faults(refused.body)]).toEqual([
    422,
    ["contradiction /remove/0", "duplicate /remove/3", "duplicate /upsert/1", "wrong_format /remove/1"],
  ]);
  const missing = await call("PATCH", "/v1/clusters/many/endpoints", { upsert: [ip(6)], remove: ["10.0.0.3:80", "10.0.0.9:80"] });
  expect([missing.status, faults(missing.body)]).toEqual([422, ["unknown_endpoint /remove/1"]]);
  expect(await set("many")).toEqual(["10.0.0.1 9", "10.0.0.3 1", "10.0.0.4 1"]);
  expect((await it.api.call("PATCH", "/v1/clusters/many/endpoints", {})).body).toMatchObject({ changed: false });
});

test("ten thousand endpoints go in one call, and one more is refused", async () => {
  await it.api.post("/v1/clusters", { name: "large" });
  const endpoints = Array.from({ length: 10_000 }, (_, at) => ({
    address: `10.1.${at >> 8}.${at & 255}`,
    port: 80,
    zone: "eu-1",
    weight: 10,
  }));
  expect((await it.api.put("/v1/clusters/large/endpoints", { endpoints })).changed).toBe(true);
  const more = await call("PUT", "/v1/clusters/large/endpoints", { endpoints: [...endpoints, ip(1)] });
  expect([more.status, faults(more.body)]).toEqual([422, ["wrong_count /endpoints"]]);
  expect((await call("PUT", "/v1/clusters/large/endpoints/10.1.0.0:80", { zone: "eu-1", weight: 11 })).status).toBe(200);
});

test("an address that another backend of a TCP route has is refused, from every side", async () => {
  await it.api.post("/v1/clusters", { name: "tcp-a", protocol: "tcp", endpoints: [ip(1)] });
  await it.api.post("/v1/clusters", { name: "tcp-b", protocol: "tcp", endpoints: [ip(2)] });
  await it.api.post("/v1/listeners", { name: "tcp-in", port: 9000, protocol: "tcp", gateways: ["edge"] });
  await it.api.post("/v1/routes", {
    name: "tcp",
    protocol: "tcp",
    listener: "tcp-in",
    backends: [{ cluster: "tcp-a" }, { cluster: "tcp-b" }],
  });
  const refusals = [
    await call("PUT", "/v1/clusters/tcp-a/endpoints/10.0.0.2:80", {}),
    await call("PATCH", "/v1/clusters/tcp-b/endpoints", { upsert: [ip(3), ip(1)] }),
    await call("PUT", "/v1/clusters/tcp-a/endpoints", { endpoints: [ip(1), ip(2)] }),
  ];
  expect(refusals.map(({ status, body }) => [status, ...faults(body)])).toEqual([
    [422, "shared_address /address"],
    [422, "shared_address /upsert/1/address"],
    [422, "shared_address /endpoints/1/address"],
  ]);
  // What is there already may change its weight, and other ports are other endpoints.
  expect((await call("PUT", "/v1/clusters/tcp-a/endpoints/10.0.0.1:80", { weight: 2 })).status).toBe(200);
  expect((await call("PUT", "/v1/clusters/tcp-a/endpoints/10.0.0.2:81", {})).status).toBe(201);
});
