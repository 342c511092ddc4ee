// Rules over several objects hold whoever writes at the same time. Each round races calls that can't all be right; what is left
// in the database must keep the rule, whoever won.
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ApiUnderTest, startApi } from "./api-under-test.js";

let it: ApiUnderTest;
beforeAll(async () => {
  it = await startApi();
  for (const protocol of ["http", "tcp"])
    await it.api.post("/v1/listeners", {
      name: `in-${protocol}`,
      protocol,
      port: protocol === "http" ? 80 : 81,
      gateways: ["edge"],
    });
});
afterAll(() => it.close());

const rounds = 50;
type Call = readonly [method: string, path: string, body?: unknown];

/** Sends all at once; statuses in their order. No answer may be a 5xx: contention is settled inside. */
async function race(...calls: readonly Call[]): Promise<readonly number[]> {
  const answers = await Promise.all(calls.map(([method, path, body]) => it.api.call(method, path, body)));
  for (const answer of answers) expect(answer.status, answer.text).toBeLessThan(500);
  return answers.map(({ status }) => status);
}

/** Which of both won is up to chance: a race in which one side always wins is no race. */
function bothHappened(outcomes: readonly string[]): void {
  expect(new Set(outcomes).size, outcomes.join()).toBeGreaterThan(1);
}

test("a cluster is never deleted from under a route that is being made", async () => {
  const outcomes: string[] = [];
  for (let round = 0; round < rounds; round++) {
    await it.api.put("/v1/clusters/target", {});
    const route = { name: "racer", protocol: "http", listeners: ["in-http"], backends: [{ cluster: "target" }] };
    // Each side is given its start in turn, so that both orders are tried.
    const both: Call[] = [
      ["DELETE", "/v1/clusters/target"],
      ["POST", "/v1/routes", route],
    ];
    const statuses = round % 2 ? await race(...both) : [...(await race(...both.reverse()))].reverse();
    outcomes.push(statuses.join());
    expect(["200,422", "409,201"]).toContain(statuses.join());
    const there = [
      (await it.api.call("GET", "/v1/clusters/target")).status,
      (await it.api.call("GET", "/v1/routes/racer")).status,
    ];
    expect(there).toEqual(statuses[0] === 200 ? [404, 404] : [200, 200]);
    await it.api.call("DELETE", "/v1/routes/racer");
  }
  bothHappened(outcomes);
});

test("a cluster never changes its protocol under a route that is being made", async () => {
  for (let round = 0; round < rounds; round++) {
    await it.api.put("/v1/clusters/turning", { protocol: "http" });
    const statuses = await race(
      ["PUT", "/v1/clusters/turning", { protocol: "tcp" }],
      ["PUT", "/v1/routes/turning", { protocol: "http", listeners: ["in-http"], backends: [{ cluster: "turning" }] }],
    );
    expect(["200,422", "409,201"]).toContain(statuses.join());
    await it.api.call("DELETE", "/v1/routes/turning");
  }
});

test("a tcp listener never gets two routes", async () => {
  await it.api.put("/v1/clusters/raw", { protocol: "tcp" });
  const route = (name: string): Call => [
    "POST",
    "/v1/routes",
    { name, protocol: "tcp", listener: "in-tcp", backends: [{ cluster: "raw" }] },
  ];
  for (let round = 0; round < rounds; round++) {
    const statuses = await race(route("one"), route("two"), route("three"));
    expect([...statuses].sort()).toEqual([201, 409, 409]);
    for (const name of ["one", "two", "three"]) await it.api.call("DELETE", `/v1/routes/${name}`);
  }
});

test("one address and port never goes to two listeners of a gateway", async () => {
  const listener = (name: string, address: string): Call => [
    "POST",
    "/v1/listeners",
    { name, address, port: 9000, protocol: "http", gateways: ["edge", name] },
  ];
  for (let round = 0; round < rounds; round++) {
    const statuses = await race(listener("any", "0.0.0.0"), listener("this", "10.0.0.7"));
    expect([...statuses].sort()).toEqual([201, 409]);
    for (const name of ["any", "this"]) await it.api.call("DELETE", `/v1/listeners/${name}`);
  }
});

