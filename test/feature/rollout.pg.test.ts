// Staged rollouts with Envoys that can be told to refuse, to crash and to lag: each is stopped at stage 1, put back within 10 s, and no other
// node ever had it. What else is written meanwhile reaches every node. The replica that drives one may die.
// Mutants: see each test.
import { beforeAll, describe, expect, test } from "vitest";
import type { Api } from "../support/api-client.js";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { scrape } from "../support/metrics.js";
import { type Replica, startReplica } from "../support/replica.js";
import { type SimulatedNode, startSimulatedNode, type Temper } from "../support/simulated-node.js";
import { waitFor } from "../support/wait.js";
import { setUp, startDatabase } from "../support/world.js";

interface RolloutBody {
  readonly name: string;
  readonly state: "staging" | "watching" | "done" | "aborted";
  readonly stage: number;
  readonly cause?: string;
  readonly detail?: string;
}

const marker = "/tried";
const nodeNames = Array.from({ length: 8 }, (_, index) => `sim-${index}`);
const quick = { CHANCERY_LEASE_MS: "2000", CHANCERY_BEAT_MS: "500", CHANCERY_REMOVAL_GRACE_MS: "500" };
/** A route of the tests' making: `path` tells one form from another. */
const route = (path: string): object => routeBody("app", "web", "app", { match: { path: { exact: path } } });

const change = (path: string, policy: object = {}) => ({
  changes: [{ op: "put", kind: "route", object: route(path) }],
  rollout: { stages: [{ nodes: 1 }], bakeMs: 500, ...policy },
});

async function rolloutOf(api: Api, name: string): Promise<RolloutBody> {
  return api.get<RolloutBody>(`/v1/rollouts/${name}`);
}

async function begin(api: Api, body: object): Promise<RolloutBody> {
  const answer = await api.call("POST", "/v1/changes", body);
  const { rollout } = answer.body as { rollout?: RolloutBody };
  if (!rollout) throw new Error(`no rollout began: ${answer.text}`);
  return rollout;
}

const isIn = (state: RolloutBody["state"], ...states: RolloutBody["state"][]) => states.includes(state);

function inState(api: Api, name: string, states: RolloutBody["state"][], timeoutMs = 20_000): Promise<RolloutBody> {
  const question = async (): Promise<RolloutBody | undefined> => {
    const now = await rolloutOf(api, name);
    return isIn(now.state, ...states) ? now : undefined;
  };
  return waitFor(`rollout ${name} is ${states.join(" or ")}`, question, { timeoutMs, everyMs: 50 });
}

interface Scene {
  readonly replicas: readonly Replica[];
  readonly api: Api;
  readonly nodes: readonly SimulatedNode[];
}

async function startScene(replicaCount: number, temper: (node: string) => Temper): Promise<Scene> {
  const databaseUrl = await startDatabase();
  const replicas: Replica[] = [];
  for (let at = 0; at < replicaCount; at++) replicas.push(await startReplica({ databaseUrl, id: `replica-${at}`, env: quick }));
  const api = replicas.at(-1)?.api;
  if (!api) throw new Error("a scene needs a replica");
  await setUp(api, [
    ["listener", listenerBody("web", 18_080)],
    ["cluster", clusterBody("app", [])],
    ["route", route("/before")],
  ]);
  const ports = replicas.map(({ xdsPort }) => xdsPort);
  const nodes = nodeNames.map((node) => startSimulatedNode({ ports, node, gateway: "edge", temper: temper(node) }));
  for (const node of nodes) await waitFor(`${node.node} has it`, () => node.has("route", "web", "/before"));
  return { replicas, api, nodes };
}

const takesAll: Temper = () => "take";
const mentions = ({ resources }: { readonly resources: readonly { readonly message: object }[] }, text: string): boolean =>
  resources.some(({ message }) => JSON.stringify(message).includes(text));

