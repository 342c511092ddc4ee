// The watch on three replicas whose clocks differ by a minute: one has an Envoy's configuration stream, one its load reports, one its
// metrics. The rows that they share say a zero when there is one, and not before. Mutants that it caught: the ack's time taken from the
// replica that saw it; a row written again without a new report; an Envoy of another gateway counted; what is left over for the drain, or
// when hosts came or went for no known reason, not passed on to the replica that has the load reports.
import { beforeEach, describe, expect, test } from "vitest";
import { DrainWatch } from "../../../src/drain/watch.js";
import { noGauges } from "../../../src/status/left-over.js";
import { Loads } from "../../../src/status/loads.js";
import type { DrainAck, DrainGauges, DrainLoad, DrainRowStore, WatchedDrain } from "../../../src/store/store.js";
import { createLogger } from "../../../src/telemetry/logger.js";
import { ManualClock } from "../status/scripted.js";

const key = "10.0.0.1:80";
const identity = { id: "edge-1", gateway: "edge", region: "", zone: "", envoyVersion: "" };
const drain: WatchedDrain = {
  id: "d1",
  revision: 7,
  gateways: ["edge"],
  endpoints: [{ cluster: "app", endpoint: key, connectTimeoutMs: 1_000 }],
};

type Row = Partial<DrainLoad & DrainGauges> & { ackedAt?: number; loadAt?: number; gaugesAt?: number; writes: number };

/** `drain_nodes` as the database has it, on its own clock. */
class MemoryRows implements DrainRowStore {
  open: WatchedDrain[] = [drain];
  /** drain → whether nothing was left when it ended. */
  readonly ended = new Map<string, boolean>();
  isDown = false;
  readonly rows = new Map<string, Row>();

  constructor(private readonly now: () => number) {}

