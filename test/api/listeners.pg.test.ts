// Calls on listeners: four protocols, addresses that collide, and routes that would break.
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ApiUnderTest, faults, startApi } from "./api-under-test.js";

let it: ApiUnderTest;
beforeAll(async () => {
  it = await startApi();
});
afterAll(() => it.close());
const call = (method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
  it.api.call(method, path, body, headers);
const listener = (name: string, port: number, more: object = {}) => ({
  name,
  port,
  protocol: "http",
  gateways: ["edge"],
  ...more,
});

test("a listener of each protocol is created with its own defaults, and what GET shows PUT takes", async () => {
  for (const [at, protocol] of ["http", "tcp", "tls", "udp"].entries()) {
    const created = await it.api.post(
      "/v1/listeners",
      listener(`l-${protocol}`, 100 + at, { protocol, gateways: ["z", "edge"] }),
    );
    const own = protocol === "http" ? { idleTimeoutMs: 3_600_000, trustedHops: 0 } : {};
    const shown = { name: `l-${protocol}`, address: "0.0.0.0", port: 100 + at, protocol, gateways: ["edge", "z"], ...own };
    expect(await it.api.get(`/v1/listeners/l-${protocol}`)).toEqual(shown);
    expect(await it.api.put(`/v1/listeners/l-${protocol}`, shown)).toMatchObject({ changed: false, revision: created.revision });
  }
});

test("problems are those of the protocol that was chosen", async () => {
  const refused = async (body: object): Promise<readonly string[]> => faults((await call("POST", "/v1/listeners", body)).body);
  expect(await refused(listener("x", 0, { protocol: "tcp", idleTimeoutMs: 1, gateways: [] }))).toEqual([
    "out_of_range /port",
    "unknown_field /idleTimeoutMs",
    "wrong_count /gateways",
  ]);
  expect(await refused(listener("x", 1, { protocol: "https" }))).toEqual(["not_one_of /protocol"]);
  expect(await refused({ name: "x" })).toEqual(["missing_field /protocol"]);
  expect(await refused(listener("x", 1, { protocol: 5 }))).toEqual(["not_one_of /protocol"]);
  expect(await refused(listener("x", 1, { address: "localhost", gateways: ["a", "a", "B"] }))).toEqual([
    "duplicate /gateways/1",
    "wrong_format /address",
    "wrong_format /gateways/2",
  ]);
});

test("two listeners of one gateway can't have one address and port", async () => {
  await it.api.post("/v1/listeners", listener("holder", 200));
  const tries = [
    [listener("same", 200), "address_taken /port"],
    [listener("covered", 200, { address: "10.0.0.7", protocol: "tcp", gateways: ["core", "edge"] }), "address_taken /port"],
    [listener("udp", 200, { protocol: "udp" }), undefined],
    [listener("v6", 200, { address: "::" }), undefined],
    [listener("elsewhere", 200, { gateways: ["core"] }), undefined],
  ] as const;
  for (const [body, fault] of tries) {
    const answer = await call("POST", "/v1/listeners", body);
    expect([body.name, answer.status, ...faults(answer.body)]).toEqual(fault ? [body.name, 409, fault] : [body.name, 201]);
  }
  // Neither by moving there later.
  expect((await call("PUT", "/v1/listeners/elsewhere", listener("elsewhere", 200))).status).toBe(409);
  expect((await call("PUT", "/v1/listeners/holder", listener("holder", 200, { trustedHops: 1 }))).status).toBe(200);
});

test("a protocol can't change under routes, and a listener with routes can't go", async () => {
  await it.api.post("/v1/clusters", { name: "shop" });
  await it.api.post("/v1/listeners", listener("busy", 300));
  await it.api.post("/v1/routes", { name: "r", protocol: "http", listeners: ["busy"], backends: [{ cluster: "shop" }] });
  const changed = await call("PUT", "/v1/listeners/busy", listener("busy", 300, { protocol: "tcp" }));
  expect([changed.status, changed.body, faults(changed.body)]).toMatchObject([
    409,
    { code: "conflict" },
    ["breaks_route /protocol"],
  ]);
  const deleted = await call("DELETE", "/v1/listeners/busy");
  expect([deleted.status, deleted.body]).toMatchObject([409, { code: "in_use", routes: ["r"] }]);
  await it.api.delete("/v1/routes/r");
  expect((await it.api.put("/v1/listeners/busy", listener("busy", 300, { protocol: "tcp" }))).changed).toBe(true);
  expect((await it.api.delete("/v1/listeners/busy")).changed).toBe(true);
});

test("names, tags and lists are as for every object", async () => {
  const created = await it.api.put("/v1/listeners/tagged", listener("tagged", 400, { gateways: ["inner"] }));
  expect((await call("POST", "/v1/listeners", listener("tagged", 400))).body).toMatchObject({ code: "already_exists" });
  expect((await call("PUT", "/v1/listeners/tagged", listener("tagged", 401), { "if-match": '"0"' })).status).toBe(412);
  expect((await call("DELETE", "/v1/listeners/tagged", undefined, { "if-match": '"0"' })).status).toBe(412);
  expect((await call("GET", "/v1/listeners/tagged")).headers.get("etag")).toBe(`"${created.revision}"`);
  const list = await it.api.get<{ items: { name: string }[] }>("/v1/listeners?gateway=inner");
  expect(list.items.map(({ name }) => name)).toEqual(["tagged"]);
  for (const method of ["GET", "DELETE"]) expect((await call(method, "/v1/listeners/none")).status).toBe(404);
});