describe("a change that goes wrong at the first Envoy", () => {
  // Which Envoy is the first, the rollout decides: all of them take it amiss.
  const refuses: Temper = (response) => (mentions(response, `${marker}-nack`) ? { refuse: "no such thing" } : "take");
  const crashes: Temper = (response) => (mentions(response, `${marker}-crash`) ? "crash" : "take");
  const both: Temper = (response) => (refuses(response) === "take" ? crashes(response) : refuses(response));
  let scene: Scene;

  beforeAll(async () => {
    scene = await startScene(1, () => both);
  });

  test.each([
    ["refused", `${marker}-nack`, "nack"],
    ["crashed", `${marker}-crash`, "disconnect"],
  ])("when it is %s is stopped there, put back within 10 s, and no other node ever had it", async (_, path, cause) => {
    // Mutants: a judge that never aborts on that cause; `sees` that is always true.
    const started = performance.now();
    const { name } = await begin(scene.api, change(path));
    const end = await inState(scene.api, name, ["aborted", "done"]);
    expect([end.state, end.stage, end.cause], end.detail).toEqual(["aborted", 0, cause]);
    for (const node of scene.nodes) await waitFor(`${node.node} is back`, () => node.has("route", "web", "/before"));
    expect(performance.now() - started).toBeLessThan(10_000 + 4_000); // The bound is 10 s from the harm; a busy machine gets 4 more.
    // A crashed Envoy never takes what made it crash; the temper saw it. One that refused keeps its last good form.
    const reached = scene.nodes.filter((node) => node.everGot("route", path));
    expect(reached).toEqual([]);
    expect((await scene.api.get<{ match: { path: unknown } }>("/v1/routes/app")).match.path).toEqual({ exact: "/before" });
    await scene.api.put("/v1/routes/app?wait=acked", route("/between"));
    await scene.api.put("/v1/routes/app?wait=acked", route("/before"));
  });
});