  #row({ drain: id, node }: DrainAck): Row {
    if (this.isDown) throw new Error("connection refused");
    const row = this.rows.get(`${id} ${node}`) ?? { writes: 0 };
    this.rows.set(`${id} ${node}`, row);
    row.writes += 1;
    return row;
  }
  async watched(): Promise<readonly WatchedDrain[]> {
    if (this.isDown) throw new Error("connection refused");
    return this.open;
  }
  async endings(ids: readonly string[]) {
    return ids.flatMap((drain) => (this.ended.has(drain) ? { drain, isSettled: this.ended.get(drain) === true } : []));
  }
  async saveAcks(_replica: string, rows: readonly DrainAck[]): Promise<void> {
    for (const ack of rows) this.#row(ack).ackedAt ??= this.now();
  }
  async saveLoads(_replica: string, rows: readonly DrainLoad[]): Promise<void> {
    for (const load of rows) Object.assign(this.#row(load), load, { loadAt: this.now() });
  }
  async saveGauges(_replica: string, rows: readonly DrainGauges[]): Promise<void> {
    for (const gauges of rows) Object.assign(this.#row(gauges), gauges, { gaugesAt: this.now() });
  }
  async acks() {
    return [...this.rows.values()].flatMap(({ ackedAt }) =>
      ackedAt === undefined ? [] : { drain: drain.id, node: identity.id, ackedAgoMs: this.now() - ackedAt },
    );
  }
  async gauges() {
    return [...this.rows.values()].flatMap(({ gauges, gaugesAt }) =>
      gauges && gaugesAt !== undefined ? { drain: drain.id, node: identity.id, gauges, sampledAgoMs: this.now() - gaugesAt } : [],
    );
  }
}

interface Replica {
  readonly loads: Loads;
  readonly watch: DrainWatch;
  readonly paces: string[];
  /** Drains of which it wants to know how they ended, and what it was told. */
  readonly undecided: string[];
  readonly decided: Map<string, boolean>;
  /** Revision that the Envoy has acked there; undefined: its configuration stream is elsewhere. */
  acked: number | undefined;
  now(): number;
}

let clock: ManualClock;
let store: MemoryRows;
let replicas: Replica[];
const row = (): Row | undefined => store.rows.get("d1 edge-1");

function startReplica(skewMs: number): Replica {
  const loads = new Loads({ maxNodes: 10, intervalMs: 1_000 });
  const paces: string[] = [];
  const skewed = { now: () => clock.now() + skewMs, after: clock.after.bind(clock) };
  const startedAt = skewed.now();
  const replica: Replica = {
    loads,
    paces,
    undecided: [],
    decided: new Map(),
    acked: undefined,
    now: skewed.now,
    watch: new DrainWatch({
      work: { mayBe: () => true, onCame: () => () => {} },
      replica: `replica${skewMs}`,
      store,
      loads,
      nodes: () => {
        const { acked } = replica;
        return acked === undefined ? [] : [{ ...identity, hasEndpointsOf: (_resources, revision) => acked >= revision }];
      },
      resourcesOf: (cluster) => [cluster],
      replacements: {
        steady: () => ({ since: startedAt, replacedAt: undefined }),
        undecided: () => replica.undecided,
        decide: (id, isSettled) => replica.decided.set(id, isSettled),
      },
      setPace: (pace) => paces.push(pace),
      clock: skewed,
      log: createLogger("silent"),
    }),
  };
  replica.watch.start();
  return replica;
}

beforeEach(() => {
  clock = new ManualClock();
  store = new MemoryRows(() => clock.now() + 500_000);
  replicas = [startReplica(60_000), startReplica(-60_000), startReplica(0)];
});

const at = (index: number): Replica => {
  const replica = replicas[index];
  if (!replica) throw new Error(`there is no replica ${index}`);
  return replica;
};

interface Envoy {
  inFlight: number;
  requests: number;
  pending: number;
  /** False: it does not have the cluster. */
  hasCluster: boolean;
  /** Hosts come or go, in the second to come. */
  membershipChanges: number;
  /** A second in which it reports what it says now. */
  second(): Promise<void>;
  silent: boolean;
}

/** Its load reports go to one replica and its metrics to another. */
function startEnvoy(loadTo: Replica, metricsTo: Replica): Envoy {
  const load = loadTo.loads.openLoadStream(identity, loadTo.now());
  const metrics = metricsTo.loads.openMetricsStream(identity, metricsTo.now());
  const envoy: Envoy = {
    inFlight: 0,
    requests: 0,
    pending: 0,
    hasCluster: true,
    membershipChanges: 0,
    silent: false,
    second: async () => {
      await clock.advance(300);
      const { inFlight, requests, pending, membershipChanges, silent } = envoy;
      const gauges = { connections: requests, requests, pending, membershipChanges };
      envoy.membershipChanges = 0;
      const clusters = new Map([["chancery", noGauges], ...(envoy.hasCluster ? [["app", gauges] as const] : [])]);
      if (!silent) metrics?.received({ stampMs: clock.now(), clusters, answers: 0, errors: 0 }, metricsTo.now());
      await clock.advance(500);
      const endpoints = inFlight > 0 ? new Map([[key, { inFlight, issued: 0 }]]) : new Map();
      if (!silent) load?.received({ intervalMs: 1_000, clusters: new Map([["app", endpoints]]) }, loadTo.now());
      await clock.advance(200);
    },
  };
  return envoy;
}

async function seconds(envoy: Envoy, count: number): Promise<string[]> {
  const verdicts: string[] = [];
  for (let second = 0; second < count; second++) {
    await envoy.second();
    verdicts.push(row()?.verdict ?? "none");
  }
  return verdicts;
}

/** Which replicas have the configuration stream, the load reports, the metrics. */
describe.each([
  [0, 0, 0],
  [0, 1, 1],
  [1, 0, 0],
  [0, 1, 2],
  [2, 0, 1],
  [1, 2, 0],
])("configuration from %i, load reports to %i, metrics to %i", (ads, load, metrics) => {
  test("no zero before the ack, the connect timeout and two reports; then one soon", async () => {
    const envoy = startEnvoy(at(load), at(metrics));
    expect(await seconds(envoy, 5)).not.toContain("zero");
    at(ads).acked = 6;
    expect(await seconds(envoy, 5)).not.toContain("zero");
    at(ads).acked = 7;
    const verdicts = await seconds(envoy, 7);
    const first = verdicts.indexOf("zero");
    expect(first).toBeGreaterThanOrEqual(2);
    expect(verdicts.slice(first).every((verdict) => verdict === "zero")).toBe(true);
  });

  test("what is in flight is counted down; what only the gauges tell is waited for", async () => {
    at(ads).acked = 7;
    const envoy = startEnvoy(at(load), at(metrics));
    Object.assign(envoy, { inFlight: 3, requests: 5 });
    await seconds(envoy, 8);
    expect(row()).toMatchObject({ verdict: "in-flight", inFlight: 3, unattributed: 2 });
    Object.assign(envoy, { inFlight: 0, requests: 2 });
    expect(await seconds(envoy, 8)).not.toContain("zero");
    expect(row()).toMatchObject({ verdict: "in-flight", inFlight: 0, unattributed: 2 });
    envoy.requests = 0;
    expect((await seconds(envoy, 5)).at(-1)).toBe("zero");
  });

  test("a cluster that is never quiet is believed when the Envoy did not have it before; until hosts come or go for no known reason", async () => {
    at(ads).acked = 7;
    const envoy = startEnvoy(at(load), at(metrics));
    envoy.hasCluster = false;
    await seconds(envoy, 3);
    Object.assign(envoy, { hasCluster: true, requests: 9, membershipChanges: 1 });
    expect((await seconds(envoy, 8)).at(-1)).toBe("zero");
    envoy.membershipChanges = 1;
    const after = await seconds(envoy, 12);
    expect([after.slice(2).includes("zero"), row()?.unattributed]).toEqual([false, 9]);
    envoy.requests = 0;
    expect((await seconds(envoy, 5)).at(-1)).toBe("zero");
  });

  test("an Envoy that falls silent is written no more", async () => {
    at(ads).acked = 7;
    const envoy = startEnvoy(at(load), at(metrics));
    await seconds(envoy, 8);
    const loadAt = row()?.loadAt;
    envoy.silent = true;
    await seconds(envoy, 8);
    expect(row()?.loadAt).toBe(loadAt);
  });
});

test("reports are asked for each second while a drain is open, and on every replica", async () => {
  await clock.advance(1_200);
  expect(replicas.map(({ paces }) => paces.at(-1))).toEqual(["drain", "drain", "drain"]);
  store.open = [];
  await clock.advance(1_200);
  expect(replicas.map(({ paces }) => paces.at(-1))).toEqual(["idle", "idle", "idle"]);
});

test("how a drain ended is learnt from the database, and asked until it is known", async () => {
  const { decided, undecided } = at(0);
  undecided.push("d0", "d9");
  store.ended.set("d0", true);
  await clock.advance(1_200);
  expect([...decided]).toEqual([["d0", true]]);
  store.ended.set("d9", false);
  await clock.advance(1_200);
  expect(decided.get("d9")).toBe(false);
});

test("a database that was away is written to again", async () => {
  at(0).acked = 7;
  const envoy = startEnvoy(at(0), at(0));
  store.isDown = true;
  await seconds(envoy, 5);
  expect(row()).toBeUndefined();
  store.isDown = false;
  expect((await seconds(envoy, 6)).at(-1)).toBe("zero");
});

test("an Envoy of another gateway is not asked", async () => {
  store.open = [{ ...drain, gateways: ["other"] }];
  at(0).acked = 7;
  await seconds(startEnvoy(at(0), at(0)), 5);
  expect(row()).toBeUndefined();
});
