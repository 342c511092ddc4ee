// `?wait=acked` with 1,000 simulated Envoys: the answer is there at once after the last ack, on one replica and over two; the one that
// does not answer is named; and an old refusal that stands does not spoil the wait for something else.
// CHANCERY_WAIT_ROUNDS: how often each is measured. The figures are printed; the bounds leave room for a machine that does more.
import { beforeAll, describe, expect, test } from "vitest";
import { acked, type Mutation, type Sync } from "../support/api-client.js";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { crowdSettings, openCrowd } from "../support/crowd.js";
import { type Replica, startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { setUp, startDatabase } from "../support/world.js";
import type { XdsStream } from "../support/xds-client.js";

const rounds = Number(process.env["CHANCERY_WAIT_ROUNDS"] ?? 7);
const fleet = 1_000;

let serial = 4_000;
/** A change of one route that every Envoy gets. */
const change = (replica: Replica, timeoutMs = 20_000) =>
  replica.api.call(
    "PUT",
    `/v1/routes/app?wait=acked&timeoutMs=${timeoutMs}`,
    routeBody("app", "web", "app", { timeoutMs: ++serial }),
  );
const syncOf = ({ body }: { readonly body: unknown }): Sync => (body as { sync: Sync }).sync;

async function prepare(replica: Replica): Promise<void> {
  await setUp(replica.api, [
    ["listener", listenerBody("web", 9_000)],
    ["cluster", clusterBody("app", [{ port: 9_001 }])],
    ["route", routeBody("app", "web", "app")],
  ]);
}

/** Every Envoy is there and has everything. */
async function settled(replica: Replica): Promise<void> {
  await waitFor(
    "all Envoys have everything",
    async () => {
      const answer = await change(replica);
      return answer.status === 200 && syncOf(answer).gateways["edge"]?.total === fleet;
    },
    { timeoutMs: 80_000 },
  );
}

/** ms from the last Envoy's ack to the answer: it holds its ack of the route back until all others' are counted. */
async function afterLastAck(caller: Replica, last: XdsStream): Promise<number> {
  const seen = last.of("route").length;
  last.ackAll(["route"]);
  const waiting = change(caller).then((answer) => ({ answer, at: performance.now() }));
  const held = await last.next("route", seen, 20_000);
  await waitFor("all others have it", async () => {
    const { revision } = (await caller.api.get<{ items: { revision: number }[] }>("/v1/revisions?limit=1")).items[0] ?? {};
    const sync = await caller.api.get<Sync>(`/v1/revisions/${revision}/sync`);
    return sync.gateways["edge"]?.acked === fleet - 1;
  });
  const ackedAt = performance.now();
  last.ack(held);
  last.ackAll();
  const { answer, at } = await waiting;
  expect([answer.status, syncOf(answer).gateways["edge"]]).toMatchObject([
    200,
    { total: fleet, acked: fleet, lagging: [], refused: [] },
  ]);
  return at - ackedAt;
}

/** ms from the last response that was read, and so acked, to the answer, where nobody holds anything back. */
async function afterAllAcked(caller: Replica, streams: readonly XdsStream[]): Promise<{ total: number; late: number }> {
  const started = performance.now();
  const answer = await change(caller);
  const at = performance.now();
  expect(answer.status).toBe(200);
  const last = Math.max(...streams.map((stream) => stream.responses.at(-1)?.at ?? 0));
  return { total: at - started, late: at - last };
}

function told(what: string, times: readonly number[]): number {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  console.log(
    `${what}: median ${at(0.5).toFixed(1)} ms, p90 ${at(0.9).toFixed(1)}, worst ${at(1).toFixed(1)} of ${times.length}`,
  );
  return at(0.5);
}

async function measure(what: string, once: () => Promise<number>): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) times.push(await once());
  return told(what, times);
}

