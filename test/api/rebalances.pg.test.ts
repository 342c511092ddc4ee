// PUT /v1/routes/{name}/weights with `rebalance`, and the calls under /v1/rebalances: what they take, answer and refuse, without Envoys.
// Mutants tried and caught: the same once more begun anew; what a superseded one may still close forgotten; a superseded one not ended; a
// staged shift let pass; weights of 0 let pass; nothing refused.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { quickCheck } from "../support/bodies.js";
import { type ApiUnderTest, edgeNode, faults, startApi } from "./api-under-test.js";

interface Rebalance {
  readonly id: string;
  readonly state: string;
  readonly losing: readonly { readonly cluster: string }[];
  readonly outcome?: string;
}
interface Answer {
  readonly changed: boolean;
  readonly revision: number;
  readonly rebalance?: Rebalance;
  readonly lint: readonly { readonly code: string; readonly pointer: string }[];
}

let it: ApiUnderTest;
beforeAll(async () => {
  it = await startApi({ plans: true });
  await it.store.status.heartbeat({ id: "r1", startedAt: new Date().toISOString(), revision: 1, leaseMs: 600_000 });
  await it.store.status.saveNodes("r1", [edgeNode("edge-1")], []);
});
afterAll(() => it.close());

let count = 0;
let [mq, a, b] = ["", "", ""];
const closable = { protocol: "tcp", drain: { atDeadline: "close" }, healthChecks: [quickCheck("tcp")] };
const endpoints = (subnet: number, hosts: readonly number[]) =>
  hosts.map((host) => ({ address: `10.${subnet}.${count}.${host}`, port: 80 }));

/** Clusters a and b of their own on a TCP route, all of it on a. */
beforeEach(async () => {
  count += 1;
  [mq, a, b] = [`mq-${count}`, `a-${count}`, `b-${count}`];
  await it.api.post("/v1/listeners", { name: mq, port: 9_000 + count, protocol: "tcp", gateways: ["edge"] });
  await it.api.post("/v1/clusters", { name: a, ...closable, endpoints: endpoints(1, [1, 2]) });
  await it.api.post("/v1/clusters", { name: b, ...closable, endpoints: endpoints(2, [1, 2]) });
  await it.api.post("/v1/routes", {
    name: mq,
    protocol: "tcp",
    listener: mq,
    backends: [
      { cluster: a, weight: 100 },
      { cluster: b, weight: 0 },
    ],
  });
});