describe("while a rollout is under way", () => {
  let scene: Scene;
  beforeAll(async () => {
    scene = await startScene(1, () => takesAll);
  });

  test("its objects are held, what they name stays, other writes reach every node, and it ends as asked", async () => {
    // Mutants: commit_revision without the look at rollout_objects; `#within` that looks at the base alone (the cohort would not get
    // the new cluster's endpoint); an abort that keeps the overlay.
    const { api, nodes } = scene;
    const { name } = await begin(api, change(`${marker}-held`, { bakeMs: 60_000 }));
    const cohort = await waitFor("one node has it", () => {
      const having = nodes.filter((node) => node.has("route", "web", `${marker}-held`));
      return having.length > 0 ? having : undefined;
    });
    expect(cohort).toHaveLength(1);
    expect(await api.refused(409, "PUT", "/v1/routes/app", route("/other"))).toMatchObject({
      code: "held_by_rollout",
      rollout: name,
    });
    expect((await api.refused(409, "DELETE", "/v1/routes/app")).code).toBe("held_by_rollout");
    const second = { changes: [{ op: "put", kind: "cluster", object: clusterBody("app", [], { connectTimeoutMs: 1_234 }) }] };
    expect(await api.refused(409, "POST", "/v1/changes", { ...change("/x"), ...second })).toMatchObject({
      code: "rollout_in_progress",
    });
    // Another route, with a cluster of its own, goes to everybody at once.
    await api.post("/v1/clusters", clusterBody("other", []));
    const { sync } = await api.post(
      "/v1/routes?wait=acked",
      routeBody("other", "web", "other", { match: { path: { exact: "/else" } } }),
    );
    expect(sync?.state).toBe("acked");
    for (const node of nodes) expect(node.has("route", "web", "/else"), node.node).toBe(true);
    expect(nodes.filter((node) => node.has("route", "web", `${marker}-held`))).toHaveLength(1);
    // Whoever waits for its end and goes is not waited with.
    const open = async (): Promise<number> => (await scrape(api)).get("chancery_api_requests_in_flight") ?? 0;
    const hangUp = new AbortController();
    const wait = fetch(`${api.url}/v1/rollouts/${name}?wait=ended&timeoutMs=60000`, { signal: hangUp.signal }).catch(
      () => "gone",
    );
    await waitFor("it waits", async () => (await open()) >= 2);
    hangUp.abort();
    expect(await wait).toBe("gone");
    await waitFor("it waits no more", async () => (await open()) === 1);
    const waited = api.call("GET", `/v1/rollouts/${name}?wait=ended&timeoutMs=60000`);
    // Stopped by hand: the one goes back, in place.
    await api.delete(`/v1/rollouts/${name}`);
    for (const node of nodes) await waitFor(`${node.node} is back`, () => node.has("route", "web", "/before"));
    expect((await rolloutOf(api, name)).cause).toBe("asked");
    expect((await waited).status).toBe(409);
    await api.put("/v1/routes/app?wait=acked", route("/free-again"));
    await api.put("/v1/routes/app?wait=acked", route("/before"));
  });

  test("a change that goes well is waited for, asked for twice under one key it is done once, and is in the history", async () => {
    // Mutant: staging that does not look at the key first (the second call finds nothing to change, or another rollout).
    const { api, nodes } = scene;
    const headers = { "idempotency-key": "rollout-once", "x-chancery-reason": "new path" };
    const ask = () => api.call("POST", "/v1/changes?wait=acked&timeoutMs=30000", change(`${marker}-well`), headers);
    const first = await ask();
    const { rollout } = first.body as { rollout: RolloutBody };
    expect([first.status, rollout.state]).toEqual([200, "done"]);
    for (const node of nodes) expect(node.has("route", "web", `${marker}-well`), node.node).toBe(true);
    const again = await ask();
    expect([
      again.status,
      again.headers.get("idempotent-replayed"),
      (again.body as { rollout: RolloutBody }).rollout.name,
    ]).toEqual([200, "true", rollout.name]);
    const { items } = await api.get<{ items: { author: string; reason?: string }[] }>("/v1/revisions?limit=5");
    expect(items.some(({ reason }) => reason?.includes(`rollout ${rollout.name}: promoted`))).toBe(true);
    expect(items.some(({ reason }) => reason === "new path")).toBe(true);
    expect((await api.get<{ broken: unknown[] }>("/v1/audit")).broken ?? []).toEqual([]);
    await api.put("/v1/routes/app?wait=acked", route("/before"));
  });

  test("a gateway's policy stages what does not say otherwise; endpoints and the recorded bypass go at once", async () => {
    // Mutants: a policy that is not read; a bypass that is not recorded.
    const { api } = scene;
    await api.put("/v1/gateways/edge/rollout-policy", { stages: [{ nodes: 1 }], bakeMs: 300 });
    const staged = await api.call("PUT", "/v1/routes/app?wait=acked&timeoutMs=30000", route(`${marker}-policy`));
    expect([staged.status, (staged.body as { rollout: RolloutBody }).rollout.state]).toEqual([200, "done"]);
    const plan = await api.call("PUT", "/v1/routes/app?dryRun=true", route("/planned"));
    expect(plan.body).toMatchObject({ rollout: { stages: [{ nodes: 1 }, { percent: 100 }], bakeMs: 300 } });
    const direct = await api.call("PUT", "/v1/routes/app?dryRun=true&override=rollout", route("/planned"));
    expect(direct.body).not.toHaveProperty("rollout");
    const endpoint = await api.put("/v1/clusters/app/endpoints/127.0.0.1:9", { weight: 1 });
    expect(endpoint).not.toHaveProperty("rollout");
    const bypass = await api.put("/v1/routes/app?override=rollout", route("/before"));
    expect(bypass).not.toHaveProperty("rollout");
    const made = await api.get<{ overrides: string[] }>(`/v1/revisions/${bypass.revision}`);
    expect(made.overrides).toEqual(["rollout"]);
    await api.delete("/v1/gateways/edge/rollout-policy");
    expect((await api.call("GET", "/v1/gateways/edge/rollout-policy")).status).toBe(404);
  });

  test("bad wishes are refused, and change nothing", async () => {
    const { api } = scene;
    const bad = (policy: object) => api.refused(422, "POST", "/v1/changes", change("/bad", policy));
    expect((await bad({ stages: [{ percent: 100 }] })).errors?.[0]?.pointer).toBe("/rollout/stages/0");
    expect((await bad({ stages: [{ percent: 50 }, { percent: 10 }] })).errors?.[0]?.pointer).toBe("/rollout/stages/1");
    expect((await bad({ stages: [{ percent: 50 }, { nodes: 3 }] })).errors?.[0]?.pointer).toBe("/rollout/stages/1");
    expect((await bad({ stages: [{ percent: 5, nodes: 1 }] })).errors?.[0]?.pointer).toBe("/rollout/stages/0");
    expect((await bad({ stages: [] })).errors?.[0]?.pointer).toBe("/rollout/stages");
    expect((await api.refused(404, "GET", "/v1/rollouts/none")).code).toBe("not_found");
  });
});

describe("when the replica that drives it is killed", () => {
  test("another one, or the same one restarted, goes on where it was; nobody gets it early", async () => {
    // Mutant: a driver that keeps its stage in memory.
    const scene = await startScene(2, () => takesAll);
    const [first, last] = scene.replicas;
    if (!first || !last) throw new Error("two replicas");
    const { name } = await begin(last.api, change(`${marker}-kill`, { stages: [{ nodes: 1 }, { nodes: 3 }], bakeMs: 2_500 }));
    const having = (): number => scene.nodes.filter((node) => node.has("route", "web", `${marker}-kill`)).length;
    await waitFor("one has it", () => having() === 1);
    await first.kill();
    await waitFor("three have it", () => having() >= 3, { timeoutMs: 30_000 });
    expect((await rolloutOf(last.api, name)).stage).toBe(1);
    expect(having()).toBe(3);
    await last.kill();
    await last.start();
    await first.start();
    const end = await inState(last.api, name, ["done", "aborted"], 60_000);
    expect([end.state, end.detail]).toEqual(["done", undefined]);
    await waitFor("all have it", () => having() === scene.nodes.length);
  });
});