test("two backends of a TCP route never get one address", async () => {
  for (const name of ["left", "right"]) await it.api.put(`/v1/clusters/${name}`, { protocol: "tcp" });
  const mixed = { protocol: "tcp", listener: "in-tcp", backends: [{ cluster: "left" }, { cluster: "right" }] };
  await it.api.put("/v1/routes/mixed", mixed);
  const add = (cluster: string): Call => ["PUT", `/v1/clusters/${cluster}/endpoints/10.0.0.1:80`, {}];
  const sets: Call[] = ["left", "right"].map((cluster) => [
    "PATCH",
    `/v1/clusters/${cluster}/endpoints`,
    { upsert: [{ address: "10.0.0.1", port: 80 }] },
  ]);
  for (let round = 0; round < rounds; round++) {
    const statuses = round % 2 ? await race(add("left"), add("right")) : await race(...sets);
    expect([...statuses].sort()).toEqual(round % 2 ? [201, 422] : [200, 422]);
    for (const cluster of ["left", "right"]) await it.api.put(`/v1/clusters/${cluster}/endpoints`, { endpoints: [] });
  }
  await it.api.delete("/v1/routes/mixed");
});

test("a TCP route never comes to mix clusters that get one address meanwhile", async () => {
  for (let round = 0; round < rounds; round++) {
    await it.api.put("/v1/clusters/left/endpoints", { endpoints: [{ address: "10.0.0.1", port: 80 }] });
    await it.api.put("/v1/clusters/right/endpoints", { endpoints: [] });
    const statuses = await race(
      [
        "POST",
        "/v1/routes",
        { name: "late", protocol: "tcp", listener: "in-tcp", backends: [{ cluster: "right" }, { cluster: "left" }] },
      ],
      ["PUT", "/v1/clusters/right/endpoints/10.0.0.1:80", {}],
    );
    expect(["201,422", "422,201"]).toContain(statuses.join());
    await it.api.call("DELETE", "/v1/routes/late");
  }
});

test("health checks of clusters never come to differ under a TCP route that mixes them", async () => {
  for (const name of ["left", "right"]) await it.api.put(`/v1/clusters/${name}/endpoints`, { endpoints: [] });
  const outcomes: string[] = [];
  for (let round = 0; round < rounds; round++) {
    await it.api.put("/v1/clusters/right", { protocol: "tcp" });
    const backends = [{ cluster: "left" }, { cluster: "right" }];
    const both: Call[] = [
      ["PUT", "/v1/clusters/right", { protocol: "tcp", healthChecks: [{ kind: "tcp" }] }],
      ["POST", "/v1/routes", { name: "checked", protocol: "tcp", listener: "in-tcp", backends }],
    ];
    const statuses = round % 2 ? await race(...both) : [...(await race(...both.reverse()))].reverse();
    expect(["200,422", "409,201"]).toContain(statuses.join());
    outcomes.push(statuses.join());
    await it.api.call("DELETE", "/v1/routes/checked");
  }
  bothHappened(outcomes);
});

test("changes of two mixed clusters at once are refused both, and neither waits for the other for ever", async () => {
  await it.api.put("/v1/clusters/right", { protocol: "tcp" });
  const backends = [{ cluster: "left" }, { cluster: "right" }];
  await it.api.put("/v1/routes/mixed", { protocol: "tcp", listener: "in-tcp", backends });
  const change = (cluster: string): Call => [
    "PUT",
    `/v1/clusters/${cluster}`,
    { protocol: "tcp", healthChecks: [{ kind: "tcp" }] },
  ];
  for (let round = 0; round < 10; round++) expect(await race(change("left"), change("right"))).toEqual([409, 409]);
  await it.api.delete("/v1/routes/mixed");
});

test("writers of one object with one ETag: exactly one goes through", async () => {
  await it.api.put("/v1/clusters/tagged", {});
  for (let round = 0; round < rounds; round++) {
    const etag = (await it.api.call("GET", "/v1/clusters/tagged")).headers.get("etag") ?? "";
    const writers = [1, 2, 3, 4].map((at) =>
      it.api.call("PUT", "/v1/clusters/tagged", { connectTimeoutMs: 1 + round * 4 + at }, { "if-match": etag }),
    );
    expect((await Promise.all(writers)).map(({ status }) => status).sort()).toEqual([200, 412, 412, 412]);
  }
});

test("two who create one object: one creates it, the other one finds it", async () => {
  for (let round = 0; round < rounds; round++) {
    const create: Call = ["POST", "/v1/clusters", { name: `new-${round}`, endpoints: [{ address: "10.0.0.1", port: 80 }] }];
    expect([...(await race(create, create))].sort()).toEqual([201, 409]);
    const put: Call = ["PUT", `/v1/clusters/put-${round}`, {}];
    expect([...(await race(put, put))].sort()).toEqual([200, 201]);
    const endpoint: Call = ["PUT", `/v1/clusters/put-${round}/endpoints/10.0.0.1:80`, {}];
    expect([...(await race(endpoint, endpoint, endpoint))].sort()).toEqual([200, 200, 201]);
  }
});