const call = (method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
  it.api.call(method, path, body, headers);
const shift = (weights: readonly [number, number], rebalance?: object, query = "", headers?: Record<string, string>) =>
  call(
    "PUT",
    `/v1/routes/${mq}/weights${query}`,
    { weights: { [a]: weights[0], [b]: weights[1] }, ...(rebalance ? { rebalance } : {}) },
    headers,
  );
async function begin(
  weights: readonly [number, number] = [50, 50],
  rebalance: object = {},
): Promise<Answer & { rebalance: Rebalance }> {
  const { status, body } = await shift(weights, rebalance);
  expect(status).toBe(200);
  return body as Answer & { rebalance: Rebalance };
}
const show = (id: string) => it.api.get<Rebalance & Record<string, unknown>>(`/v1/rebalances/${id}`);

describe("a shift with a rebalance", () => {
  test("answers with it, and it can be read, listed and waited for", async () => {
    const headers = { "x-chancery-author": "ada", "x-chancery-reason": "canary" };
    const answer = await shift([50, 50], { afterMs: 60_000, ratePerSecond: 7 }, "", headers);
    const { rebalance, revision } = answer.body as Answer & { rebalance: Rebalance };
    const shown = {
      state: "waiting",
      route: mq,
      weights: { [a]: 50, [b]: 50 },
      losing: [{ cluster: a, guarantee: { kind: "kill-switch", closesWithinMs: 1_700, because: expect.any(String) } }],
      afterMs: 60_000,
      ratePerSecond: 7,
      author: "ada",
      reason: "canary",
      steps: [],
      closed: 0,
      silent: [],
    };
    expect([answer.status, rebalance]).toMatchObject([200, shown]);
    expect(await it.store.read.revision(revision)).toMatchObject({ author: "ada", reason: "canary" });
    await it.store.rebalances.saveLoads("r1", [
      {
        rebalance: rebalance.id,
        node: "edge-1",
        counts: { [`10.1.${count}.1:80`]: 3, [`10.1.${count}.2:80`]: 4, [`10.2.${count}.1:80`]: 1 },
        agoMs: 0,
      },
    ]);
    expect(await show(rebalance.id)).toMatchObject({ ...shown, connections: { [a]: 7, [b]: 1 } });
    const open = await it.api.get<{ items: Rebalance[] }>("/v1/rebalances?open=true&limit=1");
    expect(open.items).toMatchObject([{ id: rebalance.id, state: "waiting" }]);
    expect((await call("GET", `/v1/rebalances/${rebalance.id}?wait=done&timeoutMs=50`)).status).toBe(202);
  });

  test("has bounds and defaults; without one nothing is begun", async () => {
    expect((await begin()).rebalance).toMatchObject({ afterMs: 10_000, ratePerSecond: 20 });
    const without = (await shift([40, 60])).body as Answer;
    expect(without.rebalance).toBeUndefined();
    for (const [rebalance, fault] of [
      [{ afterMs: 3_600_001 }, "out_of_range /rebalance/afterMs"],
      [{ ratePerSecond: 0 }, "out_of_range /rebalance/ratePerSecond"],
      [{ rate: 1 }, "unknown_field /rebalance/rate"],
    ] as const)
      expect(faults((await shift([1, 1], rebalance)).body)).toEqual([fault]);
  });

  test("is planned with dryRun, with what it would close and by what means, and not begun", async () => {
    const plan = await shift([50, 50], { afterMs: 5 }, "?dryRun=true");
    expect([plan.status, plan.body]).toMatchObject([
      200,
      {
        revision: null,
        changed: true,
        rebalance: { route: mq, losing: [{ cluster: a, guarantee: { kind: "kill-switch" } }], afterMs: 5 },
      },
    ]);
    expect(
      (await it.api.get<{ items: { route: string }[] }>("/v1/rebalances")).items.filter(({ route }) => route === mq),
    ).toEqual([]);
  });

  test("once more with the same pace is the one under way; another pace, or other weights, take its place", async () => {
    const first = await begin();
    const again = await begin();
    expect([again.changed, again.rebalance.id]).toEqual([false, first.rebalance.id]);
    const slower = await begin([50, 50], { ratePerSecond: 1 });
    expect(await show(first.rebalance.id)).toMatchObject({
      state: "superseded",
      outcome: expect.stringContaining(slower.rebalance.id),
    });
    const further = await begin([20, 80]);
    expect(await show(slower.rebalance.id)).toMatchObject({ state: "superseded" });
    // What the one before it had not closed yet may still be closed by this one.
    const back = await begin([60, 40]);
    expect(back.rebalance.losing.map(({ cluster }) => cluster)).toEqual([a, b]);
    expect(await show(further.rebalance.id)).toMatchObject({ state: "superseded" });
    await call("DELETE", `/v1/rebalances/${back.rebalance.id}`);
    // With the weights as they are: for what does not follow them yet.
    const later = await begin([60, 40]);
    expect([later.changed, later.rebalance.losing.map(({ cluster }) => cluster)]).toEqual([false, [a, b]]);
  });

  test("is begun once for one Idempotency-Key", async () => {
    const headers = { "idempotency-key": `shift-${mq}` };
    const [one, two] = [await shift([50, 50], {}, "", headers), await shift([50, 50], {}, "", headers)];
    expect((two.body as Answer).rebalance?.id).toBe((one.body as Answer).rebalance?.id);
  });

  test("of a backend with one endpoint says what that means", async () => {
    await call("DELETE", `/v1/clusters/${a}/endpoints/10.1.${count}.2:80`);
    expect((await begin()).lint).toMatchObject([{ code: "one_endpoint", pointer: "/rebalance" }]);
    expect((await begin([0, 1])).lint).toEqual([]);
  });
});

describe("what can't be rebalanced is 422, with what to set, and the weights stay", () => {
  const refused = async (weights: readonly [number, number] = [50, 50]): Promise<string> => {
    const before = (await it.store.read.get("route", mq))?.revision;
    const { status, body } = await shift(weights, {});
    expect([status, faults(body)]).toEqual([422, ["no_rebalance /rebalance"]]);
    expect((await it.store.read.get("route", mq))?.revision).toBe(before);
    return (body as { errors: { detail: string }[] }).errors[0]?.detail ?? "";
  };

  test("clusters whose connections nothing closes", async () => {
    await call("DELETE", `/v1/routes/${mq}`);
    for (const name of [a, b]) await call("PUT", `/v1/clusters/${name}`, { ...closable, drain: { atDeadline: "leave" } });
    await it.api.post("/v1/routes", {
      name: mq,
      protocol: "tcp",
      listener: mq,
      backends: [{ cluster: a }, { cluster: b, weight: 0 }],
    });
    expect(await refused()).toContain('"drain": {"atDeadline": "close"} with an active health check');
  });

  test("HTTP and UDP routes, and those whose listener has the weights", async () => {
    await call("DELETE", `/v1/routes/${mq}`);
    const split = {
      name: mq,
      protocol: "tcp",
      listener: mq,
      split: "listener",
      backends: [{ cluster: a }, { cluster: b, weight: 0 }],
    };
    await it.api.post("/v1/routes", split);
    expect(await refused()).toContain("listener");
    await call("DELETE", `/v1/routes/${mq}`);
    await it.api.post("/v1/listeners", { name: `${mq}-web`, port: 10_000 + count, protocol: "http", gateways: ["edge"] });
    for (const name of [a, b]) await call("PUT", `/v1/clusters/${name}`, { protocol: "http" });
    await it.api.post("/v1/routes", {
      name: mq,
      protocol: "http",
      listeners: [`${mq}-web`],
      backends: [{ cluster: a }, { cluster: b, weight: 0 }],
    });
    expect(await refused()).toContain("HTTP");
  });

  test("UDP routes", async () => {
    await call("DELETE", `/v1/routes/${mq}`);
    await it.api.post("/v1/listeners", { name: `${mq}-udp`, port: 11_000 + count, protocol: "udp", gateways: ["edge"] });
    for (const name of [a, b]) await call("PUT", `/v1/clusters/${name}`, { protocol: "udp" });
    await it.api.post("/v1/routes", {
      name: mq,
      protocol: "udp",
      listener: `${mq}-udp`,
      backends: [{ cluster: a }, { cluster: b, weight: 0 }],
    });
    expect(await refused()).toContain("UDP");
  });

  test("where no backend has any weight", async () => {
    expect(await refused([0, 0])).toContain("could go nowhere");
  });

  test("a shift that is staged", async () => {
    const policy = "/v1/gateways/edge/rollout-policy";
    await it.api.put(policy, { stages: [{ nodes: 1 }], bakeMs: 1_000 });
    try {
      expect(await refused()).toContain("staged");
      expect(faults((await shift([50, 50], {}, "?dryRun=true")).body)).toEqual(["no_rebalance /rebalance"]);
      expect((await shift([50, 50], {}, "?override=rollout")).status).toBe(200);
    } finally {
      await it.api.delete(policy);
    }
  });
});

describe("cancelling", () => {
  test("ends it, once; the weights stay", async () => {
    const { rebalance, revision } = await begin();
    const first = await call("DELETE", `/v1/rebalances/${rebalance.id}`, undefined, { "x-chancery-author": "ada" });
    expect([first.status, first.body]).toMatchObject([
      200,
      { changed: false, revision, object: { state: "cancelled", outcome: "cancelled by ada" } },
    ]);
    expect((await call("DELETE", `/v1/rebalances/${rebalance.id}`)).body).toMatchObject({
      object: { outcome: "cancelled by ada" },
    });
    const waited = await call("GET", `/v1/rebalances/${rebalance.id}?wait=done`);
    expect([waited.status, waited.body]).toMatchObject([200, { state: "cancelled" }]);
    expect((await it.store.read.get("route", mq))?.object).toMatchObject({ backends: [{ weight: 50 }, { weight: 50 }] });
  });

  test("what has ended can't be; what never was is not found", async () => {
    const first = await begin();
    await begin([10, 90]);
    const late = await call("DELETE", `/v1/rebalances/${first.rebalance.id}`);
    expect([late.status, late.body]).toMatchObject([409, { code: "rebalance_ended", state: "superseded" }]);
    for (const id of ["0000000000000000", "x"]) {
      expect((await call("DELETE", `/v1/rebalances/${id}`)).status).toBe(404);
      expect((await call("GET", `/v1/rebalances/${id}`)).status).toBe(404);
    }
  });
});