describe(`${fleet} Envoys on one replica`, { timeout: 120_000 + rounds * 5_000 }, () => {
  let replica: Replica;
  let crowd: ReadonlyMap<string, XdsStream>;
  const node = (id: string): XdsStream => {
    const stream = crowd.get(id);
    if (!stream) throw new Error(`no ${id}`);
    return stream;
  };

  beforeAll(async () => {
    replica = await startReplica({ databaseUrl: await startDatabase(), env: crowdSettings });
    await prepare(replica);
    crowd = openCrowd(replica, fleet, { clusters: ["app"], routes: ["web"] });
    await settled(replica);
  }, 120_000);

  test("a wait ends at the last Envoy's ack", async () => {
    const median = await measure("one replica, after the last ack", () => afterLastAck(replica, node("edge-0417")));
    expect(median).toBeLessThan(50);
  });

  test("a wait that nobody holds up ends soon after the last response was taken", async () => {
    const all: number[] = [];
    const median = await measure("one replica, after the last response", async () => {
      const { total, late } = await afterAllAcked(replica, [...crowd.values()]);
      all.push(total);
      return late;
    });
    told("one replica, from call to answer", all);
    expect(median).toBeLessThan(500);
  });

  test("the one that does not answer is named, with everybody else counted", async () => {
    const stalled = node("edge-0123");
    stalled.ackAll(["route"]);
    const seen = stalled.of("route").length;
    const answer = await change(replica, 3_000);
    expect([answer.status, syncOf(answer).state]).toEqual([202, "pending"]);
    expect(syncOf(answer).gateways["edge"]).toMatchObject({
      total: fleet,
      acked: fleet - 1,
      lagging: ["edge-0123"],
      refused: [],
    });
    stalled.ack(await stalled.next("route", seen));
    stalled.ackAll();
    expect((await change(replica)).status).toBe(200);
  });

  test("an old refusal that stands does not spoil the wait for something else", async () => {
    const refusing = node("edge-0777");
    const seen = refusing.of("listener").length;
    refusing.ackAll(["listener"]);
    const asked = replica.api.call("POST", `/v1/listeners${acked}`, listenerBody("taken", 9_002));
    refusing.nack(await refusing.next("listener", seen), "cannot bind");
    const refused = await asked;
    expect([refused.status, refused.body]).toMatchObject([409, { code: "refused_by_envoy", sync: { state: "refused" } }]);
    const median = await measure("one replica, an old refusal standing", () => afterLastAck(replica, node("edge-0417")));
    expect(median).toBeLessThan(50);
    expect((await replica.api.node("edge-0777"))?.refused).toMatchObject([{ resource: "taken", detail: "cannot bind" }]);
    const { sync } = (await replica.api.delete(`/v1/listeners/taken${acked}`)) satisfies Mutation;
    expect(sync?.state).toBe("acked");
  });
});

describe.each([
  { notify: "on", boundMs: 150 },
  { notify: "off", boundMs: 500 },
])(`${fleet} Envoys on two replicas, NOTIFY $notify`, { timeout: 120_000 + rounds * 5_000 }, ({ notify, boundMs }) => {
  test("a wait on one ends at the last ack on the other", async () => {
    const databaseUrl = await startDatabase();
    const env = { ...crowdSettings, CHANCERY_NOTIFY: notify };
    const here = await startReplica({ databaseUrl, id: "here", env });
    const there = await startReplica({ databaseUrl, id: "there", env });
    await prepare(here);
    const streams = [
      ...openCrowd(here, fleet / 2, { clusters: ["app"], routes: ["web"] }),
      ...openCrowd(there, fleet / 2, { from: fleet / 2, clusters: ["app"], routes: ["web"] }),
    ];
    await settled(here);
    const last = new Map(streams).get("edge-0917");
    if (!last) throw new Error("no edge-0917");
    const median = await measure(`two replicas, NOTIFY ${notify}, after the last ack`, () => afterLastAck(here, last));
    expect(median).toBeLessThan(boundMs * 2);
    for (const [, stream] of streams) stream.close();
  });
});
